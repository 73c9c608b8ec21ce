//! Containers that ran when the engine ended without stopping them, for example because
//! it was killed.
//!
//! An engine kills what still runs when it starts, and takes that for somebody's wish:
//! with `unless-stopped`, the container stays stopped, also after a reboot. So the audit
//! marks these containers before the engine starts, and `replace --recover` starts those
//! that the engine left stopped. The marks are durable, because the engine may be killed
//! again, or the power fail, at any time in between.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::{Root, file, log};
use edge_docker_policy::stored::container::{Stored, is_hex};

use super::disk;

/// Directory of the marks, files with the IDs of the containers as names. Each holds the
/// start of the run that was interrupted, as the engine wrote it.
const DIRECTORY: &str = "/data/config/edge-docker/interrupted";

/// Maximum length of a time, in bytes.
const MAX_TIME: usize = 64;

/// Container that ran when the engine ended without stopping it.
pub(crate) struct Interrupted {
    /// ID of the container.
    pub id: String,
    /// Start of the run, RFC 3339, as the engine wrote it; empty if it wrote none.
    pub started_at: String,
}

/// Returns the run that ended with the engine, if the container would start again by its
/// restart policy.
pub(super) fn find(id: &str, container: &Stored) -> Option<Interrupted> {
    let state = &container.config["State"];
    let is_running = state["Running"] == true || state["Restarting"] == true;
    // Somebody had begun to stop it.
    let is_stopping = container.config["HasBeenManuallyStopped"] == true;
    let policy = container.host["RestartPolicy"]["Name"].as_str();
    let is_interrupted = is_running && !is_stopping && !matches!(policy, None | Some("" | "no"));
    let started_at = state["StartedAt"].as_str().unwrap_or_default();
    is_interrupted.then(|| Interrupted {
        id: id.into(),
        started_at: started_at.chars().take(MAX_TIME).collect(),
    })
}

/// Marks containers.
pub(super) fn mark(root: &Root, interrupted: &[Interrupted]) {
    for one in interrupted {
        let path = path(root, &one.id);
        let marked = match path.exists() && read(root, &one.id) == one.started_at {
            true => Ok(()),
            false => file::create_directory(&root.path(DIRECTORY), 0o700)
                .and_then(|()| file::write(&path, one.started_at.as_bytes(), 0o600)),
        };
        if let Err(error) = marked {
            // No reason to keep the engine from starting.
            log::warn(format_args!("{error:#}: {} may stay stopped", one.id));
        }
    }
}

/// Returns the marked containers.
pub(crate) fn all(root: &Root) -> Result<Vec<Interrupted>> {
    let paths = disk::entries(&root.path(DIRECTORY))?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    let interrupted = |id: &str| Interrupted {
        id: id.into(),
        started_at: read(root, id),
    };
    Ok(names.filter(|n| is_hex(n)).map(interrupted).collect())
}

/// Returns the time in a mark. Earlier versions wrote none, and without it a container is
/// started all the same.
fn read(root: &Root, id: &str) -> String {
    let bytes = file::read(&path(root, id), MAX_TIME as u64).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Removes the mark of a container, if it has one.
pub(crate) fn forget(root: &Root, id: &str) -> Result<()> {
    let path = path(root, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn path(root: &Root, id: &str) -> PathBuf {
    root.path(DIRECTORY).join(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_ran_and_would_start_again_is_marked() {
        let id = "a".repeat(64);
        let is = |config: serde_json::Value, host: serde_json::Value| {
            let (config, host) = (config.to_string(), host.to_string());
            let stored = Stored::parse(PathBuf::from(&id), config.as_bytes(), host.as_bytes());
            find(&id, &stored.unwrap()).is_some()
        };
        let policy = |name: &str| json!({ "RestartPolicy": { "Name": name } });
        let running = json!({ "State": { "Running": true } });
        for name in ["always", "unless-stopped", "on-failure"] {
            assert!(is(running.clone(), policy(name)), "{name}");
        }
        for host in [
            policy("no"),
            policy(""),
            json!({}),
            json!({ "RestartPolicy": null }),
        ] {
            assert!(!is(running.clone(), host));
        }
        assert!(is(
            json!({ "State": { "Running": false, "Restarting": true } }),
            policy("always")
        ));
        for config in [
            json!({ "State": { "Running": true }, "HasBeenManuallyStopped": true }),
            json!({ "State": { "Running": false } }),
            json!({ "State": [] }),
            json!({}),
        ] {
            assert!(!is(config, policy("unless-stopped")));
        }
    }

    #[test]
    fn marks_are_kept_until_they_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert!(all(&root).unwrap().is_empty());
        let run = |letter: &str, started_at: &str| Interrupted {
            id: letter.repeat(64),
            started_at: started_at.into(),
        };
        let first = [run("a", "2026-11-26T10:00:00.1Z"), run("b", "")];
        mark(&root, &first);
        mark(&root, &first[1..]);
        file::put(&path(&root, "stray"), b"", 0o600).unwrap();
        let found = || {
            let mut found = all(&root).unwrap();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            let pairs = found.into_iter().map(|one| (one.id, one.started_at));
            pairs.collect::<Vec<_>>()
        };
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let time = |time: &str| (a.clone(), time.to_string());
        let other = (b.clone(), String::new());
        assert_eq!(found(), [time("2026-11-26T10:00:00.1Z"), other.clone()]);
        // Started again, and interrupted again.
        mark(&root, &[run("a", "2026-11-26T10:05:00.1Z")]);
        assert_eq!(found(), [time("2026-11-26T10:05:00.1Z"), other.clone()]);
        for damaged in [&b"\xff\xff"[..], &[b'1'; MAX_TIME + 1]] {
            file::put(&path(&root, &a), damaged, 0o600).unwrap();
            assert_eq!(found(), [time(""), other.clone()]);
        }
        for _ in 0..2 {
            forget(&root, &a).unwrap();
            assert_eq!(found(), vec![other.clone()]);
        }
    }
}
