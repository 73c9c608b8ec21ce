//! Tickets: files by which the authorization plugin recognizes a request of edge-docker.
//!
//! edge-docker writes a ticket before sending a request to the engine, and the plugin
//! removes the ticket when it permits that request. The file name contains a hash of the
//! exact request, so that the plugin need not understand the request. A ticket is valid
//! once and only for a short time. See `docs/decisions/0009-ticket-and-policy.md`.

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

/// Directory of the tickets, accessible to root only. It is in memory, because a ticket
/// contains a time since boot, which is meaningless after a reboot.
const DIRECTORY: &str = "/run/edge-docker/tickets";
/// Validity of a ticket. Within this time docker's client, which uses the tickets for
/// `exec`, has to start and send its request, even on a slow board under load.
const VALIDITY: Duration = Duration::from_secs(60);
/// Limit of the content of a ticket in bytes: its creation time, a decimal number of
/// nanoseconds.
const MAX_TICKET_BYTES: u64 = 32;

/// Number of tickets that this process has written. It is part of their file names,
/// because two equal requests need two tickets.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Ticket file that this process has written. Dropping the value removes the file, unless
/// the plugin has already removed it.
#[must_use = "a ticket that is dropped is withdrawn"]
pub(crate) struct Ticket(PathBuf);

impl Ticket {
    /// Keeps the file when the value is dropped. `exec` needs this: docker's client
    /// replaces this process and sends the request that the ticket permits.
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Usually the plugin has removed the file. After a failed request, the unused
        // ticket must not permit the same request of somebody else.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a ticket for the request with the key `key`, as the file `HASH.PID.COUNT`.
pub(crate) fn leave(root: &Root, key: &Key) -> Result<Ticket> {
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}.{}.{count}", hash(key), std::process::id());
    let path = directory.join(name);
    // An earlier process with the same PID may have left a file of this name.
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

/// Withdraws all tickets, so that no request that was permitted before is sent after.
pub(crate) fn withdraw_all(root: &Root) {
    for entry in fs::read_dir(root.path(DIRECTORY))
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = fs::remove_file(entry.path());
    }
}

/// Uses up one valid ticket for `key` and returns whether there was one. Also removes
/// expired tickets that it finds first.
pub(crate) fn take(root: &Root, key: &Key) -> bool {
    let Ok(entries) = fs::read_dir(root.path(DIRECTORY)) else {
        return false;
    };
    let wanted = hash(key);
    for entry in entries.flatten() {
        let path = entry.path();
        let valid = is_valid(&path);
        let name = entry.file_name();
        let for_key = name.to_str().and_then(|n| n.split_once('.'));
        let for_key = for_key.is_some_and(|(hash, _)| hash == wanted);
        if valid && !for_key {
            continue;
        }
        // Removing the file decides: if two threads find the same ticket, only one of
        // them can remove it.
        if fs::remove_file(&path).is_ok() && valid {
            return true;
        }
    }
    false
}

/// Returns the SHA-256 hash of `key` in hex, with which the file names of its tickets
/// begin.
fn hash(key: &Key) -> String {
    Digest::of(key.as_bytes()).hex().into()
}

/// Returns whether the ticket at `path` was created less than [`VALIDITY`] ago.
fn is_valid(path: &Path) -> bool {
    // The modification time of the file is not used: chrony steps the system clock during
    // the first boot, which could expire a valid ticket or make an old one valid again.
    let text = file::read_text(path, MAX_TICKET_BYTES);
    let left_at = text.ok().and_then(|text| text.parse::<u64>().ok());
    // For a creation time in the future there is no age, and the ticket is invalid.
    let age = left_at.and_then(|at| now().checked_sub(Duration::from_nanos(at)));
    age.is_some_and(|age| age < VALIDITY)
}

/// Returns the time since boot (`CLOCK_BOOTTIME`), including suspended time, which
/// changes of the system time do not affect (`docs/decisions/0016-clock-boottime.md`).
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
    fn a_ticket_is_valid_once_and_for_its_request_only() {
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
        assert!(!take(&root, &key), "a ticket is valid once");
    }

    #[test]
    fn equal_requests_have_a_ticket_each() {
        let (_directory, root) = root();
        let key = Key::arguments("load", &[""; 0]);
        leave(&root, &key).unwrap().stay();
        leave(&root, &key).unwrap().stay();
        assert!(take(&root, &key) && take(&root, &key) && !take(&root, &key));
    }

    #[test]
    fn a_dropped_ticket_is_withdrawn() {
        let (_directory, root) = root();
        let key = Key::arguments("build", &["sandbox/a"]);
        drop(leave(&root, &key).unwrap());
        assert!(!take(&root, &key));
        assert_eq!(tickets(&root), 0);
    }

    #[test]
    fn expired_malformed_and_future_tickets_are_invalid_and_removed() {
        let (_directory, root) = root();
        let key = Key::arguments("load", &[""; 0]);
        leave(&root, &key).unwrap().stay();
        let path = fs::read_dir(root.path(DIRECTORY)).unwrap().next();
        let path = path.unwrap().unwrap().path();
        let old = now().saturating_sub(VALIDITY).as_nanos().to_string();
        let future = (now() + VALIDITY).as_nanos().to_string();
        for content in [&old, &future, "", "x", "-1", "99999999999999999999999"] {
            file::write(&path, content.as_bytes(), 0o600).unwrap();
            assert!(!take(&root, &key), "{content:?}");
            assert_eq!(tickets(&root), 0, "{content:?}");
        }
    }

    #[test]
    fn of_many_takers_one_succeeds() {
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
