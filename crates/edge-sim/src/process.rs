//! Processes that outlive the command that started them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use serde::{Deserialize, Serialize};

/// Time that a process has to end after a signal.
const END: Duration = Duration::from_secs(5);

/// A process. The time of its start distinguishes it from a later process with
/// the same number.
#[derive(Serialize, Deserialize)]
pub(crate) struct Process {
    pid: u32,
    started: String,
}

impl Process {
    /// Returns the running process `pid`.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            started: started(pid).context("a daemon ended right after its start")?,
        })
    }

    /// Returns whether it runs.
    pub(crate) fn alive(&self) -> bool {
        started(self.pid).is_some_and(|s| s == self.started)
    }

    /// Waits for its end, `limit` at most; returns whether it ended.
    pub(crate) fn ended(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        !self.alive()
    }

    fn signal(&self, signal: &str) {
        if self.alive() {
            let mut kill = Root::system().command("/bin/kill");
            // It may end by itself before the signal: only its end counts.
            let _ = kill.args([signal, &self.pid.to_string()]).run();
        }
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }
}

/// Ends all of them, by SIGTERM and after some seconds by SIGKILL.
pub(crate) fn stop(processes: &[Process]) -> Result<()> {
    for signal in ["-TERM", "-KILL"] {
        let end = Instant::now() + END;
        for process in processes {
            process.signal(signal);
        }
        for process in processes {
            process.ended(end.saturating_duration_since(Instant::now()));
        }
    }
    if let Some(process) = processes.iter().find(|p| p.alive()) {
        bail!("process {} does not end", process.pid);
    }
    Ok(())
}

/// Returns field 22 of `/proc/PID/stat`, the time of the start; nothing for a
/// process that has ended, reaped or not.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold blanks and parentheses: the last one ends it.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z"))
        .then(|| fields.get(19).map(ToString::to_string))
        .flatten()
}
