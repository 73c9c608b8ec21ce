//! Connection to a device by the user's own `ssh`, with its configuration, agent, jump
//! hosts and known hosts: edge-app keeps no keys and no list of known hosts.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use edge_app_spec::quote;
use edge_common::command::CommandExt as _;
use edge_common::contract::exit_code;
use edge_common::exit::Failure;
use edge_common::{Root, file, log};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::exit_code::{NOT_RUNNING, REFUSED, REGISTRY, ROLLED_BACK, UNREACHABLE};
use crate::project::config::Project;

/// The only program that the user `edge` may run as root. `-n`: sudo must fail instead
/// of asking for a password at a prompt that nobody sees.
const EDGE_DOCKER: [&str; 3] = ["sudo", "-n", "/usr/bin/edge-docker"];
/// Exit code of `ssh` for its own failures; edge-docker has none as high.
const SSH_FAILED: i32 = 255;
/// Bytes of ssh's own messages that are read back.
const MAX_SSH_OUTPUT_BYTES: u64 = 64 * 1024;

/// Device, and the connection to it once there is one.
pub(crate) struct Device {
    name: String,
    destination: String,
    user: Option<String>,
    config: Option<PathBuf>,
    ssh: PathBuf,
    control: TempDir,
    connected: OnceCell<()>,
}

impl Device {
    /// Returns the device `name` of the project, or the host of that name. Connects to
    /// nothing yet.
    pub(crate) fn new(project: &Project, name: &str) -> Result<Self> {
        let known = project.config.devices.get(name).and_then(Option::as_ref);
        let host = known.and_then(|d| d.host.as_deref()).unwrap_or(name);
        check_destination(host)?;
        let user = match known.and_then(|d| d.user.as_deref()) {
            Some(user) => {
                check_destination(user)?;
                Some(user.to_string())
            }
            // `USER@HOST` names the user already, and `-l` would override it.
            None if host.contains('@') => None,
            None => Some("edge".into()),
        };
        let config = known.and_then(|d| d.ssh_config.as_deref());
        Ok(Self {
            name: name.into(),
            destination: host.into(),
            user,
            config: config.map(|c| project.path(c)),
            ssh: which::which("ssh")
                .map_err(|_| Failure::error(1, "ssh is not installed: install openssh-client"))?,
            control: tempfile::Builder::new().prefix("edge-app-").tempdir()?,
            connected: OnceCell::new(),
        })
    }

    /// Returns `ssh` with its options, up to the destination.
    fn ssh_command(&self) -> std::process::Command {
        let mut command = Root::system().command(&self.ssh);
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        // A directory for each device, so that the name of the socket can be one
        // letter: its path has room for about a hundred, and $TMPDIR may use most.
        let path = self.control.path().join("s");
        command.arg("-o");
        command.arg(format!("ControlPath={}", option_value(&path)));
        command.args(["-o", "ConnectTimeout=15"]);
        // A cut link is noticed after half a minute; TCP alone would wait for
        // a quarter of an hour.
        command.args([
            "-o",
            "ServerAliveInterval=10",
            "-o",
            "ServerAliveCountMax=3",
        ]);
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        command
    }

    /// Opens the connection if there is none. All commands share it: each would pay
    /// for a handshake of its own, and ssh could ask for a passphrase or an unknown
    /// host at any of them. It asks here, at the terminal, and never later.
    pub(crate) async fn connect(&self) -> Result<()> {
        self.connected.get_or_try_init(|| self.open()).await?;
        Ok(())
    }

