//! WireGuard key pair of the device. The private key is created on the device once and
//! never leaves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::WIREGUARD_PUBLIC_KEY;
use edge_common::{Root, file, log};

use crate::files::prepare_directory;
use crate::{net, programs};

/// Path of the private key in Base64, mode 0600.
pub(super) const PRIVATE: &str = "/data/config/wireguard/private.key";
/// Size limit of the file with the private key, in bytes.
const MAX_KEY_BYTES: u64 = 256;
/// Time limit of one call of `wg`.
const WG_LIMIT: Duration = Duration::from_secs(10);

/// WireGuard key pair of the device, in Base64.
pub(super) struct Pair {
    /// Private key, which must not appear in messages or arguments.
    pub private: String,
    /// Public key, with which the hub has to be configured.
    pub public: String,
}

/// Returns the key pair in `directory`, or creates one. A damaged private key is
/// replaced with a warning, because the hub has to be configured with the new public
/// key.
pub(super) fn load_or_create(root: &Root, directory: &str) -> Result<Pair> {
    prepare_directory(root, directory)?;
    // The key is not part of the device image: with one key for all devices, each could
    // impersonate any other.
    let private = match read(root)? {
        Some(key) => key,
        None => create(root)?,
    };
    let public = wg(root, &["pubkey"], &private)?;
    let path = root.path(WIREGUARD_PUBLIC_KEY);
    file::ensure(&path, format!("{public}\n").as_bytes(), 0o644)?;
    Ok(Pair { private, public })
}

/// Reads the private key, and sets its mode to 0600 if other users can read it. Returns
/// `None` if the key is absent or damaged.
fn read(root: &Root) -> Result<Option<String>> {
    let path = root.path(PRIVATE);
    let Ok(data) = fs::symlink_metadata(&path) else {
        return Ok(None);
    };
    // A directory or a device file at this path counts as a damaged key, so that it
    // does not disable the VPN for ever.
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

/// Runs `wg` with `input` on standard input and returns the key that it prints.
fn wg(root: &Root, args: &[&str], input: &str) -> Result<String> {
    let mut command = programs::find(root, "wg");
    let completed = programs::run(command.args(args), input, WG_LIMIT)?;
    let key = completed.stdout.trim();
    // The error quotes only standard error, because standard output may be a private
    // key.
    if !completed.success() || !net::valid_key(key) {
        bail!("wg {}: {}", args.join(" "), completed.stderr.trim());
    }
    Ok(key.into())
}
