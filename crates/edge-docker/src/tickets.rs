//! Tickets: what edge-docker leaves at the engine's door before it asks for
//! something, so that the engine takes it from edge-docker alone.
//!
//! A ticket is an empty promise about one request: its name is a hash of exactly
//! what will be asked, it is good once, and only for a short while.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_docker_policy::api::key::Key;
use edge_signature::Digest;
use rustix::time::{ClockId, clock_gettime};

/// Where they lie: root's own, gone with a reboot.
const DIRECTORY: &str = "/run/edge-docker/tickets";
/// How long one is good.
const GOOD: Duration = Duration::from_secs(60);
/// Longest content of one, in bytes.
const LARGEST: u64 = 32;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A ticket that was left; taken back when this is dropped, if it still lies there.
#[must_use = "a ticket that is dropped is taken back"]
pub struct Ticket(PathBuf);

impl Ticket {
    /// Leaves it there until it is used or no longer good: for the moment before
    /// this process becomes docker's client.
    pub fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Mostly the engine's plugin has already taken it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Leaves a ticket.
///
/// # Errors
/// The directory cannot be written.
pub fn leave(root: &Root, key: &Key) -> Result<Ticket> {
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}.{}.{count}", hash(key), std::process::id());
    let path = directory.join(name);
    // A process of the same number may have left one and died.
    let _ = fs::remove_file(&path);
    let context = || format!("writing a ticket in {DIRECTORY}");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(context)?;
    file.write_all(now().as_nanos().to_string().as_bytes())
        .with_context(context)?;
    Ok(Ticket(path))
}

/// Takes a ticket for `key`, if a good one lies there; drops those that are no
/// longer good. Removing decides: of two that take the same, one has it.
pub fn take(root: &Root, key: &Key) -> bool {
    let Ok(entries) = fs::read_dir(root.path(DIRECTORY)) else {
        return false;
    };
    let wanted = hash(key);
    for entry in entries.flatten() {
        let path = entry.path();
        let good = good(&path);
        let name = entry.file_name();
        let for_key = name.to_str().and_then(|n| n.split_once('.'));
        let for_key = for_key.is_some_and(|(hash, _)| hash == wanted);
        if good && !for_key {
            continue;
        }
        if fs::remove_file(&path).is_ok() && good {
            return true;
        }
    }
    false
}

/// Returns the hash that names the tickets for `key`.
fn hash(key: &Key) -> String {
    Digest::of(key.as_bytes()).hex().into()
}

/// Left a short while ago, by the clock that no one sets?
fn good(path: &Path) -> bool {
    let left = file::read_text(path, LARGEST);
    let left = left.ok().and_then(|text| text.parse::<u64>().ok());
    let age = left.and_then(|left| now().checked_sub(Duration::from_nanos(left)));
    age.is_some_and(|age| age < GOOD)
}

/// Time since the device was switched on.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        (directory, root)
    }

    fn tickets(root: &Root) -> usize {
        fs::read_dir(root.path(DIRECTORY)).unwrap().count()
    }

    #[test]
    fn one_is_good_once_and_for_what_it_names() {
        let (_directory, root) = root();
        let key = Key::request("POST", "/v1.41/containers/create", b"{}");
        assert!(!take(&root, &key), "none was left");
        leave(&root, &key).unwrap().stay();
        for other in [
            Key::request("PUT", "/v1.41/containers/create", b"{}"),
            Key::request("POST", "/v1.41/containers/create?name=x", b"{}"),
            Key::request("POST", "/v1.41/containers/create", b"{ }"),
            Key::request("POST", "/v1.41/containers/create", b""),
            Key::arguments("request", &["POST", "/v1.41/containers/create", "{}"]),
        ] {
            assert!(!take(&root, &other), "{other:?}");
        }
        assert!(take(&root, &key));
        assert!(!take(&root, &key), "a ticket is good once");
    }

    #[test]
    fn two_alike_are_two() {
        let (_directory, root) = root();
        let key = Key::arguments("load", &[""; 0]);
        leave(&root, &key).unwrap().stay();
        leave(&root, &key).unwrap().stay();
        assert!(take(&root, &key) && take(&root, &key) && !take(&root, &key));
    }

    #[test]
    fn one_that_is_dropped_is_taken_back() {
        let (_directory, root) = root();
        let key = Key::arguments("build", &["sandbox/a"]);
        drop(leave(&root, &key).unwrap());
        assert!(!take(&root, &key));
        assert_eq!(tickets(&root), 0);
    }

    #[test]
    fn old_broken_and_future_ones_are_no_good_and_go() {
        let (_directory, root) = root();
        let key = Key::arguments("load", &[""; 0]);
        leave(&root, &key).unwrap().stay();
        let path = fs::read_dir(root.path(DIRECTORY)).unwrap().next();
        let path = path.unwrap().unwrap().path();
        let old = now().saturating_sub(GOOD).as_nanos().to_string();
        let future = (now() + GOOD).as_nanos().to_string();
        for content in [&old, &future, "", "x", "-1", "99999999999999999999999"] {
            file::write(&path, content.as_bytes(), 0o600).unwrap();
            assert!(!take(&root, &key), "{content:?}");
            assert_eq!(tickets(&root), 0, "{content:?}");
        }
    }

    #[test]
    fn of_many_that_take_one_has_it() {
        let (_directory, root) = root();
        let key = Key::arguments("load", &[""; 0]);
        leave(&root, &key).unwrap().stay();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(take(&root, &key))))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 1);
    }
}
