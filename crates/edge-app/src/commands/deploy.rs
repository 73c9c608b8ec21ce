//! `deploy` and `rollback`: a version of an app on one or several devices.
//!
//! The device carries out the deployment by itself, so that it ends in one of the two
//! versions whatever happens to this process or to the connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::contract::{path, phase};
use edge_common::exit::{Failure, code_of};
use edge_common::log;
use edge_signature::Credentials;
use serde::Deserialize;
use tokio::time::sleep;

use crate::device::apps::{self, OPTIONS_LABEL};
use crate::device::rollout::{self, Limits};
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::{NOT_RUNNING, ROLLED_BACK, UNREACHABLE, registry_error};
use crate::output::progress::Progress;
use crate::project::app::{App, check_name};
use crate::project::config::Project;

/// Seconds within which a new version must be healthy, unless `--timeout` is given.
const DEFAULT_TRIAL_SECONDS: u32 = 120;
/// Seconds beyond the trial in which a lost device may come back with the result.
const RECONNECT_SECONDS: u64 = 60;
/// Answers without a new deployment after which none is expected any more.
const MAX_IDLE_ANSWERS: u32 = 5;

/// Options of `deploy`.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Seconds within which the new version must be healthy.
    pub(super) timeout: Option<u32>,
    /// Whether a release number below the highest accepted one may run.
    pub(super) allow_downgrade: bool,
}

/// Version of an app with everything that a device needs for it.
struct Release {
    app: String,
    version: String,
    image: String,
    login: Option<Credentials>,
    allow_downgrade: bool,
    /// Arguments of edge-docker.
    replace: Vec<String>,
    trial_seconds: u32,
}

impl Release {
    /// Resolves the version in the registry and fetches credentials for it.
    async fn resolve(
        project: &Project,
        app: &App,
        version: &str,
        options: Options,
    ) -> Result<Self> {
        let registry = project.registry().await?;
        let image = project.image(&app.name, version).await?;
        // Resolved once: all devices get the same digest, even if the tag moved.
        let manifest = registry.resolve(&image).await.map_err(registry_error)?;
        let image = format!("{}@{}", image.repository, manifest.digest);
        let login = project.credentials(registry.repository()).await?;
        let trial_seconds = options.timeout.unwrap_or(DEFAULT_TRIAL_SECONDS);
        let run_options = app.spec.options(&format!("{}/{}", path::APPS, app.name));
        let mut replace = vec!["replace".into(), app.name.clone()];
        replace.push(format!("--timeout={trial_seconds}"));
        replace.push(format!(
            "--label={OPTIONS_LABEL}={}",
            serde_json::to_string(&run_options)?
        ));
        if options.allow_downgrade {
            replace.push("--allow-downgrade".into());
        }
        replace.extend(run_options);
        replace.push(image.clone());
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

    /// Deploys to one device: a verified pull, then the device's own deployment.
    async fn deploy_to(
        &self,
        project: &Project,
        name: &str,
        show_progress: bool,
    ) -> Result<String> {
        let device = Device::new(project, name)?;
        let mut pull = vec!["pull"];
        if self.allow_downgrade {
            pull.push("--allow-downgrade");
        }
        // On standard input: other users of the device see the command lines of its
        // processes, and sudo writes them to the journal.
        if let Some(login) = &self.login {
            pull.extend(["--username", &login.username, "--password-stdin"]);
        }
        pull.push(&self.image);
        let password = self.login.as_ref().map(|l| l.password.as_str());
        let mut progress = PullProgress::new(show_progress.then_some(name));
        let pull = edge_docker(&pull);
        device
            .run_with(&pull, password, |line| progress.read(line))
            .await?;
        progress.finish();
        let replace: Vec<_> = self.replace.iter().map(String::as_str).collect();
        carry_out(&device, &replace, &self.app, self.trial_seconds).await?;
        Ok(format!(
            "{} {} runs: {}",
            self.app, self.version, self.image
        ))
    }
}

/// Progress of a device's pull, shown for a single device only: bars of several would
/// overwrite each other.
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

    /// Reads `downloading BYTES of BYTES`; skips every other line.
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

/// Deploys a pushed version to devices.
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

/// Returns to the version before the current one.
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

/// Checks all names before the first device is touched: a typing error in the last one
/// must not leave the others with two versions.
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
) -> Result<String> {
    let device = Device::new(project, device)?;
    let timeout = format!("--timeout={trial_seconds}");
    let arguments = ["rollback", app, &timeout];
    carry_out(&device, &arguments, app, trial_seconds).await?;
    let apps = apps::on(&device).await?;
    let version = apps.iter().find(|a| a.name == app);
    let version = version
        .and_then(|a| a.version.as_deref())
        .unwrap_or("the version before");
    Ok(format!("{app} {version} runs again"))
}

/// Entry of the device's deployment journal.
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

/// Lets the device carry out a deployment and returns its result. If the connection
/// breaks, the device goes on alone: it is queried until its journal has the result.
async fn carry_out(
    device: &Device,
    arguments: &[&str],
    app: &str,
    trial_seconds: u32,
) -> Result<()> {
    let before = last_deployment(device, app).await?.map(|d| d.new.id);
    let lost = match device.run(arguments).await {
        Err(error) if code_of(&error) == UNREACHABLE => error,
        other => return other.map(|_| ()),
    };
    log::warn(format_args!("{lost:#}; asking for the result"));
    let seconds = u64::from(trial_seconds) + RECONNECT_SECONDS;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut idle = 0;
    while Instant::now() < end && idle < MAX_IDLE_ANSWERS {
        match last_deployment(device, app).await {
            // The journal still has the deployment before: perhaps the connection
            // broke before this one began, and then it never will.
            Ok(last) if last.as_ref().map(|d| &d.new.id) == before.as_ref() => idle += 1,
            Ok(Some(last)) => match last.phase.as_str() {
                phase::SWITCHED => return Ok(()),
                phase::BACK => return Err(Failure::error(ROLLED_BACK, last.reason)),
                phase::DOWN => return Err(Failure::error(NOT_RUNNING, last.reason)),
                _ => {}
            },
            Ok(None) | Err(_) => {}
        }
        // Polling: behind a router or a VPN the device cannot call a laptop.
        sleep(Duration::from_secs(1)).await;
    }
    Err(lost)
}

async fn last_deployment(device: &Device, app: &str) -> Result<Option<Deployment>> {
    let text = device.run(&["replace", "--status", app]).await?;
    // Empty before the first deployment of an app.
    Ok(serde_json::from_str(&text).ok())
}
