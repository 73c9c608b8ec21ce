//! Connection to a device by the user's `ssh`, with the user's configuration, agent, jump
//! hosts and known hosts: edge-app stores no keys and no host keys.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_app_spec::quote;
use edge_common::command::CommandExt as _;
use edge_common::contract::exit_code;
use edge_common::exit::Failure;
use edge_common::{Root, file, log};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::device::{known_names, options};
use crate::exit_code::{NOT_RUNNING, REFUSED, REGISTRY, ROLLED_BACK, UNREACHABLE};
use crate::project::config::Project;
use crate::temporary;

/// Beginning of each command line on a device: edge-docker is the only program that the
/// user `edge` may run as root. With `-n`, sudo fails instead of asking for a password at
/// a prompt that nobody sees.
const EDGE_DOCKER: [&str; 3] = ["sudo", "-n", "/usr/bin/edge-docker"];
/// Exit code with which `ssh` reports its own failures, above all exit codes of
/// edge-docker itself.
const SSH_FAILED: i32 = 255;
/// Size limit in bytes of ssh's own error messages, which an error of edge-app repeats.
const MAX_SSH_OUTPUT_BYTES: u64 = 64 * 1024;

/// Time limit for opening a connection. It includes the time in which a user types a
/// passphrase.
const OPEN_LIMIT: Duration = Duration::from_secs(180);
/// Time without output after which a command on a device counts as hung: longer than any
/// container may take to stop.
const STEP_LIMIT: Duration = Duration::from_secs(300);
/// The same limit for commands that report their progress. An engine that unpacks a large
/// layer onto a slow disk prints nothing meanwhile.
const PROGRESS_LIMIT: Duration = Duration::from_secs(1800);

/// Device with its ssh settings, and its connection after the first command.
pub(crate) struct Device {
    name: String,
    destination: String,
    user: Option<String>,
    config: Option<PathBuf>,
    ssh: PathBuf,
    control: TempDir,
    /// Known names, if this is not one of them.
    hint: Option<String>,
    connected: OnceCell<()>,
}

impl Device {
    /// Returns the device `name` of `edge-app.yaml`, or else the ssh host of that name.
    /// Does not connect yet.
    pub(crate) fn new(project: &Project, name: &str) -> Result<Self> {
        let known = project.config.devices.get(name).and_then(Option::as_ref);
        let host = known.and_then(|d| d.host.as_deref()).unwrap_or(name);
        options::check_destination(host)?;
        let user = match known.and_then(|d| d.user.as_deref()) {
            Some(user) => {
                options::check_destination(user)?;
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
            control: temporary::directory("the connection of ssh")?,
            hint: known_names::hint(name, &project.config.devices),
            connected: OnceCell::new(),
        })
    }

