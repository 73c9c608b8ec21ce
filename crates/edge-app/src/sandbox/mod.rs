//! `sandbox`: the working copy of an app, unsigned, on a device that allows it.

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
use crate::sandbox::sync::{Session, WatchSession};
use crate::sandbox::watch::Watcher;

/// Builds the app, sends the missing layers and runs it. With `watch`, does so again at
/// each change, and then only an error of the first run ends it.
pub(crate) async fn run(project: &Project, name: &str, device: &str, watch: bool) -> Result<()> {
    let app = App::load(project, name)?;
    let connection = Rc::new(Device::new(project, device)?);
    // Watched from the start: a change during the first build must not be missed.
    let watcher = watch.then(|| Watcher::new(&app.directory)).transpose()?;
    renew(project, name, &connection).await?;
    match watcher {
        Some(watcher) => follow(project, name, device, connection, watcher).await,
        None => Ok(()),
    }
}

/// Builds, sends and starts the app once.
async fn renew(project: &Project, name: &str, device: &Device) -> Result<()> {
    let app = &App::load(project, name)?;
    let image = format!("sandbox/{name}:latest");
    // At the same time: the query, with its ssh handshake, is over before the build.
    let ((), on_device) = tokio::try_join!(
        docker::build(app, &image, &project.config.platform),
        transfer::device_images(device)
    )?;
    let local = docker::inspect(&image).await?;
    if on_device.has(&image, &local) {
        log::info("the device has this image");
    } else {
        transfer::send(device, name, &image, &local, &on_device).await?;
    }
    if !app.spec.sync.is_empty() {
        Session::open(device, app).await?.send_all().await?;
    }
    start(device, app, &image).await?;
    println!("{name} runs: {image}");
    // The app runs: an image that stays for once is no reason to report a failure.
    let cleanup = transfer::remove_replaced(&local.id, &on_device);
    let _ = device.run_line(&cleanup).await;
    Ok(())
}

/// Replaces the old container by the new one.
///
/// Not by `edge-docker replace`, which deploys a version: it returns to the old container
/// if the new one fails, and here a developer wants to see in the logs how it fails. It
/// also watches the new one for seconds and keeps the old one with its image. Both keep
/// the old container until the policy has accepted the new one.
async fn start(device: &Device, app: &App, image: &str) -> Result<()> {
    let name = &app.name;
    let arguments = app
        .spec
        .run_arguments(image, &format!("{}/{name}", path::SANDBOX));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let run = [&["run"], &arguments[..]].concat();
    let explain = edge_docker(&[&["explain"], &run[..]].concat());
    let filter = format!("name=^{name}$");
    let ps = edge_docker(&["ps", "--all", "--quiet", "--filter", &filter]);
    let stop = edge_docker(&["stop", "--time=1", name]);
    let (rm, run) = (edge_docker(&["rm", "--force", name]), edge_docker(&run));
    // One line for the device's shell, which runs on if we are interrupted or the
    // connection breaks: it has no terminal, and with its output discarded no write
    // fails. `explain` asks the policy first. A second for `stop`, since a developer
    // waits, and the data of a sandbox app can be lost.
    let line = format!(
        "{{ {explain} && old=$({ps}) && {{ [ -z \"$old\" ] || {{ {stop} && {rm}; }}; }} && {run}; }} >/dev/null"
    );
    device.run_line(&line).await.map(|_| ())
}

/// Syncs files or builds and starts the app again at each change, until Ctrl-C.
async fn follow(
    project: &Project,
    name: &str,
    device: &str,
    mut connection: Rc<Device>,
    mut watcher: Watcher,
) -> Result<()> {
    let mut app = App::load(project, name)?;
    let mut session = WatchSession::new(project, device);
    if !app.spec.sync.is_empty() {
        log_error(session.open(&app).await);
    }
    log::info(format_args!(
        "watching {name}; Ctrl-C ends it, the app runs on"
    ));
    // A build takes long: it runs beside the syncing of files, one at a time, and
    // changes in the meantime cause one more at its end.
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
                    log_error(session.send(&app, &changes.synced).await);
                }
            }
            Some(result) = poll(&mut building) => {
                building = None;
                if is_unreachable(&result) {
                    // A connection is never opened twice: this one is over.
                    connection = Rc::new(Device::new(project, device)?);
                }
                log_error(result);
                // app.yaml may have changed. An error in it was logged by the build.
                app = App::load(project, name).unwrap_or(app);
            }
        }
    }
}

/// Waits for the future in `work`; `None` if there is none, which disables the branch of
/// `select!`.
async fn poll<F: Future + Unpin>(work: &mut Option<F>) -> Option<F::Output> {
    match work {
        Some(work) => Some(work.await),
        None => None,
    }
}

fn is_unreachable(result: &Result<()>) -> bool {
    let code = result.as_ref().err().map(exit::code_of);
    code == Some(UNREACHABLE)
}

/// Logs an error while watching: the next change may be its correction.
fn log_error(result: Result<()>) {
    if let Err(error) = result {
        log::error(format_args!("{error:#}; waiting for the next change"));
    }
}
