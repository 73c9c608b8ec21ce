//! A proof that can be checked again without network: what was signed, never
//! "verified = true".

use serde::{Deserialize, Serialize};

use crate::verify::{Keys, Signed, Verified, verify};
use crate::{Digest, Error, Manifest, Repository};

/// Manifest and signatures of one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    #[serde(with = "base64_bytes")]
    manifest: Vec<u8>,
    signed: Vec<Signed>,
}

impl Proof {
    /// From what the registry sent.
    pub fn new(manifest: &Manifest, signed: Vec<Signed>) -> Self {
        Self {
            manifest: manifest.bytes.clone(),
            signed,
        }
    }

    /// Verifies again, from the bytes.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, keys: &Keys, repository: &Repository) -> Result<Verified, Error> {
        verify(keys, repository, &Digest::of(&self.manifest), &self.signed)
    }

    /// Digest of the image's configuration: its Id at the engine.
    ///
    /// # Errors
    /// Not an image manifest.
    pub fn image_id(&self) -> Result<Digest, Error> {
        Manifest::new(self.manifest.clone()).config()
    }
}

/// Bytes as base64 text.
pub mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
