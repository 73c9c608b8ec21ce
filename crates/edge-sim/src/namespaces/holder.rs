//! Linux namespaces that exist as long as their first process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_common::Root;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::find;

/// Time in which the first process must end by itself before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// `PATH` of the first process and of its child processes.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// New namespaces for mounts, network, processes, host name and IPC. Dropping them
/// kills all processes in them.
pub struct Namespaces {
    unshare: Child,
    pid: u32,
}

impl Namespaces {
    /// Runs a shell script as the first process and waits until the script prints
    /// `ready`. Afterwards the script must read its standard input and exit at the
    /// end of input: the pipe also closes if this process is killed. `args` are the
    /// arguments of the script, `log` is its standard error.
    ///
    /// # Errors
    /// If the caller is not root, or the script ends before it prints `ready`.
    pub fn start(script: &str, args: &[&Path], log: Stdio) -> Result<Self> {
        let mut command = Root::system().command(find("unshare")?);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc"]);
        // Without a PID namespace, a daemon that a test leaves (for example
        // wireguard-go) would outlive the test. The end of the first process kills
        // all processes of the namespace.
        command.args(["--fork", "--kill-child=KILL", "/bin/sh", "-c", script, "sh"]);
        command
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut unshare = command.spawn().context("starting unshare")?;
        match ready(&mut unshare) {
            Ok(pid) => Ok(Self { unshare, pid }),
            Err(error) => {
                let _ = unshare.kill();
                let _ = unshare.wait();
                Err(error)
            }
        }
    }

    /// Returns the PID of the first process as this machine shows it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the path of the network namespace, `/proc/PID/ns/net`.
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid).into()
    }

    /// Returns the command that runs `program` in the namespaces as root.
    pub fn command(&self, program: &str) -> Command {
        let target = self.pid.to_string();
        let mut command = Root::system().command("/usr/bin/nsenter");
        command.args(["--all", "--root", "--wd=/", "--target", &target, "--"]);
        command.arg(program);
        command
    }

    /// Closes the standard input of the first process and waits for its end; after
    /// 20 s kills all processes.
    pub fn end(mut self) {
        drop(self.unshare.stdin.take());
        let end = Instant::now() + END_TIMEOUT;
        while Instant::now() < end && matches!(self.unshare.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Namespaces {
    /// Kills all processes, as a power loss does, and waits for their end.
    fn drop(&mut self) {
        // unshare ends after the first process, and the first process only after
        // all others in its PID namespace. If unshare were killed instead, `wait`
        // would return while they still run.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.unshare.try_wait(), pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.unshare.wait();
    }
}

/// Waits until the first process prints `ready`; returns its PID, that of the child
/// of unshare.
fn ready(unshare: &mut Child) -> Result<u32> {
    let output = unshare.stdout.take().context("standard output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(
        line == "ready\n",
        "the first process of new namespaces ended: run as root and see its log"
    );
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let children = fs::read_to_string(children).context("finding the first process")?;
    children.trim().parse().context("finding the first process")
}
