//! Signing key of the project: in AWS KMS, or a PEM file.

use std::path::Path;

use anyhow::Result;
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Keys, sign_with_pem};

use crate::cloud::kms::KmsKey;
use crate::exit_code::{CONFIGURATION, SIGNATURE};
use crate::project::config::{Project, SigningKey};

/// Signing key.
pub(crate) enum Signer {
    /// Text of a PEM file. Secret.
    Pem(Vec<u8>),
    /// Key in KMS.
    Kms(KmsKey),
}

impl Signer {
    /// Returns the key in `file`, or else the project's. `file` comes from the command
    /// line and is relative to the current directory, the project's to the project.
    pub(crate) async fn new(project: &Project, file: Option<&Path>) -> Result<Self> {
        if let Some(path) = file {
            return Self::read(path);
        }
        match &project.config.signing_key {
            Some(SigningKey::File(path)) => Self::read(&project.path(path)),
            Some(SigningKey::Kms(key)) => Ok(Self::Kms(KmsKey::new(&key.kms).await)),
            None => Err(Failure::error(
                CONFIGURATION,
                "edge-app.yaml has no signing_key: set it to FILE or kms: ALIAS, create a key \
                 with `edge-app keygen FILE`, or give --key FILE",
            )),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let key = file::read(path, ANCHOR_BYTES);
        key.map(Self::Pem)
            .map_err(|e| Failure::wrap(CONFIGURATION, e))
    }

    /// Returns the DER signature of `payload`.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Pem(pem) => Ok(pem_signature(pem, payload)?.0),
            Self::Kms(key) => key.sign(payload).await,
        }
    }

    /// Returns the public key, as the set that signatures are verified with.
    pub(crate) async fn keys(&self) -> Result<Keys> {
        let pem = match self {
            // Signing nothing shows as well that the key can sign.
            Self::Pem(pem) => pem_signature(pem, b"")?.1,
            Self::Kms(key) => key.public().await?,
        };
        Keys::from_pems(&[pem]).map_err(|e| Failure::error(SIGNATURE, e))
    }
}

/// Returns a signature by the key in `pem`, and its public key.
fn pem_signature(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    sign_with_pem(pem, payload).map_err(|e| Failure::error(SIGNATURE, e))
}
