//! `sandbox`: builds an app and runs it unsigned on a device whose policy allows that.

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

/// Builds the app, sends the missing layers to the device and runs the app there. With
/// `watch`, repeats this after each change until Ctrl-C; errors end only the first run.
pub(crate) async fn run(project: &Project, name: &str, device: &str, watch: bool) -> Result<()> {
    let app = App::load(project, name)?;
    let connection = Rc::new(Device::new(project, device)?);
    // Watching begins before the first build, so that changes during the build are not
    // missed.
    let watcher = watch.then(|| Watcher::new(&app.directory)).transpose()?;
    renew(project, name, &connection).await?;
    match watcher {
        Some(watcher) => follow(project, name, device, connection, watcher).await,
        None => Ok(()),
    }
}

/// Builds the app, sends its image and its synced files to the device, and starts it.
async fn renew(project: &Project, name: &str, device: &Device) -> Result<()> {
    let app = &App::load(project, name)?;
    let image = format!("sandbox/{name}:latest");
    // Both run at the same time, since the query of the device is normally faster than
    // the build.
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
    // The app runs already, so a failed removal of an old image is not reported.
    let cleanup = transfer::remove_replaced(&local.id, &on_device);
    let _ = device.run_line(&cleanup).await;
    Ok(())
}

/// Replaces the app's container on the device by one of the new image.
///
/// `edge-docker replace` would be wrong here: it returns to the old container if the new
/// one fails, but a developer wants to see the failure in the logs. It would also watch
/// the new container for seconds, and keep the old one with its image. Both ways keep the
/// old container until the policy has accepted the new one.
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
    // All commands are in one line for the device's shell, which completes it even if
    // edge-app is interrupted or the connection breaks: there is no terminal that sends
    // SIGHUP, and no output that could fail. `explain` checks the policy before the old
    // container is removed. `stop` waits only a second: a developer is waiting, and the
    // data of a sandbox app may be lost.
    let line = format!(
        "{{ {explain} && old=$({ps}) && {{ [ -z \"$old\" ] || {{ {stop} && {rm}; }}; }} && {run}; }} >/dev/null"
    );
    device.run_line(&line).await.map(|_| ())
}

/// Syncs files, or builds and starts the app again, after each change until Ctrl-C.
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
    // A build takes long, so it runs in parallel with the syncing of files. Only one
    // build runs at a time; changes during a build cause one more build after it.
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
                    // A `Device` opens its connection only once, so a new one is needed.
                    connection = Rc::new(Device::new(project, device)?);
                }
                log_error(result);
                // app.yaml may have changed. An error in it was reported by the build,
                // and the last valid content stays in use.
                app = App::load(project, name).unwrap_or(app);
            }
        }
    }
}

/// Waits for the future in `work`. Returns `None` if there is none, which disables the
/// branch of `select!`.
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

/// Logs an error without ending `--watch`, since the next change may correct the cause.
fn log_error(result: Result<()>) {
    if let Err(error) = result {
        log::error(format_args!("{error:#}; waiting for the next change"));
    }
}
