//! Facts about processes from `/proc`, which the caller cannot change.

use std::fs;

use edge_common::Root;

/// Maximum number of ancestors that are looked at.
const MAX_ANCESTORS: usize = 64;

/// Process by its ID and its start time in clock ticks since the boot, which no later
/// process with the same ID has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(super) id: u32,
    pub(super) started: u64,
    parent: u32,
}

impl Process {
    /// Returns the process with this ID, if it exists.
    pub(super) fn find(root: &Root, id: u32) -> Option<Self> {
        let stat = fs::read_to_string(root.path(format!("/proc/{id}/stat"))).ok()?;
        // The name of the program is in parentheses and may contain any character.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        Some(Self {
            id,
            parent: fields.nth(1)?.parse().ok()?,
            started: fields.nth(17)?.parse().ok()?,
        })
    }

    /// Returns this process and its ancestors, the nearest first.
    pub(super) fn ancestry(root: &Root) -> Vec<Self> {
        let mut found = Vec::new();
        let mut next = Self::find(root, std::process::id());
        while let Some(process) = next.filter(|_| found.len() < MAX_ANCESTORS) {
            found.push(process);
            next = Self::find(root, process.parent).filter(|_| process.parent > 1);
        }
        found
    }
}

/// Returns the control group of a process, for example `/system.slice/sshd.service`;
/// `self` is this process.
pub(super) fn control_group(root: &Root, process: &str) -> String {
    let text = fs::read_to_string(root.path(format!("/proc/{process}/cgroup")));
    let text = text.unwrap_or_default();
    // `0::` is the hierarchy of version 2, `name=systemd` systemd's own in version 1.
    let group = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|group| *group != "/")
        .or_else(|| {
            text.lines()
                .find_map(|line| line.split_once(":name=systemd:").map(|(_, g)| g))
        });
    group.unwrap_or_default().to_string()
}
