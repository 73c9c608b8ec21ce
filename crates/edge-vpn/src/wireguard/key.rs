//! WireGuard key of the device: created on the device, once, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::WIREGUARD_PUBLIC_KEY;
use edge_common::{Root, file, log};

use crate::files::prepare_directory;
use crate::{net, programs};

/// Private key, mode 0600.
pub(super) const PRIVATE: &str = "/data/config/wireguard/private.key";
/// Largest key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 256;
/// Time limit of `wg`.
const WG_LIMIT: Duration = Duration::from_secs(10);

/// Key pair.
pub(super) struct Pair {
    /// Private key. Secret.
    pub private: String,
    /// Public key, which the hub has to know.
    pub public: String,
}

/// Returns the key pair in `directory`, or creates it. A damaged key is replaced with a
/// warning, since the hub has to learn the new one.
pub(super) fn load_or_create(root: &Root, directory: &str) -> Result<Pair> {
    prepare_directory(root, directory)?;
    // Not in the image: one key for all devices would let each pose as any other.
    let private = match read(root)? {
        Some(key) => key,
        None => create(root)?,
    };
    let public = wg(root, &["pubkey"], &private)?;
    let path = root.path(WIREGUARD_PUBLIC_KEY);
    file::ensure(&path, format!("{public}\n").as_bytes(), 0o644)?;
    Ok(Pair { private, public })
}

/// Reads the private key, and closes it if others can read it.
fn read(root: &Root) -> Result<Option<String>> {
    let path = root.path(PRIVATE);
    let Ok(data) = fs::symlink_metadata(&path) else {
        return Ok(None);
    };
    // A directory or a device in its place must not stop the VPN for ever.
    if data.len() > MAX_KEY_BYTES || !data.is_file() {
        return damaged();
    }
    let bytes = file::read(&path, MAX_KEY_BYTES)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let key = text.trim();
    if !net::valid_key(key) {
        return damaged();
    }
    if data.permissions().mode() & 0o077 != 0 {
        log::warn(format_args!("{PRIVATE} was readable by others: closing it"));
        file::write(&path, text.as_bytes(), 0o600)?;
    }
    Ok(Some(key.into()))
}

fn damaged() -> Result<Option<String>> {
    log::warn(format_args!("{PRIVATE} is damaged: creating a new one"));
    Ok(None)
}

fn create(root: &Root) -> Result<String> {
    let key = wg(root, &["genkey"], "")?;
    let path = root.path(PRIVATE);
    if fs::symlink_metadata(&path).is_ok_and(|d| d.is_dir()) {
        fs::remove_dir_all(&path).with_context(|| format!("removing {PRIVATE}"))?;
    }
    file::write(&path, format!("{key}\n").as_bytes(), 0o600)?;
    log::info("created the device's WireGuard key");
    Ok(key)
}

/// Runs `wg` and returns the key that it prints.
fn wg(root: &Root, args: &[&str], input: &str) -> Result<String> {
    let mut command = programs::find(root, "wg");
    let completed = programs::run(command.args(args), input, WG_LIMIT)?;
    let key = completed.stdout.trim();
    // The error has standard error alone: standard output may be a private key.
    if !completed.success() || !net::valid_key(key) {
        bail!("wg {}: {}", args.join(" "), completed.stderr.trim());
    }
    Ok(key.into())
}
