//! Processes that outlive the command that started them, and their end by signals.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use serde::{Deserialize, Serialize};

/// Time in which a process must end after SIGTERM, and again after SIGKILL.
const END: Duration = Duration::from_secs(5);

/// Process, identified by PID and start time: a later process can have the same
/// PID.
#[derive(Serialize, Deserialize)]
pub(crate) struct Process {
    pid: u32,
    started: String,
}

impl Process {
    /// Records the running process with this PID; fails if the process has ended.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            started: started(pid).context("a daemon ended right after its start")?,
        })
    }

    /// Returns whether a process with this PID and start time runs.
    pub(crate) fn alive(&self) -> bool {
        started(self.pid).is_some_and(|s| s == self.started)
    }

    /// Waits at most `limit` for the end of the process; returns whether the
    /// process has ended.
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
            // An error is ignored: the process may end by itself before the signal
            // arrives.
            let _ = kill.args([signal, &self.pid.to_string()]).run();
        }
    }

    /// Sends SIGKILL to the process, unless it has ended.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }
}

/// Ends all `processes`: sends SIGTERM, and after 5 s SIGKILL to those that still
/// run.
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

/// Returns the start time of a process, field 22 of `/proc/PID/stat`; `None` for a
/// process that has ended, also for a zombie.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 is in parentheses and may contain blanks and parentheses:
    // the last one ends the name.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z"))
        .then(|| fields.get(19).map(ToString::to_string))
        .flatten()
}