    async fn open(&self) -> Result<()> {
        // A file and not a pipe: the connection stays in the background and would hold
        // the pipe open, so that reading to its end would never return.
        let messages = self.control.path().join("messages");
        let mut command = self.ssh_command();
        // ControlPersist ends the connection a minute after our last command, should
        // this process be killed before it can.
        command.args([
            "-o",
            "ControlMaster=yes",
            "-o",
            "ControlPersist=60",
            "-f",
            "-N",
        ]);
        command.args(["--", &self.destination]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&messages).context("creating a file for ssh's messages")?);
        let mut command = Command::from(command);
        let status = command.kill_on_drop(true).status().await;
        let status = status.context("starting ssh")?;
        if status.success() {
            return Ok(());
        }
        let output = file::read(&messages, MAX_SSH_OUTPUT_BYTES).unwrap_or_default();
        Err(self.unreachable(String::from_utf8_lossy(&output).trim()))
    }

    /// Returns a command that runs `edge-docker ARGUMENTS` on the device.
    pub(crate) async fn edge_docker(&self, arguments: &[&str], terminal: bool) -> Result<Command> {
        self.shell(&edge_docker(arguments), terminal).await
    }

    /// Returns a command that runs a line in the device's shell. The caller must
    /// [`quote`] its arguments.
    pub(crate) async fn shell(&self, line: &str, terminal: bool) -> Result<Command> {
        self.connect().await?;
        let mut command = self.ssh_command();
        command.args(["-o", "ControlMaster=no", "-o", "BatchMode=yes"]);
        if terminal {
            command.arg("-tt");
        } else {
            // The terminal sends Ctrl-C to the whole process group. In a group of its
            // own ssh does not get it, and we decide which of our processes ends.
            command.process_group(0);
        }
        command.args(["--", &self.destination]);
        command.arg(line);
        let mut command = Command::from(command);
        command.kill_on_drop(true).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `edge-docker ARGUMENTS` and returns its standard output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_line(&edge_docker(arguments)).await
    }

    /// Runs a line in the device's shell and returns its standard output.
    pub(crate) async fn run_line(&self, line: &str) -> Result<String> {
        self.run_with(line, None, |_| ()).await
    }

    /// Runs a line in the device's shell, with `input` as standard input; calls `each`
    /// for each line of standard output as it arrives, and returns all of it.
    pub(crate) async fn run_with(
        &self,
        line: &str,
        input: Option<&str>,
        each: impl FnMut(&str),
    ) -> Result<String> {
        let mut command = self.shell(line, false).await?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().context("starting ssh")?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            // A command that ended before it read has an exit code that says why.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        // Both at once: a command blocks when the pipe that nobody reads is full.
        let out = read_lines(child.stdout.take().context("standard output")?, each);
        let err = read_lines(child.stderr.take().context("standard error")?, |_| ());
        let (out, err) = tokio::try_join!(out, err)?;
        let status = child.wait().await?;
        self.check(status, &err)?;
        Ok(out)
    }

    /// Turns the exit code of a command on the device into an error with our own exit
    /// code; `output` is its standard error.
    pub(crate) fn check(&self, status: ExitStatus, output: &str) -> Result<()> {
        let output = log::printable(&output.replace('\n', "; "));
        let name = &self.name;
        let code = match status.code() {
            Some(0) => return Ok(()),
            Some(SSH_FAILED) => return Err(self.unreachable(&output)),
            Some(code) => u8::try_from(code).ok(),
            None => None,
        };
        let failure = |code, message: std::fmt::Arguments| Err(Failure::error(code, message));
        match code {
            Some(exit_code::REFUSED) => failure(REFUSED, format_args!("{name}: {output}")),
            Some(exit_code::ROLLED_BACK) => failure(ROLLED_BACK, format_args!("{name}: {output}")),
            Some(exit_code::ROLLBACK_FAILED) => {
                failure(NOT_RUNNING, format_args!("{name}: {output}"))
            }
            Some(exit_code::UNVERIFIABLE) => failure(REGISTRY, format_args!("{name}: {output}")),
            Some(code) => failure(1, format_args!("{name}: exit code {code}: {output}")),
            None => failure(1, format_args!("{name}: ended by a signal: {output}")),
        }
    }

    /// Returns an error with ssh's messages and the command that shows them again:
    /// what is wrong is nearly always in the user's own configuration.
    fn unreachable(&self, output: &str) -> anyhow::Error {
        let mut attempt = String::from("ssh ");
        if let Some(config) = &self.config {
            attempt += &format!("-F {} ", config.display());
        }
        if let Some(user) = &self.user {
            attempt += &format!("{user}@");
        }
        let output = log::printable(&output.replace('\n', "; "));
        Failure::error(
            UNREACHABLE,
            format_args!(
                "{} is unreachable: ssh: {output}; try `{attempt}{} true`",
                self.name, self.destination
            ),
        )
    }
}

/// Returns `sudo edge-docker ARGUMENTS`, quoted for the device's shell.
pub(crate) fn edge_docker(arguments: &[&str]) -> String {
    quote(EDGE_DOCKER.iter().chain(arguments))
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.connected.initialized() {
            return;
        }
        let mut command = self.ssh_command();
        command.args(["-O", "exit", "--", &self.destination]);
        // The connection may be closed already.
        let _ = command.run();
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await? > 0 {
        // Logs of an app hold any bytes.
        let line = String::from_utf8_lossy(&bytes);
        each(&line);
        text.push_str(&line);
        bytes.clear();
    }
    Ok(text)
}

/// Quotes a path as the value of an option of ssh, which splits values at blanks and
/// replaces `%x`.
fn option_value(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", path.replace('%', "%%"))
}

/// Checks that ssh takes `text` for a host or a user. A leading `-` would be an option,
/// and `-oProxyCommand=` runs a program on the laptop; ssh hands hosts and users to
/// shells too, in `ProxyCommand` and `Match exec` of the user's configuration.
fn check_destination(text: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
        return Err(Failure::error(
            2,
            format_args!("{text:?} is not the name of a device"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for valid in ["jetson", "edge@10.0.0.1", "fe80::1%eth0", "a-b.c_d"] {
            assert!(check_destination(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a;b",
            "$(id)",
            "a\nb",
            "a/b",
            "'a'",
        ] {
            assert!(check_destination(invalid).is_err(), "{invalid}");
        }
    }
}
