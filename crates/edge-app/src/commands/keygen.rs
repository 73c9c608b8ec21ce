//! `keygen`: a new signing key.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

/// Makes a key pair.
///
/// # Errors
/// A file that is already there.
pub(crate) fn keygen(path: &Path) -> Result<()> {
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
