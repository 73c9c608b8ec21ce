//! Owner of what is below the mounts of an app whose signed specification has
//! `storage: {owner: app}`: the user of its container, to whom the files are given when it
//! becomes another one.
//!
//! The first pass runs while the old version still does, with progress, and the second,
//! short one when it has stopped. An extended attribute of each mount source notes for whom
//! the files are, before the first change and after the last: an interrupted pass is
//! repeated, and a version that is restored gets its files back. See
//! `docs/decisions/0061-owners-of-content.md`.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::log;
use edge_docker_policy::mounts::{CloneRecord, Owner};
use rustix::fs::{AtFlags, Gid, Uid, XattrFlags, chownat, getxattr, setxattr};
use rustix::io::Errno;

use super::walk::{Entry, Walk};

/// Extended attribute with the user to whom the content belongs, `UID:GID`, and `+` behind
/// it once all of it does.
const ATTRIBUTE: &str = "trusted.edge.content";
/// Time between two messages of a pass.
const TICK: Duration = Duration::from_secs(4);
/// Time between two looks at the clock, in entries.
const ENTRIES_PER_LOOK: u64 = 1024;

/// Pass over the content of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// While another version may still run and change its directories.
    Early,
    /// When nothing of the app runs any more.
    Last,
}

/// Reason to change the owner of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The signed specification of the container asks for it.
    Signed,
    /// The container returns to service, and its content may be another version's.
    WayBack,
}

/// Note on a mount source: owner of its content, and whether all of it is done.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    owner: Owner,
    is_done: bool,
}

/// Counts of one pass.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    given: u64,
    kept: u64,
    /// First reason why an entry keeps its owner.
    why: Option<String>,
}

/// Mounts of a container, and the user to whom their content is to belong.
pub(crate) struct Content {
    pub(super) record: CloneRecord,
    pub(super) sources: Vec<OwnedFd>,
    pub(super) owner: Owner,
}

impl Content {
    /// Gives what is below the mounts to the user, unless it is done. `show` prints a step;
    /// once `is_cancelled`, the pass ends with an error.
    pub(crate) fn give(
        &self,
        reason: Reason,
        pass: Pass,
        show: &dyn Fn(&str),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let due = self.due(reason);
        if due.is_empty() {
            return Ok(());
        }
        let user = format!("{}:{}", self.owner.user, self.owner.group);
        if pass == Pass::Early {
            show(&format!("giving the app's data to {user}"));
        }
        for source in &due {
            write_note(source, &user)?;
        }
        let mut tally = Tally::default();
        let mut walk = Walk::new();
        let mut shown = Instant::now();
        for source in &due {
            walk.enter(source)?;
            while let Some(entry) = walk.next() {
                tally.seen += 1;
                give_entry(&mut walk, entry, self.owner, pass, &mut tally);
                if tally.seen % ENTRIES_PER_LOOK == 0 && shown.elapsed() >= TICK {
                    shown = Instant::now();
                    let seen = tally.seen;
                    show(&format!("giving the app's data to {user}, {seen} files"));
                }
                if is_cancelled() {
                    bail!("interrupted");
                }
            }
        }
        tally.add_linked(walk.linked_elsewhere());
        if tally.given > 0 {
            let given = tally.given;
            show(&format!("{given} files of the app belong to {user} now"));
        }
        match pass {
            Pass::Early => Ok(()),
            Pass::Last => self.finish(&due, &user, &tally),
        }
    }

    /// Returns the mounts whose content has to be given. What another mount contains is
    /// done with that one.
    fn due(&self, reason: Reason) -> Vec<&OwnedFd> {
        let below = &self.record.below;
        let is_inside = |own: &String| below.iter().any(|other| contains(other, own));
        let mounts = self.sources.iter().zip(below);
        mounts
            .filter(|(source, own)| {
                !is_inside(own) && is_due(note(source).as_ref(), self.owner, reason)
            })
            .map(|(source, _)| source)
            .collect()
    }

    fn finish(&self, due: &[&OwnedFd], user: &str, tally: &Tally) -> Result<()> {
        if let Some(why) = &tally.why {
            log::warn(format_args!(
                "{} of {} files in {} keep their owner: {why}",
                tally.kept, tally.seen, self.record.directory
            ));
        }
        let done = format!("{user}+");
        due.iter().try_for_each(|source| write_note(source, &done))
    }
}

