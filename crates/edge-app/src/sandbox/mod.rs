//! `sandbox`: builds an app and runs it unsigned on a device whose policy allows that.

mod ignore;
mod sync;
mod watch;

use std::rc::Rc;

use anyhow::Result;
use edge_common::contract::{label, path};
use edge_common::{exit, log};

use crate::device::apps::{self, AppContainer};
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::UNREACHABLE;
use crate::image::docker::{self, LocalImage};
use crate::image::transfer::{self, Sent};
use crate::project::app::App;
use crate::project::config::Project;
use crate::sandbox::sync::{Session, WatchSession};
use crate::sandbox::watch::Watcher;

/// Number of attempts to query the containers of a device before the error is returned.
const QUERY_ATTEMPTS: u32 = 3;

/// Sandbox app as it was started last: what must differ for another start.
#[derive(PartialEq, Eq)]
struct Started {
    image: String,
    arguments: Vec<String>,
}

/// Result of building and starting the app.
struct Renewed {
    started: Started,
    /// Image that docker saved as a whole. Before the next change, docker computes the
    /// digests of its layers.
    saved: Option<LocalImage>,
}

/// Builds the app, sends the missing layers to the device and runs the app there. With
/// `watch`, repeats this after each change until Ctrl-C; errors end only the first run.
pub(crate) async fn run(project: &Project, name: &str, device: &str, watch: bool) -> Result<()> {
    let app = App::load(project, name)?;
    let connection = Rc::new(Device::new(project, device)?);
    // Watching begins before the first build, so that changes during the build are not
    // missed.
    let watcher = watch.then(|| Watcher::new(&app.directory)).transpose()?;
    let renewed = renew(project, name, &connection, None).await?;
    match watcher {
        Some(watcher) => follow(project, name, device, connection, watcher, renewed).await,
        None => {
            prepare(renewed.saved).await;
            Ok(())
        }
    }
}

/// Builds the app, sends its image and its synced files to the device, and starts it,
/// unless the image and the settings are those of `before` and the app is running.
async fn renew(
    project: &Project,
    name: &str,
    device: &Device,
    before: Option<&Started>,
) -> Result<Renewed> {
    let app = &App::load(project, name)?;
    let image = format!("sandbox/{name}:latest");
    // All run at the same time, since the queries of the device are normally faster than
    // the build.
    let ((), on_device, container) = tokio::try_join!(
        docker::build(app, &image, &project.config.platform),
        transfer::device_images(device),
        container(device, name)
    )?;
    let local = docker::inspect(&image).await?;
    let data = format!("{}/{name}", path::SANDBOX);
    let started = Started {
        image: local.id.clone(),
        arguments: app.spec.run_arguments(&image, &data),
    };
    let runs = container.as_ref().is_some_and(|c| c.state == "running");
    if runs && before == Some(&started) {
        log::info(format_args!("{name} runs on: the image is the same"));
        return Ok(Renewed {
            started,
            saved: None,
        });
    }
    let mut saved = false;
    if on_device.has(&image, &local) {
        log::info("the device has this image");
    } else {
        let sent = transfer::send(device, name, &image, &local, &on_device).await?;
        saved = sent == Sent::Whole;
    }
    if !app.spec.sync.is_empty() {
        Session::open(device, app).await?.send_all().await?;
    }
    match container.filter(|c| !c.sandbox) {
        Some(signed) => take_over(device, app, &image, &signed).await?,
        None => start(device, app, &started.arguments).await?,
    }
    println!("{name} runs: {image}");
    // The app runs already, so a failed removal of an old image is not reported.
    let cleanup = transfer::remove_replaced(&local.id, &on_device);
    let _ = device.run_line(&cleanup).await;
    Ok(Renewed {
        started,
        saved: saved.then_some(local),
    })
}

/// Lets docker compute the digests of the layers of an image that it saved as a whole. The
/// app is running already, so an error only makes the next change slower.
async fn prepare(saved: Option<LocalImage>) {
    if let Some(image) = saved
        && let Err(error) = transfer::prepare_next(&image).await
    {
        log::warn(format_args!(
            "the next change will be sent slowly: {error:#}"
        ));
    }
}

