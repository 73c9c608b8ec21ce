//! Proof of a release set: the bytes that a device keeps in order to verify the set again
//! without a network.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document_of;
use crate::encoding;
use crate::error::Error;
use crate::json;
use crate::manifest::Manifest;
use crate::reference::Digest;
use crate::signed::Signed;

/// Version of the file format.
const VERSION: u32 = 1;

/// Manifest, document and signatures of a release set, and no result of a verification, as
/// in [`crate::CachedSignature`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetProof {
    #[serde(rename = "v")]
    version: u32,
    #[serde(with = "encoding")]
    manifest: Vec<u8>,
    #[serde(with = "encoding")]
    document: Vec<u8>,
    #[serde(rename = "signed")]
    pub(super) signatures: Vec<Signed>,
    /// Fields of a later version, which are kept: two versions of the device image share
    /// `/data`.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl SetProof {
    /// Creates a proof from the parts as the registry or a bundle has them.
    ///
    /// # Errors
    /// The manifest is not that of a release set, or `document` is not the one that it names.
    pub fn new(
        manifest: &Manifest,
        document: Vec<u8>,
        signatures: Vec<Signed>,
    ) -> Result<Self, Error> {
        let proof = Self {
            version: VERSION,
            manifest: manifest.bytes.clone(),
            document,
            signatures,
            unknown: Map::new(),
        };
        proof.document().map(|_| ())?;
        Ok(proof)
    }

    /// Parses the JSON form of a proof, which is not trusted before it is verified.
    ///
    /// # Errors
    /// The bytes are not a proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        json::parse(bytes).map_err(|error| Error::Malformed(format!("proof of a set: {error}")))
    }

    /// Returns the JSON form of the proof.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the digest of the manifest, by which the set is named.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Returns the bytes of the manifest.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Returns the bytes of the document, which have the digest that the manifest names.
    ///
    /// # Errors
    /// As [`SetProof::new`].
    pub fn document(&self) -> Result<&[u8], Error> {
        let layer = document_of(&Manifest::new(self.manifest.clone()))?;
        let size = self.document.len() as u64;
        if layer.size != size || layer.digest != Digest::of(&self.document) {
            let digest = self.digest();
            return Err(Error::Malformed(format!(
                "{digest}: the document is not the one that the manifest names"
            )));
        }
        Ok(&self.document)
    }

    /// Adds signatures, which are not verified.
    pub fn add(&mut self, signatures: Vec<Signed>) {
        self.signatures.extend(signatures);
    }

    /// Returns the signatures, which are not verified.
    pub fn signatures(&self) -> &[Signed] {
        &self.signatures
    }
}
