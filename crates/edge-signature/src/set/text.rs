//! Canonical text of a release set.

use edge_common::contract::limit::SET_BYTES;
use edge_common::contract::set::FORMAT;
use serde::Deserialize;

use super::ReleaseSet;
use crate::error::Error;
use crate::json;

/// Version of the format, read where the rest does not fit.
#[derive(Deserialize)]
struct Version {
    edge: u64,
}

impl ReleaseSet {
    /// Parses a release set in its canonical form: keys in alphabetical order, integers below
    /// 2^53, no `null`, no white space, no empty optional field. Exactly one text stands for
    /// one set, so that no two programs can read different values from the signed bytes.
    ///
    /// # Errors
    /// The text is larger than 256 KiB, is not canonical, has an unknown or duplicate field or
    /// an invalid value, or a version that this program does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let size = bytes.len();
        if size as u64 > SET_BYTES {
            return Err(malformed(&format!(
                "it has {size} bytes, more than {SET_BYTES}"
            )));
        }
        let set: Self = json::parse(bytes).map_err(|error| {
            // A later format has fields that this program does not know; the version is then
            // the better reason.
            match json::parse::<Version>(bytes) {
                Ok(version) if version.edge != u64::from(FORMAT) => other_version(version.edge),
                _ => malformed(&error),
            }
        })?;
        set.check()?;
        if set.encode()? != bytes {
            return Err(malformed(
                "it is not in the canonical form: sorted keys, no white space, no escapes, no \
                 empty field",
            ));
        }
        Ok(set)
    }

    /// Returns the canonical form, which is the layer of the artifact.
    ///
    /// # Errors
    /// A value is invalid, or the text is larger than 256 KiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let bytes = self.encode()?;
        match bytes.len() as u64 {
            size if size > SET_BYTES => Err(malformed(&format!(
                "it has {size} bytes, more than {SET_BYTES}"
            ))),
            _ => Ok(bytes),
        }
    }

    fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| malformed(&error.to_string()))
    }
}

pub(super) fn other_version(version: u64) -> Error {
    malformed(&format!(
        "its format is {version}, this program knows {FORMAT}: update the device image"
    ))
}

pub(super) fn malformed(reason: &str) -> Error {
    Error::Malformed(format!("release set: {reason}"))
}
