//! `keygen`: creates the P-256 key pair that signs the images of a project.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;
use edge_common::log::printable;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

/// Creates a key pair: the private key (PKCS#8 PEM) in `path`, the public key in
/// `path`.pub.
pub(crate) fn keygen(path: &Path) -> Result<()> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = Path::new(&public);
    // An overwritten key cannot be recovered, and devices that trust only that key would
    // accept no further version.
    for file in [path, public] {
        if file.exists() {
            let why = format!("{} is already there: not overwritten", file.display());
            return Err(Failure::error(2, why));
        }
    }
    // The parent of a bare file name is the empty path.
    let directory = Path::new(".").join(path.parent().unwrap_or(Path::new("")));
    if !directory.is_dir() {
        let why = format!(
            "{} is no directory: create it, or give another path",
            path.parent().unwrap_or(path).display()
        );
        return Err(Failure::error(2, why));
    }
    // P-256 is the only curve that devices accept, and cosign uses it too.
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group).context("generating a key")?)?;
    // `file::write` cannot create its temporary file in an empty path.
    let in_directory = |path: &Path| Path::new(".").join(path);
    file::write(&in_directory(path), &key.private_key_to_pem_pkcs8()?, 0o600)?;
    file::write(&in_directory(public), &key.public_key_to_pem()?, 0o644)?;
    println!("{}\n{}", path.display(), public.display());
    let name = printable(&path.display().to_string());
    eprintln!(
        "Next:\n  \
         signing_key: {name}      # in edge-app.yaml\n  \
         {name}.pub into the device image, as docs/keys.md says: a device runs what a key\n  \
         of its image has signed\n\
         Keep {name} secret, out of git, and with a copy in a safe place: without it no\n\
         device accepts a further version"
    );
    Ok(())
}
