//! `deploy` and `rollback`: start another version of an app on one or several devices.
//!
//! The device carries out the deployment independently: it completes or rolls back even
//! if edge-app is killed or the connection breaks.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::contract::deployment::STEP;
use edge_common::contract::{path, phase};
use edge_common::exit::{Failure, code_of};
use edge_common::log;
use edge_signature::{Credentials, ImageRef};
use serde::Deserialize;
use tokio::time::sleep;

use crate::device::apps::{self, OPTIONS_LABEL};
use crate::device::rollout::{self, Done, Limits};
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::{NOT_RUNNING, ROLLED_BACK, UNREACHABLE, registry_error};
use crate::output::progress::Progress;
use crate::project::app::{App, check_name};
use crate::project::config::Project;
use crate::project::signed_run;

/// Default of `--timeout`: seconds within which a new version must be healthy.
const DEFAULT_TRIAL_SECONDS: u32 = 120;
/// Seconds after the end of the trial during which an unreachable device is still queried
/// for the result.
const RECONNECT_SECONDS: u64 = 60;
/// Number of answers without a new journal entry after which the deployment is considered
/// not started.
const MAX_IDLE_ANSWERS: u32 = 5;

/// Options of `edge-app deploy` besides the app, its version and the devices.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Value of `--timeout`: seconds within which the new version must be healthy.
    pub(super) timeout: Option<u32>,
    /// Value of `--allow-downgrade`: whether the device may run a release number below
    /// the highest one that it has accepted.
    pub(super) allow_downgrade: bool,
    /// Value of `--force`: whether a device deploys although the same version runs.
    pub(super) force: bool,
}

/// Version to deploy: its image by digest, the registry's credentials and the arguments
/// of edge-docker, the same for all devices.
struct Release {
    app: String,
    version: String,
    image: String,
    login: Option<Credentials>,
    allow_downgrade: bool,
    /// Arguments of edge-docker, beginning with `replace`, that start the version.
    replace: Vec<String>,
    trial_seconds: u32,
}

impl Release {
    /// Resolves the tag of the version to a digest and fetches the credentials with which
    /// devices pull the image.
    async fn resolve(
        project: &Project,
        app: &App,
        version: &str,
        options: Options,
    ) -> Result<Self> {
        let registry = project.registry().await?;
        let image = project.image(&app.name, version).await?;
        // The tag is resolved once for all devices, so that all get the same digest even
        // if the tag moves during the deployment.
        let manifest = registry.resolve(&image).await.map_err(registry_error)?;
        let digest = &manifest.digest;
        // The tag says which version is meant: the same manifest may be signed for others.
        let image = ImageRef {
            digest: Some(digest.clone()),
            ..image
        };
        let image = image.to_string();
        let login = project.credentials(registry.repository()).await?;
        let trial_seconds = options.timeout.unwrap_or(DEFAULT_TRIAL_SECONDS);
        let run = signed_run::digest(&registry, digest, &app.name, version).await?;
        let mut replace = vec!["replace".to_string()];
        if run.is_some() {
            replace.push(format!("{}-{version}@{digest}", app.name));
        } else {
            replace.extend(typed_arguments(app, &image)?);
        }
        // After the name, and before the options of the container.
        replace.insert(2, format!("--timeout={trial_seconds}"));
        if options.allow_downgrade {
            replace.insert(3, "--allow-downgrade".into());
        }
        if options.force {
            replace.insert(3, "--force".into());
        }
        Ok(Self {
            app: app.name.clone(),
            version: version.into(),
            image,
            login,
            allow_downgrade: options.allow_downgrade,
            replace,
            trial_seconds,
        })
    }

