//! `doctor`: checks docker, ssh, the registry, the signing key and the devices, and shows
//! the next step after each failed check.

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

/// Tolerated difference in seconds between the clocks of a device and of this machine. A
/// larger one shows that a clock is not synchronised, and certificates and tokens soon
/// fail because of their dates.
const MAX_CLOCK_SKEW_SECONDS: u64 = 30;

/// Result of one check, which is also an element of `doctor --json`.
#[derive(Serialize)]
struct Check {
    name: String,
    #[serde(rename = "good")]
    passed: bool,
    /// Version or value that was found, or the error message.
    found: String,
    /// Next step for the user; `None` if the check passed.
    next: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, result: Result<String>, next: impl Into<String>) -> Self {
        let passed = result.is_ok();
        Self {
            name: name.into(),
            passed,
            found: result.unwrap_or_else(|error| format!("{error:#}")),
            next: (!passed).then(|| next.into()),
        }
    }
}

/// Runs all checks and prints their results; returns an error if any check failed.
/// Without a valid project, only the programs on this machine are checked.
pub(super) async fn doctor(project: Result<Project>, json: bool) -> Result<()> {
    let mut checks = check_machine().await;
    match project {
        Ok(project) => {
            let found = Ok(project
                .directory
                .join("edge-app.yaml")
                .display()
                .to_string());
            checks.push(Check::new("project", found, ""));
            checks.extend(check_cloud(&project).await);
            checks.extend(check_devices(&project).await);
        }
        Err(error) => checks.push(Check::new(
            "project",
            Err(error),
            "go to the project's directory, or `edge-app init NAME`",
        )),
    }
    if json {
        table::print_json(&checks)?;
    } else {
        print(&checks);
    }
    match checks.iter().filter(|c| !c.passed).count() {
        0 => Ok(()),
        failed => Err(Failure::error(
            1,
            format_args!("{failed} of {} checks failed", checks.len()),
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
        let mark = if check.passed { "ok    " } else { "FAILED" };
        println!("{mark}  {:width$}  {}", check.name, printable(&check.found));
        if let Some(next) = &check.next {
            println!("        {:width$}  next: {next}", "");
        }
    }
}

async fn check_machine() -> Vec<Check> {
    let server = ["version", "--format", "{{.Server.Version}}"];
    let docker = Check::new(
        "docker",
        first_line("docker", &server).await,
        "install docker, start it (`systemctl start docker`) and join its group",
    );
    let buildx = Check::new(
        "buildx",
        first_line("docker", &["buildx", "version"]).await,
        "install the docker-buildx plugin; without it only this machine's platform is built",
    );
    let ssh = Check::new(
        "ssh",
        first_line("ssh", &["-V"]).await,
        "install openssh-client",
    );
    vec![docker, buildx, ssh]
}

/// Runs a program and returns its first non-empty line of output. Standard error counts
/// as output, since `ssh -V` prints to it.
async fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let path = which::which(program).with_context(|| format!("{program} is not installed"))?;
    let output = Command::from(Root::system().command(path))
        .args(arguments)
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

/// Checks the registry and the signing key, and thereby the access to AWS if the project
/// uses AWS.
async fn check_cloud(project: &Project) -> Vec<Check> {
    let aws = "log in to AWS (`aws sso login`, AWS_PROFILE) and check AWS_REGION";
    let repository = project.repository().await.map(|r| r.to_string());
    let known = repository.is_ok();
    let mut checks = vec![Check::new(
        "repository",
        repository,
        format!("{aws}, or set `registry`"),
    )];
    // Without the name of the repository, this check would fail for the same reason
    // again.
    if known {
        // Listing tags needs the same credentials as a pull and uploads nothing.
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
        Signer::new(project, None).await?.keys().await?;
        Ok("its public key can be read".into())
    };
    checks.push(Check::new(
        "signing key",
        key.await,
        format!("{aws}; or `edge-app keygen FILE` and `signing_key: FILE`"),
    ));
    checks
}

/// Checks each device of the project: connects by ssh, reads the engine's version and
/// compares the clocks.
async fn check_devices(project: &Project) -> Vec<Check> {
    let names: Vec<_> = project.config.devices.keys().cloned().collect();
    let work = |name: String| async move { check_device(project, &name).await };
    let check = |(name, answer)| {
        let next = format!("see the message; `edge-app status {name}` shows what runs on it");
        Check::new(format!("device {name}"), answer, next)
    };
    rollout::query(&names, work)
        .await
        .into_iter()
        .map(check)
        .collect()
}

async fn check_device(project: &Project, name: &str) -> Result<String> {
    let device = Device::new(project, name)?;
    let info = ["system", "info", "--format={{json .}}"];
    let info = device.run(&info).await?;
    let info: Value =
        serde_json::from_str(&info).context("reading the output of edge-docker system info")?;
    let text = info["SystemTime"].as_str().unwrap_or_default();
    let version = info["ServerVersion"].as_str().unwrap_or("no engine");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let time = time::parse(text).with_context(|| format!("its clock reports {text:?}"))?;
    let skew = now.abs_diff(time);
    if skew > MAX_CLOCK_SKEW_SECONDS {
        bail!(
            "its clock differs by {skew} s: check chrony on the device, and the clock of this machine"
        );
    }
    Ok(format!("engine {version}, clocks {skew} s apart"))
}
