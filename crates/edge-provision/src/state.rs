//! The identity on disk. Order of its making, each step durable: key, pending
//! certificate with its token, registered, certificate, configuration.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::identity::{self, CERTIFICATE, CONFIG, DeviceConfig, FOLDER, KEY, LARGEST};
use edge_common::{Root, file, log, mqtt};
use openssl::pkey::{PKey, Private};
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::device::Identity;
use crate::pki;

/// What has been asked for but is not committed; holds a secret, mode 0600.
const PENDING: &str = "/data/config/aws-iot/pending.json";
/// A token lives one hour; one older than this is not tried, in seconds.
const TOKEN_AGE: u64 = 55 * 60;

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

    /// Young enough to be redeemed?
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

/// Checks what is committed: files, key, name, dates.
///
/// # Errors
/// What is wrong with it, or that there is none.
pub fn committed(root: &Root, thing: &str) -> Result<DeviceConfig> {
    if !root.path(CONFIG).exists() {
        bail!("no identity is committed yet");
    }
    if root.path(PENDING).exists() {
        bail!("a certificate is pending");
    }
    let config = DeviceConfig::load(root)?;
    if config.thing_name != thing {
        bail!("{CONFIG} is of another device, {}", config.thing_name);
    }
    if (config.cert_path.as_str(), config.key_path.as_str()) != (CERTIFICATE, KEY) {
        bail!("{CONFIG} names files elsewhere");
    }
    let certificate = pki::certificate(&file::read(&root.path(CERTIFICATE), LARGEST)?)
        .with_context(|| format!("parsing {CERTIFICATE}"))?;
    let key = pki::private_key(&file::read(&root.path(KEY), LARGEST)?)
        .with_context(|| format!("parsing {KEY}"))?;
    if !pki::belong_together(&certificate, &key) {
        bail!("{CERTIFICATE} is not for {KEY}");
    }
    if pki::expired(&certificate)? {
        bail!("{CERTIFICATE} has expired");
    }
    Ok(config)
}

/// The device's key: the one that is there, else a new one. One that cannot be
/// parsed is replaced, and what was made for it dropped.
///
/// # Errors
/// The folder cannot be read or written.
pub fn key(root: &Root) -> Result<PKey<Private>> {
    file::create_folder(&root.path(FOLDER), 0o700)?;
    let path = root.path(KEY);
    if path.exists() {
        match pki::private_key(&file::read(&path, LARGEST)?) {
            Ok(key) => return Ok(key),
            Err(_) => log::warn(format_args!("{KEY} is damaged: making a new one")),
        }
    }
    forget(root)?;
    let key = pki::new_key()?;
    let pem = key.private_key_to_pem_pkcs8().context("making a key")?;
    file::write(&path, &pem, 0o600)?;
    Ok(key)
}

/// What is pending for `key`; one that is damaged or for another key is not.
pub fn pending(root: &Root, key: &PKey<Private>) -> Option<Pending> {
    let text = file::read(&root.path(PENDING), LARGEST).ok()?;
    let pending: Pending = serde_json::from_slice(&text).ok()?;
    let certificate = pki::certificate(pending.certificate.as_bytes()).ok()?;
    pki::belong_together(&certificate, key).then_some(pending)
}

/// Keeps a pending certificate and its token.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(root: &Root, pending: &Pending) -> Result<()> {
    let text = serde_json::to_vec(pending).context("writing what is pending")?;
    file::write(&root.path(PENDING), &text, 0o600)?;
    // Beside it as PEM, because the MQTT library reads certificates from files.
    file::write(
        &root.path(CERTIFICATE),
        pending.certificate.as_bytes(),
        0o644,
    )
}

/// Drops what is pending.
///
/// # Errors
/// The folder cannot be written.
pub fn forget(root: &Root) -> Result<()> {
    let path = root.path(PENDING);
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("removing {PENDING}"))?;
        file::sync_folder(&root.path(FOLDER))?;
    }
    Ok(())
}

/// Commits: from now on the device has this identity.
///
/// # Errors
/// The folder cannot be written.
pub fn commit(root: &Root, thing: &Identity, claim: &Claim) -> Result<()> {
    let config = DeviceConfig {
        endpoint: claim.endpoint.clone(),
        thing_name: thing.name.clone(),
        cert_path: CERTIFICATE.into(),
        key_path: KEY.into(),
        ca_path: identity::AUTHORITIES.into(),
        port: (claim.port != mqtt::PORT).then_some(claim.port),
    };
    let text = serde_json::to_vec_pretty(&config).context("writing the configuration")?;
    file::write(&root.path(CONFIG), &text, 0o644)?;
    forget(root)
}

/// Repairs a damaged `config.json` beside a certificate and key that were
/// committed: nothing is pending, and they belong together.
///
/// # Errors
/// The folder cannot be written.
pub fn repair(root: &Root, thing: &Identity, claim: &Claim, key: &PKey<Private>) -> Result<bool> {
    let was_committed = root.path(CONFIG).exists() && !root.path(PENDING).exists();
    let certificate = file::read(&root.path(CERTIFICATE), LARGEST).ok();
    let certificate = certificate.and_then(|pem| pki::certificate(&pem).ok());
    let good = certificate
        .is_some_and(|c| pki::belong_together(&c, key) && !pki::expired(&c).unwrap_or(true));
    if !was_committed || !good {
        return Ok(false);
    }
    log::info(format_args!(
        "writing {CONFIG} again: certificate and key are good"
    ));
    commit(root, thing, claim)?;
    Ok(true)
}
