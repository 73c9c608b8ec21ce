//! The identity on disk. Order of its making, each step durable: key, pending
//! certificate with its token, registered, verified, configuration. So a
//! configuration that is there means "committed".

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::contract::path::{CA, IDENTITY as DIRECTORY};
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY, MAX_FILE_BYTES};
use edge_common::{Root, file, log, mqtt};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::device::Identity;
use crate::pki;

/// A token lives one hour; one older than this is not tried, in seconds.
const TOKEN_AGE: u64 = 55 * 60;

/// A directory that holds an identity, or becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The device's own.
    Current,
    /// The one that a renewal prepares.
    Next,
}

impl Place {
    /// The directory.
    pub fn directory(self, root: &Root) -> PathBuf {
        match self {
            Self::Current => root.path(DIRECTORY),
            Self::Next => root.path(format!("{DIRECTORY}.next")),
        }
    }

    /// The private key.
    pub fn key(self, root: &Root) -> PathBuf {
        self.directory(root).join("private.key")
    }

    /// The certificate.
    pub fn certificate(self, root: &Root) -> PathBuf {
        self.directory(root).join("device.crt")
    }

    /// Written last.
    pub fn config(self, root: &Root) -> PathBuf {
        self.directory(root).join("config.json")
    }

    /// What has been asked for but is not committed; holds a secret.
    pub fn pending(self, root: &Root) -> PathBuf {
        self.directory(root).join("pending.json")
    }
}

/// A certificate that may or may not be registered yet.
#[derive(Serialize, Deserialize)]
pub struct Pending {
    /// PEM.
    pub certificate: String,
    /// Ownership token. Secret.
    pub token: String,
    /// When it was issued, in seconds of Unix time.
    pub issued: u64,
}

impl Pending {
    /// One that was issued now.
    pub fn new(certificate: String, token: String) -> Self {
        Self {
            certificate,
            token,
            issued: now(),
        }
    }