    /// Deploys to one device, which pulls and verifies the image and then starts it with
    /// `edge-docker replace`. Returns the message for the user.
    async fn deploy_to(&self, project: &Project, name: &str, show_progress: bool) -> Result<Done> {
        let device = Device::new(project, name)?;
        let mut pull = vec!["pull"];
        if self.allow_downgrade {
            pull.push("--allow-downgrade");
        }
        // The password goes through standard input: other users of the device can read
        // the command lines of its processes, and sudo writes them to the journal.
        if let Some(login) = &self.login {
            pull.extend(["--username", &login.username, "--password-stdin"]);
        }
        pull.push(&self.image);
        let password = self.login.as_ref().map(|l| l.password.as_str());
        if show_progress {
            log::info(format_args!("{name} pulls {} {}", self.app, self.version));
        }
        let mut progress = PullProgress::new(show_progress.then_some(name));
        let pull = edge_docker(&pull);
        device
            .run_with(&pull, password, |line| progress.read(line))
            .await?;
        progress.finish();
        let replace: Vec<_> = self.replace.iter().map(String::as_str).collect();
        let output = carry_out(&device, &replace, &self.app, self.trial_seconds).await?;
        let message = format!("{} {} runs: {}", self.app, self.version, self.image);
        Ok(Done::parse(&output, message))
    }
}

/// Returns the arguments of `replace` for an image that was signed without a run
/// specification: name, options of today's `app.yaml` and image.
fn typed_arguments(app: &App, image: &str) -> Result<Vec<String>> {
    let options = app.spec.options(&format!("{}/{}", path::APPS, app.name));
    let label = serde_json::to_string(&options)?;
    let mut arguments = vec![app.name.clone()];
    arguments.push(format!("--label={OPTIONS_LABEL}={label}"));
    arguments.extend(options);
    arguments.push(image.into());
    arguments.extend(app.spec.command());
    Ok(arguments)
}

/// Progress of an image pull on a device, shown only if there is a single device: the
/// bars of several devices would overwrite each other.
struct PullProgress<'a> {
    device: Option<&'a str>,
    progress: Option<Progress>,
}

impl<'a> PullProgress<'a> {
    fn new(device: Option<&'a str>) -> Self {
        Self {
            device,
            progress: None,
        }
    }

    /// Updates the progress from an output line `downloading BYTES of BYTES`; ignores all
    /// other lines.
    fn read(&mut self, line: &str) {
        let numbers = line.trim().strip_prefix("downloading ");
        let numbers = numbers.and_then(|l| l.split_once(" of "));
        let (Some(device), Some((bytes, total))) = (self.device, numbers) else {
            return;
        };
        if let (Ok(bytes), Ok(total)) = (bytes.parse(), total.parse()) {
            let start = || Progress::new(format!("{device} pulls"), Some(total));
            self.progress.get_or_insert_with(start).set(bytes, total);
        }
    }

    fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}

/// Deploys a pushed version to the devices `names`, within the limits of parallel jobs
/// and failures.
pub(super) async fn deploy(
    project: &Project,
    app: &App,
    version: &str,
    names: &[String],
    limits: &Limits,
    options: Options,
) -> Result<()> {
    check_devices(project, names)?;
    let release = &Release::resolve(project, app, version, options).await?;
    let several = names.len() > 1;
    let work = |name: String| async move {
        let result = release.deploy_to(project, &name, !several).await;
        rollout::log_result(several, &name, &result);
        result
    };
    rollout::report(rollout::run(names, limits, work).await)
}

/// Runs `edge-docker rollback` on the devices `names`, which starts the version before
/// the current one.
pub(super) async fn rollback(
    project: &Project,
    app: &str,
    names: &[String],
    limits: &Limits,
    timeout: Option<u32>,
) -> Result<()> {
    check_name(app)?;
    check_devices(project, names)?;
    let several = names.len() > 1;
    let trial_seconds = timeout.unwrap_or(DEFAULT_TRIAL_SECONDS);
    let work = |name: String| async move {
        let result = roll_back_on(project, app, &name, trial_seconds).await;
        rollout::log_result(several, &name, &result);
        result
    };
    rollout::report(rollout::run(names, limits, work).await)
}

/// Checks all device names before the first deployment, so that a misspelled name does
/// not leave a group of devices with two versions.
fn check_devices(project: &Project, names: &[String]) -> Result<()> {
    names
        .iter()
        .try_for_each(|name| Device::new(project, name).map(|_| ()))
}

