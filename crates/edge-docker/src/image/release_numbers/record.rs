//! Records of accepted release numbers on `/data`: one file per app, and a copy of it.
//!
//! Both can be edited or removed by somebody who has the disk. The copy and the
//! deployment journal make that visible, as long as not all of them are changed alike;
//! the highest number that any of them shows is the floor.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
pub(super) use edge_common::contract::path::{
    RELEASE_NUMBER_COPIES as COPIES, RELEASE_NUMBERS as DIRECTORY,
};
use edge_common::{Root, file, lock, log};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal;

/// Size limit of the record of an app, in bytes.
const MAX_RECORD_BYTES: u64 = 4096;
/// Maximum number of older numbers in a record. A longer list could exceed the size limit
/// of the record, and the app could not be started any more.
const MAX_ALLOWED: usize = 16;
/// Version of the format of a record.
const VERSION: u32 = 1;

/// Accepted release numbers of one app, in the JSON form of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Version of the format; 0 for a record of an earlier version of edge-docker, which
    /// wrote neither a version nor a copy.
    #[serde(default)]
    v: u32,
    /// Highest release number that was accepted on this device.
    pub(super) highest: u64,
    /// Lower release numbers that `--allow-downgrade` accepted, in the order of
    /// acceptance.
    #[serde(default)]
    pub(super) allowed: Vec<u64>,
    /// Fields of a later version of edge-docker, kept as they are.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Record {
    pub(super) fn new(highest: u64) -> Self {
        Self {
            v: VERSION,
            highest,
            allowed: Vec::new(),
            unknown: Map::new(),
        }
    }

    pub(super) fn accepts(&self, number: u64) -> bool {
        number >= self.highest || self.allowed.contains(&number)
    }

    /// Returns the record with `number` as the highest one, which clears the list of
    /// older numbers. A lower number changes nothing.
    pub(super) fn raised(mut self, number: u64) -> Self {
        if number > self.highest {
            self.highest = number;
            self.allowed.clear();
        }
        self
    }

    /// Returns the record with `number` accepted, without any in between.
    pub(super) fn with_older(mut self, number: u64) -> Self {
        if !self.accepts(number) {
            self.allowed.push(number);
            let excess = self.allowed.len().saturating_sub(MAX_ALLOWED);
            self.allowed.drain(..excess);
        }
        self
    }

    /// Returns the stricter combination of two records of one app.
    fn merged(mut self, other: &Self) -> Self {
        self.allowed.retain(|number| other.allowed.contains(number));
        self.highest = self.highest.max(other.highest);
        self
    }
}

/// Record of an app as far as its files and the deployment journal show it.
pub(super) struct Found {
    /// The record; `None` if nothing shows that a number was ever accepted.
    pub(super) record: Option<Record>,
    /// Difference between the files and the journal, which a write repairs; `None` if
    /// they agree.
    pub(super) damage: Option<String>,
}

/// Reads both files of `app` and compares them with the journal.
///
/// # Errors
/// Neither file can be read, and at least one of them exists.
pub(super) fn find(root: &Root, app: &str) -> Result<Found> {
    let (first, copy) = (read(root, DIRECTORY, app), read(root, COPIES, app));
    let (record, mut damage) = match (first, copy) {
        (Ok(Some(first)), Ok(Some(copy))) if first == copy => (Some(first), None),
        (Ok(Some(first)), Ok(Some(copy))) => {
            let why = "the two records differ: one was edited, or a power loss came between";
            (Some(first.merged(&copy)), Some(why.to_string()))
        }
        (Ok(None), Ok(None)) => (None, None),
        // A record of an earlier version of edge-docker has no copy.
        (Ok(Some(first)), Ok(None)) if first.v == 0 => (Some(first), None),
        (Ok(Some(first)), Ok(None)) => (Some(first), Some("its copy was removed".into())),
        (Ok(None), Ok(Some(copy))) => (Some(copy), Some("the record was removed".into())),
        (Err(error), Ok(Some(record))) | (Ok(Some(record)), Err(error)) => (
            Some(record),
            Some(format!("one record is damaged ({error:#})")),
        ),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let deployment = journal::read(root, app).ok().flatten();
    let number = deployment.filter(|j| j.app == app);
    let number = number.and_then(|j| j.accepted_number());
    let number = number.filter(|n| record.as_ref().is_none_or(|r| r.highest < *n));
    let Some(number) = number else {
        return Ok(Found { record, damage });
    };
    let recorded = record.map_or("none".into(), |r| r.highest.to_string());
    damage = Some(format!(
        "the last deployment had number {number}, the record has {recorded}"
    ));
    Ok(Found {
        record: Some(Record::new(number)),
        damage,
    })
}

/// Changes the record of `app` and writes both files, if `change` changes it. A damage is
/// repaired and reported. Without `replace`, a record that cannot be read is an error.
pub(super) fn update(
    root: &Root,
    app: &str,
    replace: bool,
    change: impl FnOnce(Option<Record>) -> Option<Record>,
) -> Result<()> {
    for directory in [DIRECTORY, COPIES] {
        file::create_directory(&root.path(directory), 0o700)?;
    }
    let _lock = lock::exclusive(&root.path(DIRECTORY))?;
    let found = match find(root, app) {
        Err(error) if replace => Found {
            record: None,
            damage: Some(format!("{error:#}")),
        },
        found => found?,
    };
    if let Some(damage) = &found.damage {
        log::error(format_args!("release numbers of {app}: {damage}; repaired"));
    }
    let Some(mut record) = change(found.record) else {
        return Ok(());
    };
    record.v = VERSION;
    let text = serde_json::to_vec(&record).context("encoding a record of release numbers")?;
    for directory in [DIRECTORY, COPIES] {
        file::ensure(&root.path(directory).join(app), &text, 0o600)?;
    }
    Ok(())
}

/// Returns the record of `app` in one directory, or `None` if there is none.
fn read(root: &Root, directory: &str, app: &str) -> Result<Option<Record>> {
    let path = root.path(directory).join(app);
    // `exists` would follow links, and a dangling link would count as an absent record.
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = file::read(&path, MAX_RECORD_BYTES)?;
    let record: Record = serde_json::from_slice(&text).context("parsing the record")?;
    if record.v > VERSION {
        bail!("version {} is not known here", record.v);
    }
    Ok(Some(record))
}
