//! Namespaces that exist as long as their first process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_common::Root;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::find;

/// Time that the first process has to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// Search path of every process in the namespaces.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Namespaces of their own for mounts, network, processes, host name and IPC. All
/// processes in them are killed when this is dropped.
pub struct Namespaces {
    unshare: Child,
    pid: u32,
}

impl Namespaces {
    /// Runs a shell script as the first process and waits until it prints `ready`.
    /// The script then reads its standard input, whose end it must obey: the pipe
    /// closes with this process, even when this process is killed. The arguments
    /// of the script are `args`, its standard error is `log`.
    ///
    /// # Errors
    /// If the caller is not root, or the script ends before it prints `ready`.
    pub fn start(script: &str, args: &[&Path], log: Stdio) -> Result<Self> {
        let mut command = Root::system().command(find("unshare")?);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc"]);
        // A daemon that a test leaves, wireguard-go for one, would outlive the test
        // without a process namespace: its end kills all of them.
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

    /// Process id of the first process, seen from outside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Path of the network namespace.
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid).into()
    }

    /// Command of a program that runs in the namespaces as root.
    pub fn command(&self, program: &str) -> Command {
        let target = self.pid.to_string();
        let mut command = Root::system().command("/usr/bin/nsenter");
        command.args(["--all", "--root", "--wd=/", "--target", &target, "--"]);
        command.arg(program);
        command
    }

    /// Closes the standard input of the first process and waits for its end; kills
    /// everything if it does not end.
    pub fn end(mut self) {
        drop(self.unshare.stdin.take());
        let end = Instant::now() + END_TIMEOUT;
        while Instant::now() < end && matches!(self.unshare.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Namespaces {
    /// Kills everything, as a power loss does, and waits until it is gone.
    fn drop(&mut self) {
        // unshare ends after the first process, whose end waits for the end of all
        // others. Killing unshare instead would return while they still run.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.unshare.try_wait(), pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.unshare.wait();
    }
}

/// Waits for `ready`; returns the process id of the child of unshare.
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
