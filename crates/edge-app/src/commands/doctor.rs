//! `doctor`: is everything there that the other commands need? Each finding
//! comes with its next step.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::time;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use crate::device::rollout;
use crate::device::ssh::Device;
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// How far a device's clock may be off, in seconds.
const SKEW: u64 = 30;

/// What was looked at.
#[derive(Serialize)]
struct Check {
    name: String,
    good: bool,
    /// What was found.
    found: String,
    /// What to do about it.
    next: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, result: Result<String>, next: impl Into<String>) -> Self {
        let good = result.is_ok();
        Self {
            name: name.into(),
            good,
            found: result.unwrap_or_else(|error| format!("{error:#}")),
            next: (!good).then(|| next.into()),
        }
    }
}

/// Looks at everything and prints it.
///
/// # Errors
/// Something is not as it should be.
pub(crate) async fn doctor(project: Result<Project>, json: bool) -> Result<()> {
    let mut checks = here().await;
    match project {
        Ok(project) => {
            let found = Ok(project
                .directory
                .join("edge-app.yaml")
                .display()
                .to_string());
            checks.push(Check::new("project", found, ""));
            checks.extend(cloud(&project).await);
            checks.extend(devices(&project).await);
        }
        Err(error) => checks.push(Check::new(
            "project",
            Err(error),
            "go to the project's directory, or `edge-app init NAME`",
        )),
    }
    if json {
        table::json(&checks)?;
    } else {
        print(&checks);
    }
    match checks.iter().filter(|c| !c.good).count() {
        0 => Ok(()),
        bad => Err(Failure::error(
            1,
            format_args!("{bad} of {} checks failed", checks.len()),
        )),
    }
}

fn print(checks: &[Check]) {
    let width = checks
        .iter()
        .map(|c| c.name.chars().count())
        .max()
        .unwrap_or(0);
    for check in checks {
        let mark = if check.good { "ok    " } else { "FAILED" };
        println!("{mark}  {:width$}  {}", check.name, printable(&check.found));
        if let Some(next) = &check.next {
            println!("        {:width$}  next: {next}", "");
        }
    }
}

/// This machine.
async fn here() -> Vec<Check> {
    let server = ["version", "--format", "{{.Server.Version}}"];
    let docker = Check::new(
        "docker",
        said("docker", &server).await,
        "install docker, start it (`systemctl start docker`) and join its group",
    );
    let buildx = Check::new(
        "buildx",
        said("docker", &["buildx", "version"]).await,
        "install the docker-buildx plugin; without it only this machine's platform is built",
    );
    let ssh = Check::new("ssh", said("ssh", &["-V"]).await, "install openssh-client");
    vec![docker, buildx, ssh]
}

/// The first line of what a program says of itself.
async fn said(program: &str, words: &[&str]) -> Result<String> {
    let path = which::which(program).with_context(|| format!("{program} is not installed"))?;
    let output = Command::from(Root::system().command(path))
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or_default();
    if !output.status.success() {
        bail!("{}", printable(line));
    }
    Ok(line.trim().into())
}

/// The registry and the key, with whatever of AWS they need.
async fn cloud(project: &Project) -> Vec<Check> {
    let aws = "log in to AWS (`aws sso login`, AWS_PROFILE) and check AWS_REGION";
    let repository = project.repository().await;
    let known = repository.is_ok();
    let name = repository.map(|r| r.to_string());
    let mut checks = vec![Check::new(
        "repository",
        name,
        format!("{aws}, or set `registry`"),
    )];
    if known {
        let tags = async {
            let tags = project.registry().await?.tags().await;
            Ok(format!("{} tags", tags.map_err(registry_error)?.len()))
        };
        checks.push(Check::new(
            "registry",
            tags.await,
            format!("{aws}; or `docker login`, `credentials` and `ca` in edge-app.yaml"),
        ));
    }
    let key = async {
        Signer::of(project, None).await?.keys().await?;
        Ok("its public half can be read".into())
    };
    checks.push(Check::new(
        "signing key",
        key.await,
        format!("{aws}; or `edge-app keygen FILE` and `signing_key: FILE`"),
    ));
    checks
}

/// Every device: reachable, with an engine, and with a clock that is right.
async fn devices(project: &Project) -> Vec<Check> {
    let names: Vec<_> = project.config.devices.keys().cloned().collect();
    let work = |name: String| async move { device(project, &name).await };
    let check = |(name, answer)| {
        let next = format!("as the message says; `edge-app status {name}` shows what runs there");
        Check::new(format!("device {name}"), answer, next)
    };
    rollout::ask(&names, work)
        .await
        .into_iter()
        .map(check)
        .collect()
}

async fn device(project: &Project, name: &str) -> Result<String> {
    let device = Device::new(project, name)?;
    let info = ["system", "info", "--format={{json .}}"];
    let info = device.run(&info).await?;
    let info: Value = serde_json::from_str(&info).context("reading what the device says")?;
    let text = info["SystemTime"].as_str().unwrap_or_default();
    let version = info["ServerVersion"].as_str().unwrap_or("no engine");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let there = time::parse(text).with_context(|| format!("its clock says {text:?}"))?;
    let skew = now.abs_diff(there);
    if skew > SKEW {
        bail!("its clock is {skew} s off this one: check chrony there, and the clock here");
    }
    Ok(format!("engine {version}, clocks {skew} s apart"))
}
