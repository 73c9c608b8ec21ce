//! Raw manifests: hashed by ourselves, parsed only as far as needed.

use serde::Deserialize;

use crate::{Digest, Error};

/// Media types of image manifests that are taken, docker's and OCI's.
pub const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
];

/// The bytes of a manifest and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// As the registry sent them.
    pub bytes: Vec<u8>,
    /// Their digest, by our own count.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Image {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// What a manifest says of a blob.
#[derive(Debug, Clone, Deserialize)]
pub struct Descriptor {
    /// Its type.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Signer's annotations.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Manifest {
    /// Takes bytes and counts.
    pub fn new(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }

    /// Digest of the configuration: the image's Id at the engine.
    ///
    /// # Errors
    /// Not an image manifest; an index, for one.
    pub fn config(&self) -> Result<Digest, Error> {
        self.parse().map(|image| image.config.digest)
    }

    pub(crate) fn layers(&self) -> Result<Vec<Descriptor>, Error> {
        self.parse().map(|image| image.layers)
    }

    fn parse(&self) -> Result<Image, Error> {
        serde_json::from_slice(&self.bytes)
            .map_err(|e| Error::Malformed(format!("{} is not an image manifest: {e}", self.digest)))
    }
}