/// Returns the container with the app's name.
async fn container(device: &Device, name: &str) -> Result<Option<AppContainer>> {
    let mut found = apps::on(device).await;
    for _ in 1..QUERY_ATTEMPTS {
        match &found {
            // A container may be removed between the two commands of the query.
            Err(error) if exit::code_of(error) == 1 => found = apps::on(device).await,
            _ => break,
        }
    }
    Ok(found?.into_iter().find(|c| c.name == name))
}

/// Replaces the app's signed container by one of the sandbox image. The signed one is kept
/// for `rollback`.
async fn take_over(device: &Device, app: &App, image: &str, signed: &AppContainer) -> Result<()> {
    let (name, device_name) = (&app.name, device.name());
    let version = signed.version.as_deref().unwrap_or("another version");
    log::warn(format_args!(
        "{name} {version}, which is signed, is stopped on {device_name} and kept: \
         `edge-app rollback {name} {device_name}` returns to it"
    ));
    let options = app.spec.options(&format!("{}/{name}", path::SANDBOX));
    let (options, command) = (options, app.spec.command());
    let fixed = ["replace", name].map(String::from);
    let image = [image.to_string()];
    let all = fixed.iter().chain(&options).chain(&image).chain(&command);
    let all: Vec<_> = all.map(String::as_str).collect();
    let steps = |line: &str| log::info(line.trim_end());
    let line = edge_docker(&all);
    device.run_with(&line, None, steps).await.map(|_| ())
}

/// Replaces the app's sandbox container on the device by one of the new image.
///
/// `edge-docker replace` would be wrong here: it returns to the old container if the new
/// one fails, but a developer wants to see the failure in the logs. It would also watch
/// the new container for seconds, and keep the old one with its image. Both ways keep the
/// old container until the policy has accepted the new one.
async fn start(device: &Device, app: &App, arguments: &[String]) -> Result<()> {
    let name = &app.name;
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let run = [&["run"], &arguments[..]].concat();
    let explain = edge_docker(&[&["explain"], &run[..]].concat());
    // A signed container that was deployed since the query is not removed.
    let (filter, sandbox) = (
        format!("name=^{name}$"),
        format!("label={}={name}", label::SANDBOX),
    );
    let ps = [
        "ps", "--all", "--quiet", "--filter", &filter, "--filter", &sandbox,
    ];
    let ps = edge_docker(&ps);
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
    first: Renewed,
) -> Result<()> {
    let mut app = App::load(project, name)?;
    let mut session = WatchSession::new(project, device);
    if !app.spec.sync.is_empty() {
        log_error(session.open(&app).await);
    }
    log::info(format_args!(
        "watching {name}; Ctrl-C ends it, the app runs on"
    ));
    let mut started = Rc::new(first.started);
    let mut preparing = Some(Box::pin(prepare(first.saved)));
    // A build takes long, so it runs in parallel with the syncing of files. Only one
    // build runs at a time; changes during a build cause one more build after it.
    let mut building = None;
    let mut stale = false;
    loop {
        if stale && building.is_none() {
            stale = false;
            let (device, before) = (Rc::clone(&connection), Rc::clone(&started));
            building = Some(Box::pin(async move {
                renew(project, name, &device, Some(&*before)).await
            }));
        }
        tokio::select! {
            changes = watcher.next(&app.spec.sync) => {
                let changes = changes?;
                stale |= changes.rebuild;
                if !changes.synced.is_empty() {
                    log_error(session.send(&app, &changes.synced).await);
                }
            }
            Some(()) = poll(&mut preparing) => preparing = None,
            Some(result) = poll(&mut building) => {
                building = None;
                if is_unreachable(&result) {
                    // A `Device` opens its connection only once, so a new one is needed.
                    connection = Rc::new(Device::new(project, device)?);
                }
                let renewed = result.map(|renewed| {
                    started = Rc::new(renewed.started);
                    if renewed.saved.is_some() {
                        preparing = Some(Box::pin(prepare(renewed.saved)));
                    }
                });
                log_error(renewed);
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

fn is_unreachable<T>(result: &Result<T>) -> bool {
    let code = result.as_ref().err().map(exit::code_of);
    code == Some(UNREACHABLE)
}

/// Logs an error without ending `--watch`, since the next change may correct the cause.
fn log_error(result: Result<()>) {
    if let Err(error) = result {
        log::error(format_args!("{error:#}; waiting for the next change"));
    }
}
