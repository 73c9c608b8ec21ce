//! The device's WireGuard key: made once, on the device, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, log};

use crate::{net, tool, wireguard};

/// The private key, mode 0600.
pub const PRIVATE: &str = "/data/config/wireguard/private.key";
/// The public key, for the hub and for edge-heartbeat.
pub const PUBLIC: &str = "/data/config/wireguard/public.key";
/// Largest file that is read, in bytes.
const LARGEST: u64 = 256;
/// Limit of `wg`.
const LIMIT: Duration = Duration::from_secs(10);

/// Both halves.
pub struct Pair {
    /// Secret.
    pub private: String,
    /// What others know.
    pub public: String,
}

/// The key that is there, else a new one. One that is damaged is replaced, and
/// that is told: the hub has to learn the new one.
///
/// # Errors
/// The directory cannot be read or written, or there is no `wg`.
pub fn ensure(root: &Root) -> Result<Pair> {
    crate::tidy(root, wireguard::DIRECTORY)?;
    let private = match read(root)? {
        Some(key) => key,
        None => make(root)?,
    };
    let public = wg(root, &["pubkey"], &private)?;
    file::ensure(&root.path(PUBLIC), format!("{public}\n").as_bytes(), 0o644)?;
    Ok(Pair { private, public })
}

/// The key on disk; closes one that others could read.
fn read(root: &Root) -> Result<Option<String>> {
    let path = root.path(PRIVATE);
    let Ok(data) = fs::symlink_metadata(&path) else {
        return Ok(None);
    };
    if data.len() > LARGEST || !data.is_file() {
        return damaged();
    }
    let bytes = file::read(&path, LARGEST)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let key = text.trim();
    if !net::valid_key(key) {
        return damaged();
    }
    if data.permissions().mode() & 0o077 != 0 {
        log::warn(format_args!(
            "{PRIVATE} could be read by others: closing it"
        ));
        file::write(&path, text.as_bytes(), 0o600)?;
    }
    Ok(Some(key.into()))
}

fn damaged() -> Result<Option<String>> {
    log::warn(format_args!("{PRIVATE} is damaged: making a new one"));
    Ok(None)
}

fn make(root: &Root) -> Result<String> {
    let key = wg(root, &["genkey"], "")?;
    let path = root.path(PRIVATE);
    if fs::symlink_metadata(&path).is_ok_and(|d| d.is_dir()) {
        fs::remove_dir_all(&path).with_context(|| format!("removing {PRIVATE}"))?;
    }
    file::write(&path, format!("{key}\n").as_bytes(), 0o600)?;
    log::info("made the device's WireGuard key");
    Ok(key)
}

/// A key that `wg` prints.
fn wg(root: &Root, words: &[&str], input: &str) -> Result<String> {
    let mut command = tool::program(root, "wg");
    let answer = tool::ask(command.args(words), input, LIMIT)?;
    let key = answer.out.trim();
    if !answer.good() || !net::valid_key(key) {
        bail!("wg {}: {}", words.join(" "), answer.err.trim());
    }
    Ok(key.into())
}
