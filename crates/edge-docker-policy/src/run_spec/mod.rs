//! Run specification: the settings of an app's container as the signer stated them.
//!
//! edge-app makes the specification from `app.yaml` and signs its digest as annotation
//! `edge.run`; the device starts the container from it and from nothing else. The format
//! is canonical JSON: keys in alphabetical order, integers only, no `null`, no empty
//! values, no white space. Exactly one text stands for one specification, so the digest
//! of a text that a person edits and formats anew is another one
//! (`docs/decisions/0024-run-specification.md`).

mod calendar;
mod request;
mod types;
mod unit;

use anyhow::{Context, Result};

pub use edge_common::contract::MAY_NEED;
pub use request::DeviceNames;
pub use types::{
    Healthcheck, Logging, Requires, RunSpec, SignedCommand, SpecVolume, StorageOwner, UlimitPair,
    Unit,
};

pub use calendar::is_calendar;
pub use unit::{UnitFiles, is_unit_name};

use crate::refusal::refuse;

/// Size limit of a run specification in bytes.
pub const MAX_RUN_SPEC_BYTES: usize = 64 * 1024;
/// Version of the format, the value of the key `v`.
pub const RUN_SPEC_VERSION: u32 = 1;

impl RunSpec {
    /// Returns the specification of the app `app` with every setting at its default.
    pub fn new(app: &str) -> Self {
        Self {
            app: app.into(),
            v: RUN_SPEC_VERSION,
            ..Self::default()
        }
    }

    /// Parses a specification in its canonical form.
    ///
    /// # Errors
    /// The text is oversized, not the canonical form, or has an unknown version or key.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_RUN_SPEC_BYTES {
            return Err(refuse(format_args!(
                "run specification of {} bytes is refused: the limit is {MAX_RUN_SPEC_BYTES}",
                bytes.len()
            )));
        }
        // The version is read first: a later format has keys that this program does not
        // know, and the version is the better reason.
        let malformed = |why| refuse(format_args!("run specification is refused: {why}"));
        let version: Version = serde_json::from_slice(bytes).map_err(malformed)?;
        if version.v != RUN_SPEC_VERSION {
            return Err(refuse(format_args!(
                "run specification of version {} is refused: this program knows version \
                 {RUN_SPEC_VERSION}; update the image of the device",
                version.v
            )));
        }
        let spec: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        // Two texts with one meaning would have two digests, and a parser that takes
        // more than one form invites a second parser to read another meaning.
        if spec.to_bytes()? != bytes {
            return Err(refuse(
                "run specification is refused: it is not in the canonical form (sorted keys, \
                 no white space, no empty values)",
            ));
        }
        Ok(spec)
    }

    /// Returns the canonical form, whose SHA-256 is signed.
    ///
    /// # Errors
    /// The specification exceeds [`MAX_RUN_SPEC_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self).context("encoding a run specification")?;
        if bytes.len() > MAX_RUN_SPEC_BYTES {
            return Err(refuse(format_args!(
                "the run specification has {} bytes, the limit is {MAX_RUN_SPEC_BYTES}: move \
                 large values into the container image",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

/// Version of a specification, read before the rest of it.
#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

#[cfg(test)]
mod tests;
