//! What is done with an app on devices, all of it through `edge-docker`.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::contract::{path, phase};
use edge_common::exit::{Failure, code_of};
use edge_common::log;
use edge_signature::Credentials;
use serde::Deserialize;
use tokio::time::sleep;

use crate::device::apps::{self, OPTIONS};
use crate::device::rollout::{self, Limits};
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::{NOT_RUNNING, SWITCHED_BACK, UNREACHABLE, registry_error};
use crate::output::progress::Progress;
use crate::project::app::{App, check_name};
use crate::project::config::Project;

/// How long the device tries a new version, unless it is told.
const LIMIT: u32 = 120;

/// How a version is deployed.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Seconds until it must work.
    pub(crate) timeout: Option<u32>,
    /// Take one that was signed before the newest on the device?
    pub(crate) allow_downgrade: bool,
}

/// A version of an app, ready for devices.
struct Release {
    app: String,
    version: String,
    image: String,
    login: Option<Credentials>,
    downgrade: bool,
    /// After `edge-docker`.
    replace: Vec<String>,
    limit: u32,
}

impl Release {
    /// Asks the registry for the digest, and for credentials.
    async fn of(project: &Project, app: &App, version: &str, how: How) -> Result<Self> {
        let registry = project.registry().await?;
        let image = project.image(&app.name, version).await?;
        let manifest = registry.resolve(&image).await.map_err(registry_error)?;
        let image = format!("{}@{}", image.repository, manifest.digest);
        let login = project.credentials(registry.repository()).await?;
        let limit = how.timeout.unwrap_or(LIMIT);
        let options = app.spec.options(&format!("{}/{}", path::APPS, app.name));
        let mut replace = vec!["replace".into(), app.name.clone()];
        replace.push(format!("--timeout={limit}"));
        replace.push(format!(
            "--label={OPTIONS}={}",
            serde_json::to_string(&options)?
        ));
        if how.allow_downgrade {
            replace.push("--allow-downgrade".into());
        }
        replace.extend(options);
        replace.push(image.clone());
        Ok(Self {
            app: app.name.clone(),
            version: version.into(),
            image,
            login,
            downgrade: how.allow_downgrade,
            replace,
            limit,
        })
    }

    /// Verified pull, with the password on standard input and kept nowhere;
    /// then the device switches by itself.
    async fn to(&self, project: &Project, name: &str, alone: bool) -> Result<String> {
        let device = Device::new(project, name)?;
        let mut pull = vec!["pull"];
        if self.downgrade {
            pull.push("--allow-downgrade");
        }
        if let Some(login) = &self.login {
            pull.extend(["--username", &login.username, "--password-stdin"]);
        }
        pull.push(&self.image);
        let password = self.login.as_ref().map(|l| l.password.as_str());
        let mut pulled = Pulled::of(alone.then_some(name));
        let pull = edge_docker(&pull);
        device
            .run_with(&pull, password, |line| pulled.told(line))
            .await?;
        pulled.done();
        let words: Vec<_> = self.replace.iter().map(String::as_str).collect();
        switch(&device, &words, &self.app, self.limit).await?;
        Ok(format!(
            "{} {} runs: {}",
            self.app, self.version, self.image
        ))
    }
}

/// How far a device's pull is, if somebody wants to see it.
struct Pulled<'a> {
    device: Option<&'a str>,
    progress: Option<Progress>,
}

impl<'a> Pulled<'a> {
    fn of(device: Option<&'a str>) -> Self {
        Self {
            device,
            progress: None,
        }
    }

    /// `downloading BYTES of BYTES`; other lines say something else.
    fn told(&mut self, line: &str) {
        let numbers = line.trim().strip_prefix("downloading ");
        let numbers = numbers.and_then(|l| l.split_once(" of "));
        let (Some(device), Some((bytes, total))) = (self.device, numbers) else {
            return;
        };
        if let (Ok(bytes), Ok(total)) = (bytes.parse(), total.parse()) {
            let start = || Progress::new(format!("{device} pulls"), Some(total));
            self.progress.get_or_insert_with(start).reach(bytes, total);
        }
    }

    fn done(self) {
        if let Some(progress) = self.progress {
            progress.done();
        }
    }
}

/// Runs a pushed version on devices.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn deploy(
    project: &Project,
    app: &App,
    version: &str,
    names: &[String],
    limits: &Limits,
    how: How,
) -> Result<()> {
    for name in names {
        Device::new(project, name)?;
    }
    let release = &Release::of(project, app, version, how).await?;
    let several = names.len() > 1;
    let work = |name: String| async move {
        let result = release.to(project, &name, !several).await;
        rollout::said(several, &name, &result);
        result
    };
    rollout::report(rollout::run(names, limits, work).await)
}

/// Goes back to the version before.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn rollback(
    project: &Project,
    app: &str,
    names: &[String],
    limits: &Limits,
    timeout: Option<u32>,
) -> Result<()> {
    check_name(app)?;
    for name in names {
        Device::new(project, name)?;
    }
    let several = names.len() > 1;
    let limit = timeout.unwrap_or(LIMIT);
    let work = |name: String| async move {
        let result = back(project, app, &name, limit).await;
        rollout::said(several, &name, &result);
        result
    };
    rollout::report(rollout::run(names, limits, work).await)
}

async fn back(project: &Project, app: &str, device: &str, limit: u32) -> Result<String> {
    let device = Device::new(project, device)?;
    let timeout = format!("--timeout={limit}");
    switch(&device, &["rollback", app, &timeout], app, limit).await?;
    let apps = apps::on(&device).await?;
    let version = apps.iter().find(|a| a.name == app);
    let version = version
        .and_then(|a| a.version.as_deref())
        .unwrap_or("the version before");
    Ok(format!("{app} {version} runs again"))
}

/// The end of a switch, as the device keeps it.
#[derive(Deserialize)]
struct Switch {
    phase: String,
    reason: String,
    new: New,
}

#[derive(Deserialize)]
struct New {
    id: String,
}

/// Lets the device switch. When the connection is lost meanwhile the device
/// goes on alone: it is asked again until it tells how that ended.
async fn switch(device: &Device, words: &[&str], app: &str, limit: u32) -> Result<()> {
    let before = last(device, app).await?.map(|s| s.new.id);
    let lost = match device.run(words).await {
        Err(error) if code_of(&error) == UNREACHABLE => error,
        other => return other.map(|_| ()),
    };
    log::warn(format_args!("{lost:#}; asking how the switch ends"));
    let end = Instant::now() + Duration::from_secs(u64::from(limit) + 60);
    let mut idle = 0;
    while Instant::now() < end && idle < 5 {
        match last(device, app).await {
            // Perhaps lost before the switch began.
            Ok(switch) if switch.as_ref().map(|s| &s.new.id) == before.as_ref() => idle += 1,
            Ok(Some(switch)) => match switch.phase.as_str() {
                phase::SWITCHED => return Ok(()),
                phase::BACK => return Err(Failure::error(SWITCHED_BACK, switch.reason)),
                phase::DOWN => return Err(Failure::error(NOT_RUNNING, switch.reason)),
                _ => {}
            },
            Ok(None) | Err(_) => {}
        }
        // The device has no way to call us.
        sleep(Duration::from_secs(1)).await;
    }
    Err(lost)
}

async fn last(device: &Device, app: &str) -> Result<Option<Switch>> {
    let text = device.run(&["replace", "--status", app]).await?;
    Ok(serde_json::from_str(&text).ok())
}
