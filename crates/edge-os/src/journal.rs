//! Journal of updates, `/data/os/state.json`: what was installed, and how far it came.
//! It alone decides nothing: see [`crate::decide`].

use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::{OS_DIRECTORY, OS_STATE};
use edge_common::{Root, file, time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::gate::Before;
use crate::reason::{Cause, Reason};
use crate::slot::Slot;

/// Size limit of the journal, in bytes. A reason quotes at most 20 lines.
const MAX_BYTES: u64 = 64 * 1024;
/// Version of the journal's form.
const FORM: u32 = 1;

/// Phase of the newest update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is no update.
    #[default]
    Idle,
    /// The other slot is being written.
    Fetching,
    /// The other slot is complete and verified.
    Written,
    /// The firmware was asked for the other slot, and the request was read back.
    Armed,
    /// The new slot runs, and its gate has not passed.
    Trial,
    /// The new slot runs and has passed its gate.
    Committed,
    /// The update did not stay.
    Back,
}

/// OS image, as its signature states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Digest of the image's verified manifest.
    pub digest: String,
    /// Release number.
    pub number: u64,
    /// Version for people.
    pub version: String,
}

/// Update that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Slot that is written.
    pub target: Slot,
    /// Image that is written to it.
    pub release: Release,
    /// Boot in which the request was made.
    #[serde(default)]
    pub boot_id: String,
    /// Health of the device before the update.
    #[serde(default)]
    pub before: Before,
    /// Reason why the update must not stay, written before the device leaves the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Cause>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Update {
    /// Creates an update that has not been requested.
    pub fn new(target: Slot, release: Release, before: Before) -> Self {
        Self {
            target,
            release,
            boot_id: String::new(),
            before,
            verdict: None,
            rest: Map::default(),
        }
    }
}

/// OS that runs for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Slot that has it.
    pub slot: Slot,
    /// Image in the slot.
    pub release: Release,
}

/// Contents of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    v: u32,
    /// Phase of the newest update.
    pub phase: Phase,
    /// Time of the last change, RFC 3339.
    #[serde(default)]
    pub time: String,
    /// Update that is being made, until it is committed or comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// OS that was committed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
    /// OS of the other slot, to which an operator may return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Committed>,
    /// Reason why the newest update did not stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Reason>,
    /// Fields of newer versions, which are kept: both slots share `/data`.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Result of reading the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// There was never an update, or `/data` was erased.
    Absent,
    /// The file is not a journal; the text says why.
    Damaged(String),
    /// The journal.
    Known(Box<Journal>),
}

impl Recorded {
    /// Reads the journal.
    pub fn load(root: &Root) -> Self {
        let path = root.path(OS_STATE);
        let result = file::read(&path, MAX_BYTES).and_then(|bytes| {
            let context = || format!("reading {}", path.display());
            let journal: Journal = serde_json::from_slice(&bytes).with_context(context)?;
            if journal.v != FORM {
                bail!(
                    "reading {}: form {} is not known",
                    path.display(),
                    journal.v
                );
            }
            Ok(journal)
        });
        match result {
            Ok(journal) => Self::Known(Box::new(journal)),
            Err(error) if is_absent(&error) => Self::Absent,
            Err(error) => Self::Damaged(format!("{error:#}")),
        }
    }

    /// Returns the journal, and an empty one in the place of an absent or damaged one.
    #[must_use]
    pub fn journal(self) -> Journal {
        match self {
            Self::Known(journal) => *journal,
            Self::Absent | Self::Damaged(_) => Journal::default(),
        }
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    let absent = |e: &std::io::Error| e.kind() == ErrorKind::NotFound;
    error
        .chain()
        .any(|e| e.downcast_ref::<std::io::Error>().is_some_and(absent))
}

impl Journal {
    /// Writes the journal of a device without an update.
    ///
    /// # Errors
    /// `/data` is not writable.
    pub fn save_standing(&mut self, root: &Root) -> Result<()> {
        let phase = match (&self.committed, &self.back) {
            (_, Some(_)) => Phase::Back,
            (Some(_), None) => Phase::Committed,
            (None, None) => Phase::Idle,
        };
        self.save(root, phase)
    }

    /// Writes the journal durably, with a new phase.
    ///
    /// # Errors
    /// `/data` is not writable.
    pub fn save(&mut self, root: &Root, phase: Phase) -> Result<()> {
        self.v = FORM;
        self.phase = phase;
        self.time = time::now();
        let directory = root.path(OS_DIRECTORY);
        file::create_directory(&directory, 0o755)?;
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        file::write(&root.path(OS_STATE), &text, 0o644)
    }
}
