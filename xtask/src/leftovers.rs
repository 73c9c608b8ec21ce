//! Search for leftovers of a test or demo run on this machine: processes, mounts, network
//! interfaces and namespaces, temporary directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell;

/// Time limit for processes that are still terminating, such as a daemon after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// Directories shared with other programs, in which only names with the prefix [`OURS`]
/// are compared.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/run"];
/// Prefix of all names that the tests and programs of this repository create in
/// [`SHARED`].
const OURS: &str = "edge";

/// State of the machine before a run, and the run's temporary directory.
pub(crate) struct Before {
    state: BTreeSet<String>,
    temporary: tempfile::TempDir,
}

impl Before {
    /// Records the state, and sets a new temporary directory for the run, so that
    /// anything that remains in it was created by the run.
    pub(crate) fn note() -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("edge-")
            .tempdir_in("/tmp")?;
        shell::set_temporary_directory(temporary.path());
        let state = state()?;
        Ok(Self { state, temporary })
    }

    /// Prints everything that was not there before the run; returns false if there is
    /// anything.
    pub(crate) fn compare(&self) -> Result<bool> {
        let start = Instant::now();
        let mut left = self.left()?;
        while !left.is_empty() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(200));
            left = self.left()?;
        }
        for thing in &left {
            println!("left behind: {thing}");
        }
        Ok(left.is_empty())
    }

    fn left(&self) -> Result<Vec<String>> {
        let mut left = processes()?;
        for name in names(&self.temporary.path().to_string_lossy()) {
            left.push(format!("temporary file {name}"));
        }
        left.extend(state()?.difference(&self.state).cloned());
        Ok(left)
    }
}

/// Returns a line for each mount, network interface, network namespace, and temporary
/// file or directory with the prefix [`OURS`].
fn state() -> Result<BTreeSet<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let point = |line: &str| line.split(' ').nth(4).map(|p| format!("mount {p}"));
    let mut state: BTreeSet<_> = mounts.lines().filter_map(point).collect();
    let interfaces = names("/sys/class/net");
    state.extend(interfaces.iter().map(|n| format!("network interface {n}")));
    let namespaces = names("/run/netns");
    state.extend(namespaces.iter().map(|n| format!("network namespace {n}")));
    for directory in SHARED {
        let names = names(directory);
        let ours = names
            .iter()
            .filter(|n| n.trim_start_matches('.').starts_with(OURS));
        state.extend(ours.map(|n| format!("temporary directory {directory}/{n}")));
    }
    Ok(state)
}

/// Returns the names in a directory; empty if the directory does not exist.
fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Returns the processes that this run started: all descendants of the supervisor, which
/// adopts orphaned daemons, except this process.
fn processes() -> Result<Vec<String>> {
    let mut parents = BTreeMap::new();
    for name in names("/proc") {
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        // A process that ended in the meantime is not a leftover.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        parents.extend(parent(&stat).map(|parent| (pid, parent)));
    }
    let (supervisor, me) = (parent_id(), std::process::id());
    let ours = |mut pid: u32| loop {
        match parents.get(&pid) {
            Some(parent) if *parent == supervisor => break pid != me,
            Some(parent) => pid = *parent,
            None => break false,
        }
    };
    let below = parents.keys().filter(|pid| **pid != me && ours(**pid));
    Ok(below
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            format!("process {pid} {}", line.trim())
        })
        .collect())
}

/// Returns the parent's PID from `/proc/PID/stat`; `None` for a zombie, which has ended.
fn parent(stat: &str) -> Option<u32> {
    // The process name in parentheses can contain any character, so fields are counted
    // from the last parenthesis.
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split(' ');
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_parent_of_a_process() {
        assert_eq!(parent("7 (a) S 2 (b)) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 (a) Z 3 7 7 0"), None);
    }
}