async fn roll_back_on(
    project: &Project,
    app: &str,
    device: &str,
    trial_seconds: u32,
) -> Result<Done> {
    let device = Device::new(project, device)?;
    let timeout = format!("--timeout={trial_seconds}");
    let arguments = ["rollback", app, &timeout];
    carry_out(&device, &arguments, app, trial_seconds).await?;
    let apps = apps::on(&device).await?;
    let version = apps.iter().find(|a| a.name == app);
    let version = version
        .and_then(|a| a.version.as_deref())
        .unwrap_or("the version before");
    Ok(Done::changed(format!("{app} {version} runs again")))
}

/// Entry of a device's deployment journal, as `edge-docker replace --status` prints it.
#[derive(Deserialize)]
struct Deployment {
    phase: String,
    reason: String,
    new: NewContainer,
}

#[derive(Deserialize)]
struct NewContainer {
    id: String,
}

/// Runs a deployment on the device and returns its standard output, which is empty if the
/// connection broke. If the connection breaks, the
/// device continues alone, and its deployment journal is queried until it has the result
/// or the time limit is over.
async fn carry_out(
    device: &Device,
    arguments: &[&str],
    app: &str,
    trial_seconds: u32,
) -> Result<String> {
    let before = last_deployment(device, app).await?.map(|d| d.new.id);
    let underway = Underway { device, app };
    let command = edge_docker(arguments);
    let result = device.run_with(&command, None, |line| print_step(device, line));
    let lost = match result.await {
        Err(error) if code_of(&error) == UNREACHABLE => error,
        other => {
            underway.end();
            return other;
        }
    };
    log::warn(format_args!("{lost:#}; asking for the result"));
    let seconds = u64::from(trial_seconds) + RECONNECT_SECONDS;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut idle = 0;
    while Instant::now() < end && idle < MAX_IDLE_ANSWERS {
        match last_deployment(device, app).await {
            // The journal still has the previous deployment. The connection may have
            // broken before the new deployment began, and then no further entry will
            // appear.
            Ok(last) if last.as_ref().map(|d| &d.new.id) == before.as_ref() => idle += 1,
            Ok(Some(last)) => match last.phase.as_str() {
                phase::TRIAL | phase::KEEP => {}
                phase => {
                    underway.end();
                    return outcome(device, phase, last.reason);
                }
            },
            Ok(None) | Err(_) => {}
        }
        // Polling, because the device cannot open a connection to a laptop behind a
        // router or a VPN.
        sleep(Duration::from_secs(1)).await;
    }
    underway.end();
    Err(lost)
}

/// Returns the result of a deployment whose connection broke, from the device's journal.
fn outcome(device: &Device, phase: &str, reason: String) -> Result<String> {
    let (code, result) = match phase {
        phase::SWITCHED => return Ok(String::new()),
        phase::BACK => (ROLLED_BACK, "rolled back to the version before"),
        _ => (NOT_RUNNING, "there is no older one, so it does not run"),
    };
    let name = device.name();
    Err(Failure::error(
        code,
        format_args!("{name}: {reason}\n{result}"),
    ))
}

/// Prints a step that a device reports. The other lines of its output are results.
fn print_step(device: &Device, line: &str) {
    if let Some(step) = line.strip_prefix(STEP) {
        log::info(format_args!("{}: {step}", device.name()));
    }
}

/// Deployment that a device carries out, and finishes even if edge-app is interrupted.
struct Underway<'a> {
    device: &'a Device,
    app: &'a str,
}

impl Underway<'_> {
    /// Ends the wait with a result.
    fn end(self) {
        std::mem::forget(self);
    }
}

/// The user pressed Ctrl-C: the future of the deployment is dropped.
impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let (name, app) = (self.device.name(), self.app);
        log::warn(format_args!(
            "{name} finishes the deployment of {app} alone, or returns to the old version: \
             edge-app status {name} shows the result"
        ));
    }
}

async fn last_deployment(device: &Device, app: &str) -> Result<Option<Deployment>> {
    let text = device.run(&["replace", "--status", app]).await?;
    // The output is empty before the first deployment of an app, so a parse error is
    // treated as a missing entry.
    Ok(serde_json::from_str(&text).ok())
}
