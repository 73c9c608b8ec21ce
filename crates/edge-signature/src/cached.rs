//! Cached signatures: manifests and signatures that a device stores in order to verify an
//! image again without a network.

use serde::{Deserialize, Serialize};

use crate::encoding;
use crate::error::Error;
use crate::keys::Keys;
use crate::manifest::Manifest;
use crate::reference::{Digest, Repository};
use crate::signed::Signed;
use crate::verify::{Verified, verify};

/// Manifest and signatures of an image; for an index, also the manifest of this
/// platform's image.
///
/// The entry contains the verified bytes and no result such as `verified: true`: an
/// attacker who can write to `/data` could set such a flag, and a signing key that is
/// removed from the device image would stay trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedSignature {
    #[serde(with = "encoding")]
    manifest: Vec<u8>,
    #[serde(
        default,
        with = "encoding::optional",
        skip_serializing_if = "Option::is_none"
    )]
    child: Option<Vec<u8>>,
    #[serde(rename = "signed")]
    signatures: Vec<Signed>,
}

impl CachedSignature {
    /// Creates the entry of an image that is not an index from its manifest and
    /// signatures.
    pub fn new(manifest: &Manifest, signatures: Vec<Signed>) -> Self {
        Self {
            manifest: manifest.bytes.clone(),
            child: None,
            signatures,
        }
    }

    /// Creates the entry of an index; `child` is the manifest of this platform's image in
    /// the index.
    pub(crate) fn of_index(index: &Manifest, child: &Manifest, signatures: Vec<Signed>) -> Self {
        Self {
            child: Some(child.bytes.clone()),
            ..Self::new(index, signatures)
        }
    }

    /// Verifies that a trusted signature covers the requested manifest or, if that is an
    /// index, this platform's image in the index. The result contains the digest of the
    /// requested manifest.
    ///
    /// # Errors
    /// As [`verify`], or the stored image is not the one that the index lists.
    pub fn verify(&self, keys: &Keys, repository: &Repository) -> Result<Verified, Error> {
        let top = Manifest::new(self.manifest.clone());
        let image = self.image()?;
        match verify(keys, repository, &top.digest, &self.signatures) {
            // An index can be assembled from images that are already signed, so a
            // signature of this platform's image suffices.
            Err(_) if image.digest != top.digest => {
                let verified = verify(keys, repository, &image.digest, &self.signatures)?;
                Ok(Verified {
                    digest: top.digest,
                    ..verified
                })
            }
            other => other,
        }
    }

    /// Returns the digest of the requested manifest, which can be an index.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Returns the manifest of the image that the engine pulls: the requested manifest
    /// or, if that is an index, this platform's image in the index.
    ///
    /// # Errors
    /// The index does not list the stored image, or lists no image for this platform.
    pub fn image(&self) -> Result<Manifest, Error> {
        let top = Manifest::new(self.manifest.clone());
        let malformed = |reason: &str| {
            Error::Malformed(format!("cached signature of {}: {reason}", top.digest))
        };
        match (top.child()?, &self.child) {
            (None, None) => Ok(top),
            (Some(entry), Some(child)) => {
                let child = Manifest::new(child.clone());
                if child.digest != entry.digest || child.bytes.len() as u64 != entry.size {
                    return Err(malformed("the image is not the one in the index"));
                }
                Ok(child)
            }
            (Some(_), None) => Err(malformed("the image of the index is missing")),
            (None, Some(_)) => Err(malformed("two images")),
        }
    }

    /// Returns the image ID that the engine assigns: the digest of the image's
    /// configuration.
    ///
    /// # Errors
    /// As [`CachedSignature::image`], or the manifest is not that of an image.
    pub fn image_id(&self) -> Result<Digest, Error> {
        self.image()?.config()
    }
}
