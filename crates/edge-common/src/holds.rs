//! Holds: apps that a person changed by hand, which release sets leave alone.
//!
//! edge-docker writes a hold when a command is typed, edge-fleet reads them. Both share one
//! file and one lock, that of its directory.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contract::limit::FLEET_FILE_BYTES;
use crate::contract::path::FLEET_HOLDS;
use crate::{Root, file, lock};

/// Maximum number of holds.
pub const MAX_HOLDS: usize = 256;
/// Size limit of a text of a hold, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// App that a person changed by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Command that was typed.
    pub door: String,
    /// User who typed it.
    #[serde(default)]
    pub who: String,
    /// End in seconds of Unix time; `None` ends only by a command.
    #[serde(default)]
    pub until: Option<u64>,
    /// Reason that the user stated.
    #[serde(default)]
    pub reason: String,
}

/// Content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Hold of each app.
    pub holds: BTreeMap<String, Hold>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            holds: BTreeMap::new(),
            fields: Map::from_iter([("v".into(), Value::from(1))]),
        }
    }
}

impl Holds {
    /// Returns the holds that have not ended at `now`, in seconds of Unix time.
    pub fn in_effect(mut self, now: u64) -> Self {
        self.holds
            .retain(|_, hold| hold.until.is_none_or(|until| until > now));
        self
    }
}

/// Reads the holds; none if there is no file.
///
/// # Errors
/// The file is damaged: it may have named any app.
pub fn read(root: &Root) -> Result<Holds> {
    let path = root.path(FLEET_HOLDS);
    // `exists` follows links, and a dangling link would count as an absent file.
    if let Err(error) = std::fs::symlink_metadata(&path) {
        return match error.kind() {
            std::io::ErrorKind::NotFound => Ok(Holds::default()),
            _ => Err(error).with_context(|| format!("reading {FLEET_HOLDS}")),
        };
    }
    let text = file::read(&path, FLEET_FILE_BYTES)?;
    let parsed = serde_json::from_slice::<Holds>(&text);
    let holds = parsed.with_context(|| format!("parsing {}", path.display()))?;
    ensure!(
        holds.holds.len() <= MAX_HOLDS,
        "parsing {}: more than {MAX_HOLDS} holds",
        path.display()
    );
    Ok(holds)
}

/// Puts a hold on an app in the place of an earlier one.
///
/// # Errors
/// The file is damaged, full, or cannot be written; it keeps its old content.
pub fn put(root: &Root, app: &str, hold: Hold, now: u64) -> Result<()> {
    change(root, |holds| {
        *holds = std::mem::take(holds).in_effect(now);
        let cut = |text: &str| text.chars().take(MAX_TEXT_CHARS).collect();
        let hold = Hold {
            door: cut(&hold.door),
            who: cut(&hold.who),
            reason: cut(&hold.reason),
            ..hold
        };
        holds.holds.insert(app.into(), hold);
        ensure!(
            holds.holds.len() <= MAX_HOLDS,
            "{app}: more than {MAX_HOLDS} apps would be held"
        );
        Ok(())
    })
}

/// Ends the hold of an app, or all holds with `None`; that also replaces a damaged file.
/// Returns the apps that were held.
///
/// # Errors
/// The file cannot be written, or is damaged and an app is named.
pub fn end(root: &Root, app: Option<&str>) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    let Some(app) = app else {
        let _lock = lock_directory(root)?;
        let holds = read(root).unwrap_or_default();
        file::remove(&root.path(FLEET_HOLDS))?;
        ended.extend(holds.holds.into_keys());
        return Ok(ended);
    };
    change(root, |holds| {
        ended.extend(holds.holds.remove_entry(app).map(|(app, _)| app));
        Ok(())
    })?;
    Ok(ended)
}

fn lock_directory(root: &Root) -> Result<std::fs::File> {
    let path = root.path(FLEET_HOLDS);
    let directory = path.parent().context("a path without a directory")?;
    file::create_directory(directory, 0o700)?;
    lock::exclusive(directory)
}

fn change(root: &Root, edit: impl FnOnce(&mut Holds) -> Result<()>) -> Result<()> {
    let _lock = lock_directory(root)?;
    let mut holds = read(root)?;
    let before = holds.clone();
    edit(&mut holds)?;
    if holds == before {
        return Ok(());
    }
    let text = serde_json::to_vec(&holds).context("encoding the holds")?;
    file::write(&root.path(FLEET_HOLDS), &text, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(until: Option<u64>) -> Hold {
        Hold {
            door: "stop".into(),
            who: "edge".into(),
            until,
            reason: "é".repeat(500),
        }
    }

    #[test]
    fn holds_are_put_and_end() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(read(&root).unwrap(), Holds::default());
        put(&root, "old", hold(Some(10)), 5).unwrap();
        put(&root, "hello", hold(None), 10).unwrap();
        put(&root, "pump", hold(Some(20)), 10).unwrap();
        let holds = read(&root).unwrap();
        assert_eq!(
            holds.holds.keys().collect::<Vec<_>>(),
            ["hello", "pump"],
            "an ended hold goes"
        );
        assert_eq!(holds.holds["pump"].reason.chars().count(), 200);
        assert_eq!(holds.in_effect(20).holds.len(), 1);
        assert_eq!(end(&root, Some("hello")).unwrap(), ["hello"]);
        assert!(end(&root, Some("hello")).unwrap().is_empty());
        assert_eq!(end(&root, None).unwrap(), ["pump"]);
        assert_eq!(read(&root).unwrap(), Holds::default());
    }

    #[test]
    fn a_damaged_file_is_an_error_until_all_holds_end() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        put(&root, "hello", hold(None), 0).unwrap();
        let path = root.path(FLEET_HOLDS);
        let many: Vec<_> = (0..=MAX_HOLDS)
            .map(|n| format!(r#""a{n}":{{"door":"stop"}}"#))
            .collect();
        let many = format!(r#"{{"v":1,"holds":{{{}}}}}"#, many.join(","));
        let large = format!(r#"{{"v":1,"holds":{{}}}}{}"#, " ".repeat(600_000));
        for text in ["", "{", "[]", "null", r#"{"holds":[]}"#, &many, &large] {
            file::write(&path, text.as_bytes(), 0o600).unwrap();
            assert!(read(&root).is_err(), "{text:.40}");
            assert!(put(&root, "pump", hold(None), 0).is_err(), "{text:.40}");
            assert!(end(&root, Some("pump")).is_err(), "{text:.40}");
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(read(&root).is_err());
        assert!(end(&root, None).unwrap().is_empty());
        assert_eq!(read(&root).unwrap(), Holds::default());
    }

    #[test]
    fn fields_of_a_later_version_stay() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        put(&root, "hello", hold(None), 0).unwrap();
        let path = root.path(FLEET_HOLDS);
        file::write(&path, br#"{"v":1,"later":[7],"holds":{}}"#, 0o600).unwrap();
        put(&root, "pump", hold(None), 0).unwrap();
        assert_eq!(read(&root).unwrap().fields["later"], serde_json::json!([7]));
    }
}