    /// Young enough to be redeemed? One from the future is not: the clock was
    /// set back meanwhile, and its age is not known.
    pub fn fresh(&self) -> bool {
        now()
            .checked_sub(self.issued)
            .is_some_and(|age| age < TOKEN_AGE)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Checks what is committed: files, modes, key, name, dates. Gives the
/// configuration and the certificate.
///
/// # Errors
/// What is wrong with it, or that there is none.
pub fn committed(root: &Root, thing: &str) -> Result<(DeviceConfig, X509)> {
    if !root.path(CONFIG).exists() {
        bail!("no identity is committed yet");
    }
    let config = DeviceConfig::load(root)?;
    if config.thing_name != thing {
        bail!("{CONFIG} is of another device, {}", config.thing_name);
    }
    if (config.cert_path.as_str(), config.key_path.as_str()) != (CERTIFICATE, KEY) {
        bail!("{CONFIG} names files elsewhere");
    }
    let certificate = pki::certificate(&file::read(&root.path(CERTIFICATE), MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {CERTIFICATE}"))?;
    let key = pki::private_key(&file::read(&root.path(KEY), MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {KEY}"))?;
    if !pki::belong_together(&certificate, &key) {
        bail!("{CERTIFICATE} is not for {KEY}");
    }
    if pki::expired(&certificate)? {
        bail!("{CERTIFICATE} has expired");
    }
    if open_to_others(root, Place::Current)? {
        bail!("{KEY} can be read by others");
    }
    Ok((config, certificate))
}

fn open_to_others(root: &Root, place: Place) -> Result<bool> {
    let data = fs::metadata(place.key(root)).with_context(|| format!("reading {KEY}"))?;
    Ok(data.permissions().mode() & 0o077 != 0)
}

/// Removes what a cut during a write has left beside the identity: it may hold
/// a key that was never used.
///
/// # Errors
/// A directory cannot be read or written.
pub fn tidy(root: &Root) -> Result<()> {
    for place in [Place::Current, Place::Next] {
        let Ok(entries) = fs::read_dir(place.directory(root)) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                file::remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// The key in `place`: the one that is there, else a new one. One that cannot
/// be parsed is replaced, and what was made for it dropped.
///
/// # Errors
/// The directory cannot be read or written.
pub fn key(root: &Root, place: Place) -> Result<PKey<Private>> {
    file::create_directory(&place.directory(root), 0o700)?;
    let path = place.key(root);
    if path.exists() {
        let pem = file::read(&path, MAX_FILE_BYTES)?;
        match pki::private_key(&pem) {
            Ok(key) if open_to_others(root, place)? => {
                log::warn(format_args!("{KEY} could be read by others: closing it"));
                file::write(&path, &pem, 0o600)?;
                return Ok(key);
            }
            Ok(key) => return Ok(key),
            Err(_) => log::warn(format_args!("{KEY} is damaged: making a new one")),
        }
    }
    forget(root, place)?;
    let key = pki::new_key()?;
    let pem = key.private_key_to_pem_pkcs8().context("making a key")?;
    file::write(&path, &pem, 0o600)?;
    Ok(key)
}

/// What is pending for `key`; one that is damaged or for another key is not.
pub fn pending(root: &Root, place: Place, key: &PKey<Private>) -> Option<Pending> {
    let text = file::read(&place.pending(root), MAX_FILE_BYTES).ok()?;
    let pending: Pending = serde_json::from_slice(&text).ok()?;
    let certificate = pki::certificate(pending.certificate.as_bytes()).ok()?;
    pki::belong_together(&certificate, key).then_some(pending)
}

/// Keeps a pending certificate and its token.
///
/// # Errors
/// The directory cannot be written.
pub fn keep(root: &Root, place: Place, pending: &Pending) -> Result<()> {
    // What was committed is over from here on.
    file::remove(&place.config(root))?;
    let text = serde_json::to_vec(pending).context("writing what is pending")?;
    file::write(&place.pending(root), &text, 0o600)?;
    show(root, place, pending)
}

/// Puts the pending certificate beside as PEM, because the MQTT library reads
/// certificates from files.
///
/// # Errors
/// The directory cannot be written.
pub fn show(root: &Root, place: Place, pending: &Pending) -> Result<()> {
    let pem = pending.certificate.as_bytes();
    file::ensure(&place.certificate(root), pem, 0o644).map(|_| ())
}

/// Drops what is pending.
///
/// # Errors
/// The directory cannot be written.
pub fn forget(root: &Root, place: Place) -> Result<()> {
    file::remove(&place.pending(root)).map(drop)
}

/// Writes the configuration: from now on the identity in `place` is good.
///
/// # Errors
/// The directory cannot be written.
pub fn commit(root: &Root, place: Place, thing: &Identity, claim: &Claim) -> Result<()> {
    let config = DeviceConfig {
        endpoint: claim.endpoint.clone(),
        thing_name: thing.name.clone(),
        cert_path: CERTIFICATE.into(),
        key_path: KEY.into(),
        ca_path: CA.into(),
        port: (claim.port != mqtt::PORT).then_some(claim.port),
        proxy: claim.proxy.clone(),
    };
    let text = serde_json::to_vec_pretty(&config).context("writing the configuration")?;
    file::write(&place.config(root), &text, 0o644)
}

/// Repairs a damaged or lost configuration beside a certificate and key that
/// were committed: nothing is pending, and they belong together.
///
/// # Errors
/// The directory cannot be written.
pub fn repair(root: &Root, thing: &Identity, claim: &Claim, key: &PKey<Private>) -> Result<bool> {
    let certificate = file::read(&root.path(CERTIFICATE), MAX_FILE_BYTES).ok();
    let certificate = certificate.and_then(|pem| pki::certificate(&pem).ok());
    let good = certificate
        .is_some_and(|c| pki::belong_together(&c, key) && !pki::expired(&c).unwrap_or(true));
    if !good || Place::Current.pending(root).exists() {
        return Ok(false);
    }
    log::info(format_args!(
        "writing {CONFIG} again: certificate and key are good"
    ));
    commit(root, Place::Current, thing, claim)?;
    committed(root, &thing.name)?;
    Ok(true)
}
