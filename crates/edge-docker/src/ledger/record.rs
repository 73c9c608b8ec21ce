//! Records of the ledger: one line each, `HASH JSON`, where HASH is the SHA-256 of the
//! JSON and the JSON holds the hash of the record before.
//!
//! The hash in the line distinguishes a record that a power loss tore from one that is
//! whole, without the rest of the chain.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use edge_common::hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Length of a SHA-256 in hexadecimal digits.
pub(super) const HASH_LENGTH: usize = 64;
/// Size limit of a line in bytes, with its line feed.
pub(super) const MAX_LINE_BYTES: usize = 8 * 1024;
/// Version of the format of a record.
const VERSION: u32 = 1;

/// Position in the chain: the counter of a record, and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Counter of the record; the first record of a device has 1.
    pub(crate) counter: u64,
    /// SHA-256 of the record in hexadecimal digits.
    pub(crate) hash: String,
}

impl Head {
    /// Returns the position before the first record.
    pub(super) fn start() -> Self {
        Self {
            counter: 0,
            hash: "0".repeat(HASH_LENGTH),
        }
    }
}

/// Record as it is stored, with its place in the chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) v: u32,
    pub(super) n: u64,
    pub(super) prev: String,
    #[serde(flatten)]
    pub(super) entry: Entry,
    /// Fields of a later version, which an older program keeps.
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// Content of a record, without its place in the chain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// Time of the system clock, RFC 3339, which may be wrong.
    pub(super) time: String,
    /// Identifier of the boot, and the time since it in milliseconds (CLOCK_BOOTTIME):
    /// the order of events, whatever the clock says.
    pub(super) boot: String,
    pub(super) boot_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<super::caller::Caller>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) verb: String,
    /// Arguments without the values of variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    /// Number of further arguments that did not fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) args_omitted: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) app: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) container: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) verdict: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) rule: String,
    /// Number of refusals that this record stands for.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) count: u64,
    /// Set for a record that was kept in `/run` while the ledger was not writable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) carried: bool,
    /// Bytes of a torn record that were cut off before this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) cut: u64,
    /// Present in the first record of a segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<Segment>,
}

/// Beginning of a segment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Segment {
    /// Number of the segment, as in the name of its file.
    pub(super) number: u64,
    /// Segments that were removed when this one began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) expired: Vec<Expired>,
    /// Reason why the chain could not be continued, if so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) damage: String,
}

/// Segment that was removed for its age.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Expired {
    pub(super) number: u64,
    /// Last record of the segment; absent if none of its records was valid.
    pub(super) last: Option<Head>,
    /// SHA-256 of the file.
    pub(super) sha256: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Record {
    /// Returns the record that follows `before`.
    pub(super) fn after(before: &Head, entry: Entry) -> Self {
        Self {
            v: VERSION,
            n: before.counter + 1,
            prev: before.hash.clone(),
            entry,
            unknown: BTreeMap::new(),
        }
    }

    /// Returns the line of the record and the position after it.
    pub(super) fn encode(&self) -> Result<(Vec<u8>, Head)> {
        let json = serde_json::to_vec(self).context("writing a record of the ledger")?;
        let head = Head {
            counter: self.n,
            hash: sha256(&json),
        };
        let mut line = head.hash.clone().into_bytes();
        line.push(b' ');
        line.extend(json);
        line.push(b'\n');
        ensure!(
            line.len() <= MAX_LINE_BYTES,
            "a record of the ledger has {} bytes",
            line.len()
        );
        Ok((line, head))
    }

    /// Parses a line without its line feed. Returns `None` unless its hash is that of
    /// its JSON.
    pub(super) fn decode(line: &[u8]) -> Option<(Self, Head)> {
        let (hash, rest) = line.split_at_checked(HASH_LENGTH)?;
        let json = rest.strip_prefix(b" ")?;
        if sha256(json).as_bytes() != hash {
            return None;
        }
        let record: Self = serde_json::from_slice(json).ok()?;
        let head = Head {
            counter: record.n,
            hash: String::from_utf8(hash.to_vec()).ok()?,
        };
        Some((record, head))
    }
}

/// Returns the SHA-256 of `bytes` in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(openssl::sha::sha256(bytes))
}
