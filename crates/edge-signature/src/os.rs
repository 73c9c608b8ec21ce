//! Description of an OS image, which the role [`Role::Os`] signs. It binds the bundle that
//! a device streams: RAUC's manifest has the hash that is named here, and covers each
//! block of the bundle.

use serde::{Deserialize, Serialize};

use crate::dsse::Role;
use crate::error::Error;
use crate::keys::Keys;
use crate::reference::Digest;

/// Media type of the artifact and of its signed description.
pub const ARTIFACT_TYPE: &str = "application/vnd.edge-ai.os.v1";
/// Media type of the layer with the signed description, a DSSE envelope.
pub const ENVELOPE_TYPE: &str = "application/vnd.edge-ai.os.v1.dsse+json";
/// Media type of the layer with the bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.rauc.bundle";
/// Beginning of the tags of OS images. No app has a name with a dot.
pub const TAG: &str = "os.";
/// Size limit of a signed description, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 16 * 1024;
/// Version of the form.
const FORM: u32 = 1;
/// Length limit of names, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// OS image, as its signature describes it. A field that is not known is an error: an
/// older device must not guess about a newer image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsImage {
    /// Version of this form.
    pub v: u32,
    /// Version for people.
    pub version: String,
    /// Release number.
    pub number: u64,
    /// Machine for which the image was built.
    pub compatible: String,
    /// Version of NVIDIA's firmware that the image needs, for example `36.5.0`.
    pub l4t: String,
    /// Size of its root file system, in bytes.
    pub size: u64,
    /// SHA-256 of RAUC's manifest, hexadecimal.
    pub manifest_hash: String,
    /// Digest of the bundle, `sha256:HEX`.
    pub bundle: String,
    /// Size of the bundle, in bytes.
    pub bundle_size: u64,
    /// Version of the formats on `/data` that it writes.
    pub data_format: u32,
    /// Oldest version of these formats with which a device can read what it writes.
    pub read_by_data_format: u32,
    /// Whether the bundle has firmware in a capsule.
    #[serde(default)]
    pub capsule: bool,
}

impl OsImage {
    /// Returns the bytes that are signed.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses a description.
    ///
    /// # Errors
    /// It is malformed, or of a form that this version does not know.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let malformed =
            |what: &str| Error::Malformed(format!("description of an OS image: {what}"));
        let image: Self = serde_json::from_slice(payload).map_err(|e| malformed(&e.to_string()))?;
        let name = |text: &str| {
            let visible = text.bytes().all(|c| c.is_ascii_graphic());
            visible && (1..=MAX_NAME_BYTES).contains(&text.len())
        };
        let hash = format!("sha256:{}", image.manifest_hash);
        let field = match &image {
            i if i.v != FORM => "v",
            i if !name(&i.version) => "version",
            i if !name(&i.compatible) => "compatible",
            i if l4t_number(&i.l4t).is_none() => "l4t",
            _ if hash.parse::<Digest>().is_err() => "manifest_hash",
            i if i.bundle.parse::<Digest>().is_err() => "bundle",
            i if i.size == 0 => "size",
            i if i.bundle_size == 0 => "bundle_size",
            _ => return Ok(image),
        };
        Err(malformed(&format!("{field} has a value that is not valid")))
    }

    /// Verifies a signed description with the keys of the role [`Role::Os`].
    ///
    /// # Errors
    /// The envelope is not signed by one of the keys for this role, or its content is
    /// malformed.
    pub fn verify(keys: &Keys, envelope: &[u8]) -> Result<Self, Error> {
        if envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(Error::Malformed(
                "description of an OS image: too large".into(),
            ));
        }
        Self::parse(&Role::Os.verify(keys, envelope)?.payload)
    }
}

/// Returns the number by which UEFI's table of firmware states a version of L4T; `None`
/// for a malformed version.
pub fn l4t_number(version: &str) -> Option<u32> {
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let mut parts = version.split('.').map(|p| match digits(p) {
        true => p.parse::<u8>().ok(),
        false => None,
    });
    let mut part = || parts.next().flatten();
    let number = u32::from_be_bytes([0, part()?, part()?, part()?]);
    parts.next().is_none().then_some(number)
}
