//! Start and stop of the daemons of a local cloud or a build engine. If one of them
//! fails to start, all are killed.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};

use crate::host::find;
use crate::process::{self, Process};
use crate::signals;

/// Time in which a daemon must listen on its port after its start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval of the attempts to connect.
const POLL: Duration = Duration::from_millis(50);

/// End of a daemon while it was awaited. Another program may have taken its port.
#[derive(Debug)]
pub(crate) struct Ended(String);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ended {}

/// Daemons that were started. Dropping the list kills them unless [`Daemons::keep`]
/// is called.
pub(crate) struct Daemons {
    dir: PathBuf,
    children: Vec<Child>,
    kept: bool,
}

impl Daemons {
    /// Creates an empty list of daemons, whose logs will be in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            children: Vec::new(),
            kept: false,
        }
    }

    /// Starts a daemon, with its output in `PROGRAM.log`.
    pub(crate) fn start(&mut self, program: &str, args: &[&str]) -> Result<()> {
        let path = find(program)?;
        let mut command = Root::system().command(path);
        self.spawn(program, command.args(args))
    }

    /// Starts the responder: another process of this program, with the arguments
    /// `args`.
    pub(crate) fn start_responder(&mut self, args: &[&str]) -> Result<()> {
        let edge_sim = std::env::current_exe().context("finding edge-sim")?;
        self.spawn("responder", Root::system().command(edge_sim).args(args))
    }

    /// Starts the daemon `name` by a command, with its output in `NAME.log`.
    pub(crate) fn spawn(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = File::create(self.dir.join(format!("{name}.log"))).context("creating a log")?;
        let error = log.try_clone().context("creating a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error)
            .process_group(0)
            .spawn();
        self.children
            .push(child.with_context(|| format!("starting {name}"))?);
        Ok(())
    }

    /// Waits until a daemon listens on `port`. The end of any daemon is an error.
    pub(crate) fn wait_for(&mut self, port: u16) -> Result<()> {
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        self.wait_until(&format!("nothing listens on port {port}"), listens)
    }

    /// Waits until `ready` returns true. The end of any daemon is an error, and so is the
    /// timeout, with `otherwise` as its message.
    pub(crate) fn wait_until(&mut self, otherwise: &str, ready: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            self.check()?;
            if start.elapsed() > START_TIMEOUT {
                bail!("{otherwise}; see the logs in {}", self.dir.display());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Returns an error if a stop signal was received or a daemon has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        signals::check()?;
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                let logs = self.dir.display();
                let why = format!("a daemon ended: {status}; see the logs in {logs}");
                return Err(Ended(why).into());
            }
        }
        Ok(())
    }

    /// Returns the PID of the daemon that was started last.
    pub(crate) fn last_pid(&self) -> Option<u32> {
        self.children.last().map(Child::id)
    }

    /// Writes the PIDs of the daemons to `pids.json` and leaves the daemons
    /// running.
    pub(crate) fn keep(mut self) -> Result<()> {
        let processes: Result<Vec<_>> = self.children.iter().map(|c| Process::of(c.id())).collect();
        file::write(
            &self.dir.join("pids.json"),
            &serde_json::to_vec(&processes?)?,
            0o600,
        )?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.children.iter_mut().filter(|_| !self.kept) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn processes(dir: &Path) -> Vec<Process> {
    let text = file::read(&dir.join("pids.json"), 64 * 1024).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Returns whether all daemons of the local cloud or build engine in `dir` run.
pub(crate) fn running(dir: &Path) -> bool {
    let processes = processes(dir);
    !processes.is_empty() && processes.iter().all(Process::alive)
}

/// Stops the daemons of the local cloud or build engine in `dir` and waits for their end.
pub(crate) fn stop(dir: &Path) -> Result<()> {
    process::stop(&processes(dir))?;
    let _ = fs::remove_file(dir.join("pids.json"));
    Ok(())
}