    /// Returns the name of the device, as the user typed it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns an `ssh` command with the options that all calls need, without destination
    /// and remote command.
    fn ssh_command(&self) -> std::process::Command {
        let mut command = Root::system().command(&self.ssh);
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        // Each device has its own directory, so that the socket's file name can be a
        // single letter: the path of a Unix socket is limited to about a hundred bytes,
        // most of which $TMPDIR may take.
        let path = self.control.path().join("s");
        command.arg("-o");
        command.arg(format!("ControlPath={}", options::value(&path)));
        command.args(["-o", "ConnectTimeout=15"]);
        options::override_session(&mut command);
        // With keepalives, an interrupted link is noticed after half a minute; TCP alone
        // would wait for a quarter of an hour.
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

    /// Opens the connection unless it is open. All commands share one connection
    /// (ControlMaster): it saves a handshake for each command, and ssh asks for a
    /// passphrase or an unknown host only once, here at the terminal.
    pub(crate) async fn connect(&self) -> Result<()> {
        self.connected.get_or_try_init(|| self.open()).await?;
        Ok(())
    }

    async fn open(&self) -> Result<()> {
        // ssh writes its messages to a file instead of a pipe: the connection stays in
        // the background and would keep the pipe open, so that reading to the end would
        // never return.
        let messages = self.control.path().join("messages");
        let mut command = self.ssh_command();
        // If edge-app is killed and cannot close the connection, ControlPersist closes it
        // a minute after the last command.
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
        let status = timeout(OPEN_LIMIT, command.kill_on_drop(true).status()).await;
        let Ok(status) = status else {
            let limit = OPEN_LIMIT.as_secs();
            return Err(self.unreachable(&format!("no connection within {limit} s")));
        };
        let status = status.context("starting ssh")?;
        if status.success() {
            return Ok(());
        }
        let output = file::read(&messages, MAX_SSH_OUTPUT_BYTES).unwrap_or_default();
        Err(self.unreachable(String::from_utf8_lossy(&output).trim()))
    }

    /// Returns a command that runs `edge-docker ARGUMENTS` on the device as root, with a
    /// remote terminal if `terminal` is true.
    pub(crate) async fn edge_docker(&self, arguments: &[&str], terminal: bool) -> Result<Command> {
        self.shell(&edge_docker(arguments), terminal).await
    }

    /// Returns a command that runs a command line in the device's shell. The caller must
    /// [`quote`] its arguments.
    pub(crate) async fn shell(&self, line: &str, terminal: bool) -> Result<Command> {
        self.connect().await?;
        let mut command = self.ssh_command();
        command.args(["-o", "ControlMaster=no", "-o", "BatchMode=yes"]);
        options::override_command(&mut command, &self.ssh, terminal);
        if !terminal {
            // The terminal sends SIGINT after Ctrl-C to its whole foreground process
            // group. In a separate group, ssh does not receive SIGINT, and edge-app
            // decides which of its processes ends.
            command.process_group(0);
        }
        command.args(["--", &self.destination]);
        command.arg(line);
        let mut command = Command::from(command);
        command.kill_on_drop(true).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `edge-docker ARGUMENTS` on the device and returns its standard output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_line(&edge_docker(arguments)).await
    }

    /// Runs a command line in the device's shell and returns its standard output.
    pub(crate) async fn run_line(&self, line: &str) -> Result<String> {
        self.run_within(STEP_LIMIT, line, None, |_| ()).await
    }

    /// Runs a command line in the device's shell, with `input` as standard input. Calls
    /// `each` for each line of standard output as it arrives, and returns the whole
    /// output.
    pub(crate) async fn run_with(
        &self,
        line: &str,
        input: Option<&str>,
        each: impl FnMut(&str),
    ) -> Result<String> {
        self.run_within(PROGRESS_LIMIT, line, input, each).await
    }

    async fn run_within(
        &self,
        limit: Duration,
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
            // A write error is ignored: if the command ended before it read everything,
            // its exit code shows the reason.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        // Both pipes are read at the same time: a command blocks if one of its pipes is
        // full.
        let out = read_lines(child.stdout.take().context("standard output")?, limit, each);
        let mut errors = child.stderr.take().context("standard error")?;
        let err = tokio::spawn(async move {
            let mut bytes = Vec::new();
            errors.read_to_end(&mut bytes).await.map(|_| bytes)
        });
        let ended = async {
            let out = out.await?;
            let err = timeout(limit, err).await???;
            let status = timeout(limit, child.wait()).await??;
            let err = String::from_utf8_lossy(&err).into_owned();
            Ok::<_, anyhow::Error>((out, err, status))
        };
        let (out, err, status) = match ended.await {
            // Ends ssh; the command itself is left to the device.
            Err(error) if error.is::<Elapsed>() => return Err(self.hung(limit)),
            ended => ended?,
        };
        self.check(status, &err)?;
        Ok(out)
    }

    /// Maps the exit status of a command on the device to an error with an exit code of
    /// edge-app. `output` is the command's standard error.
    pub(crate) fn check(&self, status: ExitStatus, output: &str) -> Result<()> {
        let name = &self.name;
        let code = match status.code() {
            Some(0) => return Ok(()),
            Some(SSH_FAILED) => return Err(self.unreachable(output)),
            Some(code) => u8::try_from(code).ok(),
            None => None,
        };
        let output = messages(output);
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

    /// Returns the error for a command that is not done within its time limit.
    fn hung(&self, limit: Duration) -> anyhow::Error {
        Failure::error(
            UNREACHABLE,
            format_args!(
                "{}: edge-docker has been silent for {} s: see `edge-docker ps` and `edge-docker \
                 info` on the device",
                self.name,
                limit.as_secs()
            ),
        )
    }

    /// Returns an error with ssh's messages and an ssh command that reproduces them: the
    /// cause is nearly always in the user's ssh configuration or network.
    fn unreachable(&self, output: &str) -> anyhow::Error {
        let mut attempt = String::from("ssh ");
        if let Some(config) = &self.config {
            attempt += &format!("-F {} ", config.display());
        }
        if let Some(user) = &self.user {
            attempt += &format!("{user}@");
        }
        let output = log::printable(&output.replace('\n', "; "));
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}"));
        let hint = hint.unwrap_or_default();
        Failure::error(
            UNREACHABLE,
            format_args!(
                "{} is unreachable: ssh: {output}; try `{attempt}{} true`{hint}",
                self.name, self.destination
            ),
        )
    }
}

/// Returns the command line `sudo -n edge-docker ARGUMENTS`, quoted for the device's
/// shell.
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
        // An error is ignored, since the connection may be closed already.
        let _ = command.run();
    }
}

/// Returns the messages of edge-docker without the name of the program, one a line; the
/// log of an app is indented.
fn messages(output: &str) -> String {
    let lines = output.trim_end().lines().map(|line| {
        let line = line.strip_prefix("edge-docker: ").unwrap_or(line);
        log::printable(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads lines until the end of the stream, with a time limit for each of them.
async fn read_lines(
    stream: impl AsyncRead + Unpin,
    limit: Duration,
    mut each: impl FnMut(&str),
) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut bytes = Vec::new();
    while timeout(limit, reader.read_until(b'\n', &mut bytes)).await?? > 0 {
        // The output can contain any bytes, for example in the log of an app.
        let line = String::from_utf8_lossy(&bytes);
        each(&line);
        text.push_str(&line);
        bytes.clear();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_command_is_not_awaited_for_ever() {
        let limit = Duration::from_millis(20);
        let (mut device, here) = tokio::io::duplex(64);
        device.write_all(b"a line\nno end").await.unwrap();
        let mut lines = 0;
        let error = read_lines(here, limit, |_| lines += 1).await.unwrap_err();
        assert!(error.is::<Elapsed>() && lines == 1, "{error:#}");
        let (mut device, here) = tokio::io::duplex(64);
        device.write_all(b"a line\nthe end").await.unwrap();
        drop(device);
        let text = read_lines(here, limit, |_| ()).await.unwrap();
        assert_eq!(text, "a line\nthe end");
    }
}
