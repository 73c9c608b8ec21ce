//! A device, reached by the user's own `ssh`: its configuration, agent, jump
//! hosts and known hosts. One connection for all that a command does.

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
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::exit_code::{NOT_RUNNING, REFUSED, REGISTRY, SWITCHED_BACK, UNREACHABLE};
use crate::project::config::Project;

/// The gate on the device.
const EDGE_DOCKER: [&str; 3] = ["sudo", "-n", "/usr/bin/edge-docker"];
/// `ssh`'s own exit code when it did not get there.
const SSH_FAILED: i32 = 255;

/// A device.
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
    /// The device `name` of the project, or a host of that name.
    ///
    /// # Errors
    /// A name that is none; no ssh.
    pub(crate) fn new(project: &Project, name: &str) -> Result<Self> {
        let known = project.config.devices.get(name).and_then(Option::as_ref);
        let host = known.and_then(|d| d.host.as_deref()).unwrap_or(name);
        check_destination(host)?;
        let user = match known.and_then(|d| d.user.as_deref()) {
            Some(user) => {
                check_destination(user)?;
                Some(user.to_string())
            }
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

    /// `ssh` with its options, up to the destination.
    fn options(&self) -> std::process::Command {
        let mut command = Root::system().command(&self.ssh);
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        // One directory a device, so that the name can be short: a socket's path
        // has room for about a hundred letters.
        let path = self.control.path().join("s");
        command.arg("-o");
        command.arg(format!("ControlPath={}", option(&path)));
        command.args(["-o", "ConnectTimeout=15"]);
        // A link that is cut is noticed after half a minute.
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

    /// The one connection that everything with this device goes over: made
    /// when it is first needed. Here ssh may ask, for a passphrase or about an
    /// unknown host, at the terminal; never later.
    ///
    /// # Errors
    /// Unreachable, with what ssh said.
    pub(crate) async fn connect(&self) -> Result<()> {
        self.connected.get_or_try_init(|| self.open()).await?;
        Ok(())
    }

    async fn open(&self) -> Result<()> {
        // A file, since the connection goes on in the background and would
        // hold a pipe open.
        let words = self.control.path().join("words");
        let mut command = self.options();
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
        command.stderr(File::create(&words).context("keeping the words of ssh")?);
        let mut command = Command::from(command);
        let status = command.kill_on_drop(true).status().await;
        let status = status.context("starting ssh")?;
        if status.success() {
            return Ok(());
        }
        let said = file::read(&words, 64 * 1024).unwrap_or_default();
        Err(self.unreachable(String::from_utf8_lossy(&said).trim()))
    }

    /// `edge-docker WORDS` on the device.
    ///
    /// # Errors
    /// Unreachable.
    pub(crate) async fn edge_docker(&self, words: &[&str], terminal: bool) -> Result<Command> {
        self.shell(&edge_docker(words), terminal).await
    }

    /// A line for the device's shell; its words must be [`quote`]d.
    ///
    /// # Errors
    /// Unreachable.
    pub(crate) async fn shell(&self, line: &str, terminal: bool) -> Result<Command> {
        self.connect().await?;
        let mut command = self.options();
        command.args(["-o", "ControlMaster=no", "-o", "BatchMode=yes"]);
        if terminal {
            command.arg("-tt");
        } else {
            // Ctrl-C is for us; we decide what becomes of it.
            command.process_group(0);
        }
        command.args(["--", &self.destination]);
        command.arg(line);
        let mut command = Command::from(command);
        command.kill_on_drop(true).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// Unreachable, refused, failed: as the exit codes say.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        self.run_line(&edge_docker(words)).await
    }

    /// As [`Device::run`], with a line for the device's shell.
    ///
    /// # Errors
    /// Unreachable, refused, failed: as the exit codes say.
    pub(crate) async fn run_line(&self, line: &str) -> Result<String> {
        self.run_with(line, None, |_| ()).await
    }

    /// As [`Device::run_line`]; `input` goes to its standard input, and `each`
    /// sees each line of its standard output as it comes.
    ///
    /// # Errors
    /// Unreachable, refused, failed: as the exit codes say.
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
            // It may have ended before it read: its exit code says why.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let out = lines(child.stdout.take().context("standard output")?, each);
        let err = lines(child.stderr.take().context("standard error")?, |_| ());
        let (out, err) = tokio::try_join!(out, err)?;
        let status = child.wait().await?;
        self.judge(status, &err)?;
        Ok(out)
    }

    /// What an exit code means.
    ///
    /// # Errors
    /// Anything but 0.
    pub(crate) fn judge(&self, status: ExitStatus, said: &str) -> Result<()> {
        let said = log::printable(&said.replace('\n', "; "));
        let name = &self.name;
        let code = match status.code() {
            Some(0) => return Ok(()),
            Some(SSH_FAILED) => return Err(self.unreachable(&said)),
            Some(code) => u8::try_from(code).ok(),
            None => None,
        };
        let failure = |code, message: std::fmt::Arguments| Err(Failure::error(code, message));
        match code {
            Some(exit_code::REFUSED) => failure(REFUSED, format_args!("{name} refused: {said}")),
            Some(exit_code::ROLLED_BACK) => failure(SWITCHED_BACK, format_args!("{name}: {said}")),
            Some(exit_code::ROLLBACK_FAILED) => {
                failure(NOT_RUNNING, format_args!("{name}: {said}"))
            }
            Some(exit_code::UNVERIFIABLE) => failure(REGISTRY, format_args!("{name}: {said}")),
            Some(code) => failure(1, format_args!("{name}: exit {code}: {said}")),
            None => failure(1, format_args!("{name}: ended by a signal: {said}")),
        }
    }

    fn unreachable(&self, said: &str) -> anyhow::Error {
        let mut attempt = String::from("ssh ");
        if let Some(config) = &self.config {
            attempt += &format!("-F {} ", config.display());
        }
        if let Some(user) = &self.user {
            attempt += &format!("{user}@");
        }
        let said = log::printable(&said.replace('\n', "; "));
        Failure::error(
            UNREACHABLE,
            format_args!(
                "{} is unreachable: ssh said: {said}; try `{attempt}{} true`",
                self.name, self.destination
            ),
        )
    }
}

/// `edge-docker WORDS` for a device's shell.
pub(crate) fn edge_docker(words: &[&str]) -> String {
    quote(EDGE_DOCKER.iter().chain(words))
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.connected.initialized() {
            return;
        }
        let mut command = self.options();
        command.args(["-O", "exit", "--", &self.destination]);
        // It may be gone already.
        let _ = command.run();
    }
}

async fn lines(
    stream: impl tokio::io::AsyncRead + Unpin,
    mut each: impl FnMut(&str),
) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let words = String::from_utf8_lossy(&line);
        each(&words);
        text.push_str(&words);
        line.clear();
    }
    Ok(text)
}

/// A path as the value of an option of ssh, which splits at blanks and puts
/// something else in the place of `%x`.
fn option(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", path.replace('%', "%%"))
}

/// A host or a user that ssh takes as one, whatever it is.
fn check_destination(text: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
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
        for good in ["jetson", "edge@10.0.0.1", "fe80::1%eth0", "a-b.c_d"] {
            assert!(check_destination(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a;b",
            "$(id)",
            "a\nb",
            "a/b",
            "'a'",
        ] {
            assert!(check_destination(bad).is_err(), "{bad}");
        }
    }
}
