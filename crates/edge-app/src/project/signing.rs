//! Signing key of a project: a PEM file or a key in AWS KMS.

use std::path::Path;

use anyhow::Result;
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::exit::Failure;
use edge_common::file;
use edge_common::log::printable;
use edge_signature::{Keys, sign_with_pem};

use crate::cloud::kms::KmsKey;
use crate::exit_code::{CONFIGURATION, SIGNATURE};
use crate::project::config::{Project, SigningKey};

/// Private key for signatures, which is either in memory or in AWS KMS.
pub(crate) enum Signer {
    /// Name and content of a PEM file with the private key, which must stay secret.
    Pem(String, Vec<u8>),
    /// Key in AWS KMS, which signs on request.
    Kms(KmsKey),
}

impl Signer {
    /// Loads the key in `file`, or else the project's key. `file` comes from the command
    /// line and is relative to the current directory; the path in `edge-app.yaml` is
    /// relative to the project.
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

    /// Loads the key that signs break-glass tickets: the one in `file`, or else the
    /// project's.
    pub(crate) async fn engineer(project: &Project, file: Option<&Path>) -> Result<Self> {
        Self::of_role(project, file, &project.config.engineer_key, "engineer_key").await
    }

    /// Loads the key that signs release sets: the one in `file`, or else the project's.
    pub(crate) async fn set(project: &Project, file: Option<&Path>) -> Result<Self> {
        Self::of_role(project, file, &project.config.set_key, "set_key").await
    }

    async fn of_role(
        project: &Project,
        file: Option<&Path>,
        key: &Option<SigningKey>,
        name: &str,
    ) -> Result<Self> {
        match (file, key) {
            (Some(path), _) => Self::read(path),
            (None, Some(SigningKey::File(path))) => Self::read(&project.path(path)),
            (None, Some(SigningKey::Kms(key))) => Ok(Self::Kms(KmsKey::new(&key.kms).await)),
            (None, None) => Err(Failure::error(
                CONFIGURATION,
                format_args!(
                    "edge-app.yaml has no {name}: set it to FILE or kms: ALIAS, or give --key FILE"
                ),
            )),
        }
    }

    /// Loads the key that signs images of the operating system: the one in `file`, or else
    /// the project's.
    pub(crate) async fn os(project: &Project, file: Option<&Path>) -> Result<Self> {
        match (file, &project.config.os_key) {
            (Some(path), _) => Self::read(path),
            (None, Some(SigningKey::File(path))) => Self::read(&project.path(path)),
            (None, Some(SigningKey::Kms(key))) => Ok(Self::Kms(KmsKey::new(&key.kms).await)),
            (None, None) => Err(Failure::error(
                CONFIGURATION,
                "edge-app.yaml has no os_key: set it to FILE or kms: ALIAS, or give --key FILE",
            )),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let key = file::read(path, ANCHOR_BYTES);
        let name = printable(&path.display().to_string());
        key.map(|pem| Self::Pem(name, pem))
            .map_err(|e| Failure::wrap(CONFIGURATION, e))
    }

    /// Signs `payload` with ECDSA and SHA-256 and returns the DER signature.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Pem(_, pem) => Ok(pem_signature(pem, payload)?.0),
            Self::Kms(key) => key.sign(payload).await,
        }
    }

    /// Returns the public key, as the key set with which signatures are verified.
    pub(crate) async fn keys(&self) -> Result<Keys> {
        let file = match self {
            // The public key comes from a signature of an empty payload, which also
            // checks that the private key can sign.
            Self::Pem(name, pem) => (name.clone(), pem_signature(pem, b"")?.1),
            Self::Kms(key) => (format!("kms: {}", key.id()), key.public().await?),
        };
        Keys::from_files(&[file]).map_err(|e| Failure::error(SIGNATURE, e))
    }
}

/// Signs `payload` with the private key in `pem`; returns the signature and the public
/// key as PEM.
fn pem_signature(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    sign_with_pem(pem, payload).map_err(|e| Failure::error(SIGNATURE, e))
}
