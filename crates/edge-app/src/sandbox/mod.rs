//! `sandbox`: the working copy, unsigned, on a device that allows it.

mod sync;
mod watch;

use std::rc::Rc;

use anyhow::Result;
use edge_common::contract::path;
use edge_common::{exit, log};

use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::UNREACHABLE;
use crate::image::{docker, transfer};
use crate::project::app::App;
use crate::project::config::Project;
use crate::sandbox::sync::{Keeper, Session};
use crate::sandbox::watch::Watcher;

/// Builds the app, sends what the device lacks and runs it; with `watch` again
/// and again.
///
/// # Errors
/// As the exit codes say; with `watch` only those of the beginning.
pub(crate) async fn run(project: &Project, name: &str, device: &str, watch: bool) -> Result<()> {
    let app = App::load(project, name)?;
    let connection = Rc::new(Device::new(project, device)?);
    // Watched from the start: what changes while docker builds is not missed.
    let watcher = watch.then(|| Watcher::new(&app.directory)).transpose()?;
    renew(project, name, &connection).await?;
    match watcher {
        Some(watcher) => follow(project, name, device, connection, watcher).await,
        None => Ok(()),
    }
}

/// Once: build, send, start.
async fn renew(project: &Project, name: &str, device: &Device) -> Result<()> {
    let app = &App::load(project, name)?;
    let image = format!("sandbox/{name}:latest");
    // The device says what it has while docker builds.
    let ((), there) = tokio::try_join!(
        docker::build(app, &image, &project.config.platform),
        transfer::there(device)
    )?;
    let local = docker::inspect(&image).await?;
    if there.has(&image, &local) {
        log::info("the device has this image");
    } else {
        transfer::send(device, name, &image, &local, &there).await?;
    }
    if !app.spec.sync.is_empty() {
        Session::open(device, app).await?.all().await?;
    }
    start(device, app, &image).await?;
    println!("{name} runs: {image}");
    // What the new image replaced. It does not matter when it stays for once.
    let _ = device.run_line(&transfer::tidy(&local.id, &there)).await;
    Ok(())
}

/// Puts the new container in the place of the old one. One line for the device's
/// shell, which goes on when we are interrupted or the connection is lost: it has
/// no terminal, and says nothing before it fails.
///
/// This is not `edge-docker replace`, with which a version is deployed. That one
/// goes back to the old container when the new one fails: here somebody wants to
/// see how it fails, in its logs. It also watches the new one for seconds before
/// it is content, and keeps the old one with its image. What both share is that
/// the old one stays until the policy has agreed to the new one.
async fn start(device: &Device, app: &App, image: &str) -> Result<()> {
    let name = &app.name;
    let words = app
        .spec
        .run_arguments(image, &format!("{}/{name}", path::SANDBOX));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let run = [&["run"], &words[..]].concat();
    let explain = edge_docker(&[&["explain"], &run[..]].concat());
    let filter = format!("name=^{name}$");
    let ps = edge_docker(&["ps", "--all", "--quiet", "--filter", &filter]);
    let stop = edge_docker(&["stop", "--time=1", name]);
    let (rm, run) = (edge_docker(&["rm", "--force", name]), edge_docker(&run));
    let line = format!(
        "{{ {explain} && old=$({ps}) && {{ [ -z \"$old\" ] || {{ {stop} && {rm}; }}; }} && {run}; }} >/dev/null"
    );
    device.run_line(&line).await.map(|_| ())
}

/// Renews the sandbox whenever something changes, until we are interrupted.
async fn follow(
    project: &Project,
    name: &str,
    device: &str,
    mut connection: Rc<Device>,
    mut watcher: Watcher,
) -> Result<()> {
    let mut app = App::load(project, name)?;
    let mut files = Keeper::new(project, device);
    if !app.spec.sync.is_empty() {
        tell(files.open(&app).await);
    }
    log::info(format_args!(
        "watching {name}; Ctrl-C ends it, the app runs on"
    ));
    let mut building = None;
    let mut stale = false;
    loop {
        if stale && building.is_none() {
            stale = false;
            let device = Rc::clone(&connection);
            building = Some(Box::pin(async move { renew(project, name, &device).await }));
        }
        tokio::select! {
            changes = watcher.next(&app.spec.sync) => {
                let changes = changes?;
                stale |= changes.rebuild;
                if !changes.synced.is_empty() {
                    tell(files.send(&app, &changes.synced).await);
                }
            }
            Some(result) = poll(&mut building) => {
                building = None;
                if lost(&result) {
                    connection = Rc::new(Device::new(project, device)?);
                }
                tell(result);
                // app.yaml may have changed; renewing told what is wrong with it.
                app = App::load(project, name).unwrap_or(app);
            }
        }
    }
}

/// What is being done, if anything is.
async fn poll<F: Future + Unpin>(work: &mut Option<F>) -> Option<F::Output> {
    match work {
        Some(work) => Some(work.await),
        None => None,
    }
}

fn lost(result: &Result<()>) -> bool {
    let code = result.as_ref().err().map(exit::code_of);
    code == Some(UNREACHABLE)
}

/// While watching an error is told and the next change waited for.
fn tell(result: Result<()>) {
    if let Err(error) = result {
        log::error(format_args!("{error:#}; waiting for the next change"));
    }
}
