//! Who signs: a key of KMS, or a PEM file where the project says so.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Keys, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

use crate::aws::KmsKey;
use crate::config::{Key, Project};
use crate::{CONFIGURATION, SIGNATURE};

/// A key that signs.
pub enum Signer {
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
    pub async fn of(project: &Project, file: Option<&Path>) -> Result<Self> {
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
    pub async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Pem(pem) => Ok(pem_signature(pem, payload)?.0),
            Self::Kms(key) => key.sign(payload).await,
        }
    }

    /// Its public half, to verify with.
    ///
    /// # Errors
    /// The key cannot be used, or is not P-256.
    pub async fn keys(&self) -> Result<Keys> {
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

/// Makes a key pair.
///
/// # Errors
/// A file that is already there.
pub fn keygen(path: &Path) -> Result<()> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = Path::new(&public);
    for file in [path, public] {
        if file.exists() {
            let why = format!("{} is already there: not overwritten", file.display());
            return Err(Failure::error(2, why));
        }
    }
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group).context("making a key")?)?;
    // A path without a directory is in this one.
    let here = |path: &Path| Path::new(".").join(path);
    file::write(&here(path), &key.private_key_to_pem_pkcs8()?, 0o600)?;
    file::write(&here(public), &key.public_key_to_pem()?, 0o644)?;
    println!("{}\n{}", path.display(), public.display());
    Ok(())
}
