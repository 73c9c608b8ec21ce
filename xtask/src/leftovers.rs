//! Things that a run of the tests or the demo leaves on the machine: processes, mounts,
//! network interfaces and namespaces, temporary directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell;

/// Time for what ends by itself, such as a daemon that has just been told to.
const GRACE: Duration = Duration::from_secs(5);
/// Directories in which only names of ours are compared: others use them too.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/run"];
/// Beginning of every name of ours there.
const OURS: &str = "edge";

/// State of the machine before a run, and the temporary directory of the run.
pub(crate) struct Before {
    state: BTreeSet<String>,
    temporary: tempfile::TempDir,
}

impl Before {
    /// Notes the state, and gives the run a temporary directory of its own, so that
    /// whatever stays in it is known to be of this run.
    pub(crate) fn note() -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("edge-")
            .tempdir_in("/tmp")?;
        shell::set_temporary_directory(temporary.path());
        let state = state()?;
        Ok(Self { state, temporary })
    }

    /// Prints what was not there before; false if there is something.
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

/// Mounts, interfaces, network namespaces and temporary directories of ours, a line each.
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

/// Names in a directory; none if it is not there.
fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Processes that come from this run: everything below the supervisor, which adopts what
/// its parent left, without the supervisor and this process.
fn processes() -> Result<Vec<String>> {
    let mut parents = BTreeMap::new();
    for name in names("/proc") {
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        // A process that is gone by now is none that was left.
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

/// The parent's number in `/proc/PID/stat`; none for a zombie, which has ended.
fn parent(stat: &str) -> Option<u32> {
    // The name before the last parenthesis may hold anything.
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