impl Tally {
    fn keep(&mut self, why: String) {
        self.kept += 1;
        self.why.get_or_insert(why);
    }

    fn add_linked(&mut self, files: u64) {
        if files > 0 {
            self.kept += files - 1;
            self.keep("a file has another name outside of the app's mounts".into());
        }
    }
}

/// Gives one entry to `owner`; one that cannot be given is counted.
fn give_entry(walk: &mut Walk, entry: Entry, owner: Owner, pass: Pass, tally: &mut Tally) {
    let (file, stat) = match entry {
        Entry::Found(file, stat) => (file, stat),
        Entry::Left(why) => return tally.keep(why),
    };
    if (stat.st_uid, stat.st_gid) == (owner.user, owner.group) {
        return;
    }
    if walk.is_device(&stat) {
        return tally.keep("a device node".into());
    }
    if walk.is_linked(&stat) {
        // A running program could show one name twice, and a link outside of its mounts
        // would not be missed.
        if pass == Pass::Early || !walk.has_all_links(&stat) {
            return;
        }
    }
    let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
    match chownat(&file, "", Some(user), Some(group), AtFlags::EMPTY_PATH) {
        Ok(()) => tally.given += 1,
        Err(error) => tally.keep(error.to_string()),
    }
}

/// Returns whether the mount `outer` contains the other mount `inner`.
fn contains(outer: &str, inner: &str) -> bool {
    let rest = match outer {
        "" => return !inner.is_empty(),
        outer => inner.strip_prefix(outer),
    };
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn is_due(note: Option<&Note>, owner: Owner, reason: Reason) -> bool {
    match note {
        Some(note) => note.owner != owner || !note.is_done,
        // Nothing was ever given: a version that is restored left its files as they are,
        // and a program that starts as root may have chosen another user for them.
        None => reason == Reason::Signed && owner.user != 0,
    }
}

/// Returns the note on a mount source; `None` if it has none that can be read.
fn note(source: &OwnedFd) -> Option<Note> {
    let mut value = [0; 32];
    let length = getxattr(path_of(source), ATTRIBUTE, &mut value).ok()?;
    parse_note(std::str::from_utf8(value.get(..length)?).ok()?)
}

fn parse_note(text: &str) -> Option<Note> {
    let (ids, is_done) = match text.strip_suffix('+') {
        Some(ids) => (ids, true),
        None => (text, false),
    };
    let (user, group) = ids.split_once(':')?;
    let owner = Owner {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    };
    Some(Note { owner, is_done })
}

fn write_note(source: &OwnedFd, text: &str) -> Result<()> {
    match setxattr(
        path_of(source),
        ATTRIBUTE,
        text.as_bytes(),
        XattrFlags::empty(),
    ) {
        // A file system without such attributes: the pass runs at every deployment.
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error).context("noting the owner of the app's data"),
    }
}

/// Path of a descriptor: functions for extended attributes do not take one of O_PATH.
fn path_of(source: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", source.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Owner = Owner {
        user: 1000,
        group: 1000,
    };

    #[test]
    fn content_is_given_once_for_each_change_of_the_user() {
        let root = Owner { user: 0, group: 0 };
        let due = |text: &str, owner, reason| is_due(parse_note(text).as_ref(), owner, reason);
        assert!(due("", USER, Reason::Signed));
        assert!(!due("", USER, Reason::WayBack));
        assert!(!due("", root, Reason::Signed));
        for reason in [Reason::Signed, Reason::WayBack] {
            assert!(!due("1000:1000+", USER, reason));
            assert!(due("1000:1000", USER, reason));
            assert!(due("1000:1001+", USER, reason));
            assert!(due("1000:1000+", root, reason));
        }
        for text in ["1000", ":", "1000:", "x:1+", "1:2++", "-1:2", "1:2:3"] {
            assert_eq!(parse_note(text), None, "{text}");
        }
    }

    #[test]
    fn a_mount_within_another_is_done_with_it() {
        assert!(contains("", "a") && contains("a", "a/b") && contains("", "a/b"));
        assert!(!contains("", "") && !contains("a", "a") && !contains("a", "ab"));
        assert!(!contains("a/b", "a"));
    }
}
