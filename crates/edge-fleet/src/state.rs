//! State files of `/data/config/edge-fleet`: read with a size limit, written whole and durably.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use edge_common::contract::path::FLEET_REPORT;
use edge_common::holds::{self, Holds};
use edge_common::{Root, file, log};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::converge::{Candidate, Disk, Repairs, Results, Save, Standing};
use crate::reference::{is_digest, split};

/// Size limit of a state file, in bytes.
const MAX_FILE_BYTES: u64 = 512 * 1024;
/// Maximum number of apps in a state file.
const MAX_APPS: usize = 256;
/// Maximum number of results, twice as many as are written.
const MAX_RESULTS: usize = 64;

/// State file, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Standing,
    Candidate,
    Results,
    Repairs,
}

impl Name {
    fn path(self, root: &Root) -> PathBuf {
        let name = match self {
            Self::Standing => "standing.json",
            Self::Candidate => "candidate.json",
            Self::Results => "results.json",
            Self::Repairs => "repairs.json",
        };
        root.path(FLEET_REPORT).with_file_name(name)
    }
}

/// State of the disk, with what could not be read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// State. A file that is absent or damaged counts as empty: the list of jobs and the floor
    /// of edge-docker bring back what it said.
    pub disk: Disk,
    /// Damaged files, each with its fault.
    pub damaged: Vec<(PathBuf, String)>,
    /// Fault of the file with the holds, which may have named any app.
    pub unknown_holds: Option<String>,
}

impl Loaded {
    /// Returns the faults of all damaged files.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.damaged.iter().map(|(_, fault)| fault.clone());
        faults.chain(self.unknown_holds.clone()).collect()
    }
}

/// Reads the state files. `now` is the time by which holds end, in seconds of Unix time.
pub fn load(root: &Root, now: u64) -> Loaded {
    let mut loaded = Loaded::default();
    let held = holds::read(root).map(|holds| holds.in_effect(now));
    let held: Holds = held.unwrap_or_else(|error| {
        loaded.unknown_holds = Some(format!("{error:#}"));
        Holds::default()
    });
    let faults = &mut loaded.damaged;
    let disk = Disk {
        standing: read(root, Name::Standing, check_standing, faults),
        candidate: read(root, Name::Candidate, check_candidate, faults),
        results: read(root, Name::Results, check_results, faults).unwrap_or_default(),
        repairs: read(root, Name::Repairs, check_repairs, faults).unwrap_or_default(),
        holds: held,
    };
    loaded.disk = disk;
    loaded
}

fn read<T: DeserializeOwned>(
    root: &Root,
    name: Name,
    check: impl Fn(&T) -> Result<()>,
    faults: &mut Vec<(PathBuf, String)>,
) -> Option<T> {
    let path = name.path(root);
    if std::fs::symlink_metadata(&path).is_err() {
        return None;
    }
    let parsed = file::read(&path, MAX_FILE_BYTES).and_then(|text| {
        let value =
            serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
        check(&value).with_context(|| format!("parsing {}", path.display()))?;
        Ok(value)
    });
    match parsed {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push((path, format!("{error:#}")));
            None
        }
    }
}

fn check_standing(standing: &Standing) -> Result<()> {
    ensure!(is_digest(&standing.set), "set is not sha256:HEX");
    Ok(())
}

fn check_candidate(candidate: &Candidate) -> Result<()> {
    let set = format!("{}@{}", candidate.repository, candidate.set);
    split(&set).map_err(anyhow::Error::msg)?;
    ensure!(
        candidate.executions.len() <= MAX_APPS,
        "too many executions"
    );
    Ok(())
}

fn check_results(results: &Results) -> Result<()> {
    ensure!(results.results.len() <= MAX_RESULTS, "too many results");
    Ok(())
}

fn check_repairs(repairs: &Repairs) -> Result<()> {
    ensure!(repairs.apps.len() <= MAX_APPS, "too many apps");
    Ok(())
}

/// Renames damaged files, so that each is reported once and can be looked at.
pub fn set_aside(damaged: &[(PathBuf, String)]) {
    for (path, fault) in damaged {
        let aside = path.with_extension("json.damaged");
        log::error(format_args!("{fault}; kept as {}", aside.display()));
        if let Err(error) = std::fs::rename(path, &aside) {
            log::error(format_args!("renaming {}: {error}", path.display()));
        }
    }
}

