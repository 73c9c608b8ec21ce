//! `doctor`: checks docker, ssh, the registry, the signing key and the devices, and shows
//! the next step after each failed check.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::time;
use edge_signature::architecture;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use crate::device::rollout;
use crate::device::ssh::Device;
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::config::{Platform, Project};
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
    /// Whether this is only a note: what failed is needed by some projects only.
    note: bool,
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
            note: false,
            found: result.unwrap_or_else(|error| format!("{error:#}")),
            next: (!passed).then(|| next.into()),
        }
    }

    /// Turns a failure into a note, if what failed is not needed.
    fn unless_needed(mut self, needed: bool) -> Self {
        self.note = !self.passed && !needed;
        self
    }

    fn failed(&self) -> bool {
        !self.passed && !self.note
    }
}

/// Runs all checks and prints their results; returns an error if any check failed.
/// Without a valid project, only the programs on this machine are checked.
pub(super) async fn doctor(project: Result<Project>, json: bool) -> Result<()> {
    // Without a project, the default of `platform` is what counts.
    let platform = project.as_ref().ok().map(|p| p.config.platform.0.clone());
    let platform = platform.unwrap_or_else(|| Platform::default().0);
    let mut checks = check_machine(&platform).await;
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
    match checks.iter().filter(|c| c.failed()).count() {
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
        let mark = match (check.passed, check.note) {
            (true, _) => "ok    ",
            (false, true) => "note  ",
            (false, false) => "FAILED",
        };
        println!("{mark}  {:width$}  {}", check.name, printable(&check.found));
        if let Some(next) = &check.next {
            println!("        {:width$}  next: {next}", "");
        }
    }
}

async fn check_machine(platform: &str) -> Vec<Check> {
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
    )
    .unless_needed(platform != format!("linux/{}", architecture()));
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
    let repository = project.repository().await.map(|r| r.to_string());
    let known = repository.is_ok();
    let aws = cloud_step(&repository);
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
        let tags = tags.await;
        let aws = cloud_step(&tags);
        checks.push(Check::new(
            "registry",
            tags,
            format!("{aws}; or `docker login`, `credentials` and `ca` in edge-app.yaml"),
        ));
    }
    let key = async {
        Signer::new(project, None).await?.keys().await?;
        Ok("its public key can be read".into())
    };
    let key: Result<String> = key.await;
    let aws = cloud_step(&key);
    checks.push(Check::new(
        "signing key",
        key,
        format!("{aws}; or `edge-app keygen FILE` and `signing_key: FILE`"),
    ));
    checks
}

/// Texts of errors, in small letters, and the next step after each.
const CLOUD_STEPS: [(&[&str], &str); 4] = [
    (
        &[
            "dns",
            "lookup address",
            "name or service not known",
            "name resolution",
        ],
        "check the network, DNS and HTTPS_PROXY: a name cannot be resolved",
    ),
    (
        &["certificate", "tls", "unknownissuer"],
        "check the clock, and `ca` in edge-app.yaml: a TLS certificate is not accepted",
    ),
    (
        &["expired", "sso"],
        "log in again: `aws sso login` with the same AWS_PROFILE",
    ),
    (
        &["credential"],
        "log in to AWS (`aws sso login`, AWS_PROFILE): there are no credentials",
    ),
];

/// Returns the next step after an error of the cloud. The text of the error, which differs
/// between versions, only selects the advice.
fn cloud_step<T>(result: &Result<T>) -> &'static str {
    let text = match result {
        Ok(_) => return "",
        Err(error) => format!("{error:#}").to_lowercase(),
    };
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let step = CLOUD_STEPS.iter().find(|(words, _)| has(words));
    step.map_or("check AWS_PROFILE and AWS_REGION", |(_, step)| step)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_follows_the_cause() {
        for (error, step) in [
            (
                "dispatch failure: io error: failed to lookup address information",
                "resolved",
            ),
            ("r.io does not answer: dns error", "resolved"),
            ("invalid peer certificate: UnknownIssuer", "TLS certificate"),
            ("the SSO session has expired", "log in again"),
            ("no credentials in the property bag", "no credentials"),
            ("AccessDenied", "AWS_PROFILE and AWS_REGION"),
        ] {
            let result = Err::<(), _>(anyhow::anyhow!(error));
            assert!(cloud_step(&result).contains(step), "{error}");
        }
        let missing = || Check::new("buildx", Err(anyhow::anyhow!("unknown command")), "install");
        assert!(missing().unless_needed(true).failed());
        assert!(!missing().unless_needed(false).failed());
    }
}
