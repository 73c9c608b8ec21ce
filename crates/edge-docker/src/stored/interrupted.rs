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

/// Directory of the marks, empty files with the IDs of the containers as names.
const DIRECTORY: &str = "/data/config/edge-docker/interrupted";

/// Returns whether the engine ended while the container ran, which would start again by
/// its restart policy.
pub(super) fn is_interrupted(container: &Stored) -> bool {
    let state = &container.config["State"];
    let is_running = state["Running"] == true || state["Restarting"] == true;
    // Somebody had begun to stop it.
    let is_stopping = container.config["HasBeenManuallyStopped"] == true;
    let policy = container.host["RestartPolicy"]["Name"].as_str();
    is_running && !is_stopping && !matches!(policy, None | Some("" | "no"))
}

/// Marks containers.
pub(super) fn mark(root: &Root, ids: &[String]) {
    for id in ids {
        let path = path(root, id);
        let marked = match path.exists() {
            true => Ok(()),
            false => file::create_directory(&root.path(DIRECTORY), 0o700)
                .and_then(|()| file::write(&path, b"", 0o600)),
        };
        if let Err(error) = marked {
            // No reason to keep the engine from starting.
            log::warn(format_args!("{error:#}: {id} may stay stopped"));
        }
    }
}

/// Returns the IDs of the marked containers.
pub(crate) fn all(root: &Root) -> Result<Vec<String>> {
    let paths = disk::entries(&root.path(DIRECTORY))?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    Ok(names.filter(|n| is_hex(n)).map(String::from).collect())
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
            is_interrupted(&stored.unwrap())
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
        let ids = ["a".repeat(64), "b".repeat(64)];
        mark(&root, &ids);
        mark(&root, &ids[..1]);
        file::put(&path(&root, "stray"), b"", 0o600).unwrap();
        let mut found = all(&root).unwrap();
        found.sort();
        assert_eq!(found, ids);
        for _ in 0..2 {
            forget(&root, &ids[0]).unwrap();
            assert_eq!(all(&root).unwrap(), ids[1..]);
        }
    }
}
