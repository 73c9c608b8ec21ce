//! A proof that can be checked again without network: what was signed, never
//! "verified = true".

use serde::{Deserialize, Serialize};

use crate::verify::{Verified, verify};
use crate::{Digest, Error, Keys, Manifest, Repository, Signed};

/// Manifest and signatures of one image; of an index, also the manifest of this
/// platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    #[serde(with = "base64_bytes")]
    manifest: Vec<u8>,
    #[serde(
        default,
        with = "optional_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    child: Option<Vec<u8>>,
    signed: Vec<Signed>,
}

impl Proof {
    /// From what the registry sent for an image.
    pub fn new(manifest: &Manifest, signed: Vec<Signed>) -> Self {
        Self {
            manifest: manifest.bytes.clone(),
            child: None,
            signed,
        }
    }

    /// From an index and this platform's image in it.
    pub fn of_index(index: &Manifest, child: &Manifest, signed: Vec<Signed>) -> Self {
        Self {
            child: Some(child.bytes.clone()),
            ..Self::new(index, signed)
        }
    }

    /// Verifies again, from the bytes: signature → manifest, and where that is
    /// an index, → this platform's image. The image's own signature counts too.
    /// The digest told is that of the manifest that was asked for.
    ///
    /// # Errors
    /// As [`verify`]; a path that does not hold.
    pub fn verify(&self, keys: &Keys, repository: &Repository) -> Result<Verified, Error> {
        let top = Manifest::new(self.manifest.clone());
        let image = self.image()?;
        match verify(keys, repository, &top.digest, &self.signed) {
            Err(_) if image.digest != top.digest => {
                let verified = verify(keys, repository, &image.digest, &self.signed)?;
                Ok(Verified {
                    digest: top.digest,
                    ..verified
                })
            }
            other => other,
        }
    }

    /// Digest of the manifest that was asked for, by count.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The manifest of the image itself: what the engine pulls.
    ///
    /// # Errors
    /// An index without that image, or with another one.
    pub fn image(&self) -> Result<Manifest, Error> {
        let top = Manifest::new(self.manifest.clone());
        let bad = |why: &str| Error::Malformed(format!("the proof of {}: {why}", top.digest));
        match (top.child()?, &self.child) {
            (None, None) => Ok(top),
            (Some(wanted), Some(child)) => {
                let child = Manifest::new(child.clone());
                if child.digest != wanted.digest || child.bytes.len() as u64 != wanted.size {
                    return Err(bad("it holds another image than its index names"));
                }
                Ok(child)
            }
            (Some(_), None) => Err(bad("an index without its image")),
            (None, Some(_)) => Err(bad("two images")),
        }
    }

    /// Digest of the image's configuration: its Id at the engine.
    ///
    /// # Errors
    /// Not an image manifest; as [`Proof::image`].
    pub fn image_id(&self) -> Result<Digest, Error> {
        self.image()?.config()
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

/// The same where they may be absent.
mod optional_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::base64_bytes;

    #[derive(Deserialize)]
    struct Bytes(#[serde(with = "base64_bytes")] Vec<u8>);

    pub fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        base64_bytes::serialize(bytes.as_deref().unwrap_or_default(), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Bytes::deserialize(deserializer).map(|bytes| Some(bytes.0))
    }
}