/// Writes a state file; a power loss leaves its old or its new content.
///
/// # Errors
/// The file cannot be written; it keeps its old content.
pub fn save(root: &Root, save: &Save) -> Result<()> {
    match save {
        Save::Standing(standing) => write(root, Name::Standing, standing),
        Save::Candidate(Some(candidate)) => write(root, Name::Candidate, candidate),
        Save::Candidate(None) => file::remove(&Name::Candidate.path(root)).map(drop),
        Save::Results(results) => write(root, Name::Results, results),
        Save::Repairs(repairs) => write(root, Name::Repairs, repairs),
    }
}

fn write(root: &Root, name: Name, value: &impl Serialize) -> Result<()> {
    let path = name.path(root);
    let directory = path.parent().context("a path without a directory")?;
    file::create_directory(directory, 0o700)?;
    let text = serde_json::to_vec(value).context("encoding a state file")?;
    file::write(&path, &text, 0o600)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::converge::Phase;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        file::create_directory(&root.path("/data/config/edge-fleet"), 0o700).unwrap();
        (directory, root)
    }

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    fn candidate() -> Value {
        json!({
            "v": 1, "id": "run-1", "set": digest(), "repository": "registry.example/apps",
            "name": "barn", "number": 7, "door": "job",
            "executions": [{ "id": "edge-barn-7-1", "number": 1, "queued": 5 }],
            "phase": { "name": "received" }, "later": { "x": 1 },
        })
    }

    #[test]
    fn absent_files_are_an_empty_state() {
        let (_directory, root) = root();
        let loaded = load(&root, 0);
        assert_eq!(loaded.disk, Disk::default());
        assert!(loaded.damaged.is_empty());
        assert!(load(&Root::at("/nowhere"), 0).damaged.is_empty());
    }

    #[test]
    fn unknown_fields_are_kept_when_a_file_is_written_again() {
        let (_directory, root) = root();
        let path = Name::Candidate.path(&root);
        file::write(&path, candidate().to_string().as_bytes(), 0o600).unwrap();
        let mut read = load(&root, 0).disk.candidate.unwrap();
        assert_eq!(read.phase, Phase::Received);
        read.phase = Phase::Checked;
        save(&root, &Save::Candidate(Some(Box::new(read)))).unwrap();
        let text = file::read(&path, MAX_FILE_BYTES).unwrap();
        let mut expected = candidate();
        expected["phase"]["name"] = json!("checked");
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
        save(&root, &Save::Candidate(None)).unwrap();
        save(&root, &Save::Candidate(None)).unwrap();
        assert_eq!(load(&root, 0).disk, Disk::default());
    }

    #[test]
    fn damaged_files_are_named_and_count_as_absent() {
        let (_directory, root) = root();
        let standing = json!({ "v": 1, "set": digest(), "name": "barn", "number": 6 });
        let standing = standing.to_string();
        file::write(&Name::Standing.path(&root), standing.as_bytes(), 0o600).unwrap();
        let deep = format!("{}{}", "[".repeat(9000), "]".repeat(9000));
        let large = format!("{}{}", candidate(), " ".repeat(600_000));
        let mut texts = vec![
            String::new(),
            "{".into(),
            "[]".into(),
            "null".into(),
            deep,
            large,
        ];
        for (field, value) in [
            ("set", json!("sha256:x")),
            ("repository", json!("a b")),
            ("number", json!(-1)),
            ("number", json!("7")),
            ("door", json!("window")),
            ("phase", json!({ "name": "later" })),
            ("phase", json!({ "name": "begun" })),
            ("executions", json!([{ "id": 1 }])),
            (
                "executions",
                json!(vec![json!({ "id": "a", "number": 1, "queued": 1 }); 300]),
            ),
        ] {
            let mut changed = candidate();
            changed[field] = value;
            texts.push(changed.to_string());
        }
        let path = Name::Candidate.path(&root);
        for text in texts {
            file::write(&path, text.as_bytes(), 0o600).unwrap();
            let loaded = load(&root, 0);
            assert_eq!(loaded.disk.candidate, None, "{text:.80}");
            let fault = loaded.faults().join("; ");
            assert_eq!(loaded.disk.standing.unwrap().number, 6);
            assert!(fault.contains("candidate.json"), "{text:.80}: {fault}");
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let loaded = load(&root, 0);
        assert_eq!(loaded.damaged.len(), 1);
        set_aside(&loaded.damaged);
        assert!(load(&root, 0).damaged.is_empty());
        assert!(path.with_extension("json.damaged").is_symlink());
        file::write(
            &root.path(edge_common::contract::path::FLEET_HOLDS),
            b"{",
            0o600,
        )
        .unwrap();
        let loaded = load(&root, 0);
        assert!(loaded.damaged.is_empty() && loaded.unknown_holds.is_some());
    }
}
