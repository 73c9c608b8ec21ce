//! Programs, ports, and processes that outlive the command that started them.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use edge_common::exit::Failure;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Exit code after a signal to stop.
const INTERRUPTED: u8 = 130;

/// A process, told from a later one of the same number by its start time.
#[derive(Serialize, Deserialize)]
pub struct Process {
    pid: u32,
    started: String,
}

impl Process {
    /// The running process `pid`.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            started: started(pid).context("a daemon ended at once")?,
        })
    }

    /// Does it still run?
    pub fn alive(&self) -> bool {
        started(self.pid).is_some_and(|s| s == self.started)
    }

    /// Waits for its end, `limit` at most; says whether it ended.
    pub fn ended(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        !self.alive()
    }

    fn signal(&self, signal: &str) {
        if self.alive() {
            let mut kill = Root::system().command("/bin/kill");
            // It may end in between: what counts is whether it is gone.
            let _ = kill.args([signal, &self.pid.to_string()]).run();
        }
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.signal("-KILL");
    }
}

/// Asks all of them to end, and makes those end that do not.
///
/// # Errors
/// One that does not end even so.
pub fn stop(processes: &[Process]) -> Result<()> {
    for signal in ["-TERM", "-KILL"] {
        let end = Instant::now() + Duration::from_secs(5);
        for process in processes {
            process.signal(signal);
        }
        for process in processes {
            process.ended(end.saturating_duration_since(Instant::now()));
        }
    }
    if processes.iter().any(Process::alive) {
        bail!("a daemon does not end");
    }
    Ok(())
}

/// Field 22 of `/proc/PID/stat`; nothing for a process that has ended.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z"))
        .then(|| fields.get(19).map(ToString::to_string))
        .flatten()
}

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a signal to stop is noticed by [`going_on`]; programs that this
/// one starts get it as ever.
///
/// # Errors
/// As `sigaction`.
pub fn notice_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Asked wherever something is waited for.
///
/// # Errors
/// There was a signal to stop.
pub fn going_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        return Err(Failure::error(INTERRUPTED, "interrupted"));
    }
    Ok(())
}

/// Directory of what is kept between runs: `~/.cache/edge-ai`.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .unwrap_or_else(|| home.unwrap_or_default().join(".cache"))
        .join("edge-ai")
}

/// Where a program lies: the system's places, then the Python environment that
/// `scripts/setup` makes, then the search path.
///
/// # Errors
/// It is nowhere.
pub fn find(program: &str) -> Result<PathBuf> {
    let places = [
        PathBuf::from("/usr/sbin"),
        PathBuf::from("/usr/bin"),
        cache().join("venv/bin"),
    ];
    let found = places.iter().map(|p| p.join(program)).find(|p| p.exists());
    found
        .or_else(|| which::which(program).ok())
        .with_context(|| format!("{program} is missing: run scripts/setup"))
}

/// A port on which nobody listens.
///
/// # Errors
/// None is left.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}
