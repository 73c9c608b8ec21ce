//! Who signs: a key of KMS, or a PEM file where the project says so.

use std::path::Path;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Keys, sign_with_pem};

use crate::cloud::kms::KmsKey;
use crate::exit_code::{CONFIGURATION, SIGNATURE};
use crate::project::config::{Key, Project};

/// A key that signs.
pub(crate) enum Signer {
    /// The text of a PEM file. Secret.
    Pem(Vec<u8>),
    /// A key of KMS.
    Kms(KmsKey),
}

impl Signer {
    /// The key in `file`, seen from the current directory, or the project's.
    ///
    /// # Errors
    /// None is configured; a file that cannot be read.
    pub(crate) async fn of(project: &Project, file: Option<&Path>) -> Result<Self> {
        if let Some(path) = file {
            return Self::read(path);
        }
        match &project.config.signing_key {
            Some(Key::File(path)) => Self::read(&project.path(path)),
            Some(Key::Kms(key)) => Ok(Self::Kms(KmsKey::new(&key.kms).await)),
            None => Err(Failure::error(
                CONFIGURATION,
                "edge-app.yaml names no signing_key: FILE, or kms: ALIAS; make one with \
                 `edge-app keygen FILE`, or give --key FILE",
            )),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let key = file::read(path, 64 * 1024);
        key.map(Self::Pem)
            .map_err(|e| Failure::wrap(CONFIGURATION, e))
    }

    /// The DER signature of `payload`.
    ///
    /// # Errors
    /// The key cannot be used.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Pem(pem) => Ok(pem_signature(pem, payload)?.0),
            Self::Kms(key) => key.sign(payload).await,
        }
    }

    /// Its public half, to verify with.
    ///
    /// # Errors
    /// The key cannot be used, or is not P-256.
    pub(crate) async fn keys(&self) -> Result<Keys> {
        let pem = match self {
            Self::Pem(pem) => pem_signature(pem, b"")?.1,
            Self::Kms(key) => key.public().await?,
        };
        Keys::from_pems(&[pem]).map_err(|e| Failure::error(SIGNATURE, e))
    }
}

fn pem_signature(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    sign_with_pem(pem, payload).map_err(|e| Failure::error(SIGNATURE, e))
}
