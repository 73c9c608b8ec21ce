//! Storage of the identity in `/data/config/aws-iot`.
//!
//! An identity is created in durable steps: key, pending certificate with its ownership
//! token, registration, verification, configuration. Therefore an existing
//! configuration means that the identity is committed, and after an interruption at any
//! point the next run continues with the same key. A new key for each attempt would
//! lock the device out: the cloud replaces the certificate of an active device only
//! with a proof of possession of a key that it knows.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::contract::path::{CA, IDENTITY};
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY, MAX_FILE_BYTES};
use edge_common::{Root, file, log, mqtt};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::device::Device;
use crate::pki;

/// Age limit of an ownership token, in seconds. AWS accepts a token for an hour; the
/// difference is a margin for the attempts that follow.
const MAX_TOKEN_AGE: u64 = 55 * 60;

/// Maximum number of renamed files of one name.
const MAX_STRAY: u32 = 100;

/// Directory of an identity, in use or being created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// Directory of the identity in use, `/data/config/aws-iot`.
    Current,
    /// Directory in which a renewal creates the next identity,
    /// `/data/config/aws-iot.next`.
    Next,
}

impl Location {
    pub(crate) fn directory(self, root: &Root) -> PathBuf {
        match self {
            Self::Current => root.path(IDENTITY),
            Self::Next => root.path(format!("{IDENTITY}.next")),
        }
    }

    /// Returns the path in this directory of the file with the same name as `current`.
    fn file(self, root: &Root, current: &str) -> PathBuf {
        let name = Path::new(current).file_name().unwrap_or_default();
        self.directory(root).join(name)
    }

    pub(crate) fn key(self, root: &Root) -> PathBuf {
        self.file(root, KEY)
    }

    pub(crate) fn certificate(self, root: &Root) -> PathBuf {
        self.file(root, CERTIFICATE)
    }

    /// Returns the path of the configuration, which is written last and so commits the
    /// identity.
    pub(crate) fn config(self, root: &Root) -> PathBuf {
        self.file(root, CONFIG)
    }

    /// Returns the path of the [`PendingCertificate`] as JSON, which contains a secret.
    pub(crate) fn pending(self, root: &Root) -> PathBuf {
        self.directory(root).join("pending.json")
    }
}

/// Certificate that the cloud has issued and may or may not have registered yet.
#[derive(Serialize, Deserialize)]
pub(crate) struct PendingCertificate {
    /// Certificate in PEM format, as issued by the cloud.
    pub certificate: String,
    /// Ownership token, a secret that authorises the registration of the certificate.
    pub token: String,
    /// Time at which the certificate was received, in seconds of Unix time.
    pub issued: u64,
}

impl PendingCertificate {
    pub(crate) fn new(certificate: String, token: String) -> Self {
        Self {
            certificate,
            token,
            issued: now(),
        }
    }

    /// Returns whether AWS may still accept the ownership token. A token from the near
    /// future counts as fresh, because the clock was set back by a few minutes; AWS
    /// rejects it if it has expired after all.
    pub(crate) fn is_fresh(&self) -> bool {
        now().abs_diff(self.issued) < MAX_TOKEN_AGE
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Validates the committed identity: presence of the files, thing name, match of key
/// and certificate, expiry, and mode of the key. Returns the configuration and the
/// certificate.
pub(crate) fn validate(root: &Root, thing_name: &str) -> Result<(DeviceConfig, X509)> {
    match fs::metadata(root.path(CONFIG)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("no identity is committed yet")
        }
        // Also for a user who may not see whether there is one.
        found => found.with_context(|| format!("reading {CONFIG}"))?,
    };
    let config = DeviceConfig::load(root)?;
    // The disk may belong to another device, or be a copy of its disk.
    if config.thing_name != thing_name {
        bail!("{CONFIG} is of another device, {}", config.thing_name);
    }
    // Third-party programs use these paths. The tools of this repository do not, so
    // wrong paths would not be noticed.
    if (config.cert_path.as_str(), config.key_path.as_str()) != (CERTIFICATE, KEY) {
        bail!("{CONFIG} refers to files elsewhere");
    }
    let certificate = pki::certificate(&file::read(&root.path(CERTIFICATE), MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {CERTIFICATE}"))?;
    let key = pki::private_key(&file::read(&root.path(KEY), MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {KEY}"))?;
    if !pki::is_key_of(&key, &certificate) {
        bail!("{CERTIFICATE} is not for {KEY}");
    }
    if pki::expired(&certificate)? {
        bail!("{CERTIFICATE} has expired");
    }
    if key_is_exposed(root, Location::Current)? {
        bail!("{KEY} can be read by others");
    }
    Ok((config, certificate))
}

fn key_is_exposed(root: &Root, location: Location) -> Result<bool> {
    let data = fs::metadata(location.key(root)).with_context(|| format!("reading {KEY}"))?;
    Ok(data.permissions().mode() & 0o077 != 0)
}

/// Renames what is in the place of a file or directory of the identity and cannot be one: a
/// directory, a FIFO, a file that is too large. It would end every run with an error until
/// somebody removes it; what it contains may be worth something to its owner.
pub(crate) fn set_aside(root: &Root) -> Result<()> {
    let is_file = |data: &fs::Metadata| data.is_file() && data.len() <= MAX_FILE_BYTES;
    for location in [Location::Current, Location::Next] {
        rename_unless(&location.directory(root), fs::Metadata::is_dir)?;
        rename_unless(&location.key(root), is_file)?;
        rename_unless(&location.certificate(root), is_file)?;
        rename_unless(&location.config(root), is_file)?;
        rename_unless(&location.pending(root), is_file)?;
    }
    Ok(())
}

fn rename_unless(path: &Path, is_ours: impl Fn(&fs::Metadata) -> bool) -> Result<()> {
    // Through links, as the files are read.
    let is_stray = match fs::metadata(path) {
        Ok(data) => !is_ours(&data),
        // A link that leads nowhere.
        Err(error) if error.kind() == ErrorKind::NotFound => path.is_symlink(),
        Err(_) => false,
    };
    if !is_stray {
        return Ok(());
    }
    let numbered = |number: u32| {
        let mut to = path.as_os_str().to_os_string();
        to.push(format!(".stray-{number}"));
        PathBuf::from(to)
    };
    let free = (1..=MAX_STRAY)
        .map(numbered)
        .find(|to| fs::symlink_metadata(to).is_err());
    let to = free.with_context(|| format!("{}: remove the stray files", path.display()))?;
    fs::rename(path, &to).with_context(|| format!("renaming {}", path.display()))?;
    log::warn(format_args!(
        "{} is not of the identity: renamed it to {}",
        path.display(),
        to.display()
    ));
    Ok(())
}

/// Removes the temporary files of interrupted writes in both directories, because one
/// may contain a private key.
pub(crate) fn remove_leftovers(root: &Root) -> Result<()> {
    for location in [Location::Current, Location::Next] {
        let directory = location.directory(root);
        if directory.exists() {
            file::remove_leftovers(&directory)?;
        }
    }
    Ok(())
}

/// Returns the private key in `location`, or creates one. A key that cannot be parsed
/// is replaced, and its pending certificate is removed.
pub(crate) fn load_or_create_key(root: &Root, location: Location) -> Result<PKey<Private>> {
    file::create_directory(&location.directory(root), 0o700)?;
    let path = location.key(root);
    if path.exists() {
        let pem = file::read(&path, MAX_FILE_BYTES)?;
        match pki::private_key(&pem) {
            // An exposed key is kept after its mode is corrected: the cloud would deny
            // the device with another key until an operator helps.
            Ok(key) if key_is_exposed(root, location)? => {
                log::warn(format_args!("{KEY} was readable by others: closing it"));
                file::write(&path, &pem, 0o600)?;
                return Ok(key);
            }
            Ok(key) => return Ok(key),
            Err(_) => log::warn(format_args!("{KEY} is damaged: creating a new one")),
        }
    }
    remove_pending(root, location)?;
    let key = pki::new_key()?;
    let pem = key.private_key_to_pem_pkcs8().context("creating a key")?;
    file::write(&path, &pem, 0o600)?;
    Ok(key)
}

/// Returns the pending certificate if it can be parsed and belongs to `key`.
pub(crate) fn load_pending(
    root: &Root,
    location: Location,
    key: &PKey<Private>,
) -> Option<PendingCertificate> {
    let text = file::read(&location.pending(root), MAX_FILE_BYTES).ok()?;
    let pending: PendingCertificate = serde_json::from_slice(&text).ok()?;
    let certificate = pki::certificate(pending.certificate.as_bytes()).ok()?;
    pki::is_key_of(key, &certificate).then_some(pending)
}

/// Saves a pending certificate with its ownership token, and the certificate as a PEM
/// file.
pub(crate) fn save_pending(
    root: &Root,
    location: Location,
    pending: &PendingCertificate,
) -> Result<()> {
    // The configuration is removed first, because the new certificate is not committed
    // yet.
    file::remove(&location.config(root))?;
    let text = serde_json::to_vec(pending).context("writing the pending certificate")?;
    file::write(&location.pending(root), &text, 0o600)?;
    write_certificate(root, location, pending)
}

/// Writes the pending certificate as a PEM file, because the MQTT library reads
/// certificates only from files.
pub(crate) fn write_certificate(
    root: &Root,
    location: Location,
    pending: &PendingCertificate,
) -> Result<()> {
    let pem = pending.certificate.as_bytes();
    file::ensure(&location.certificate(root), pem, 0o644).map(|_| ())
}

/// Removes `pending.json`, after the commit or if its token cannot be used any more.
pub(crate) fn remove_pending(root: &Root, location: Location) -> Result<()> {
    file::remove(&location.pending(root)).map(drop)
}

/// Returns the configuration of the device with the endpoint of the claim.
pub(crate) fn configuration(device: &Device, claim: &Claim) -> DeviceConfig {
    DeviceConfig {
        endpoint: claim.endpoint.clone(),
        thing_name: device.thing_name.clone(),
        cert_path: CERTIFICATE.into(),
        key_path: KEY.into(),
        ca_path: CA.into(),
        port: (claim.port != mqtt::PORT).then_some(claim.port),
        proxy: claim.proxy.clone(),
    }
}

/// Commits the identity in `location` by writing its configuration.
pub(crate) fn commit(
    root: &Root,
    location: Location,
    device: &Device,
    claim: &Claim,
) -> Result<()> {
    let config = configuration(device, claim);
    let text = serde_json::to_vec_pretty(&config).context("writing the configuration")?;
    file::write(&location.config(root), &text, 0o644)
}

/// Writes a damaged or lost configuration again if certificate and key are valid and
/// were committed. Returns whether the configuration was written.
pub(crate) fn restore_config(
    root: &Root,
    device: &Device,
    claim: &Claim,
    key: &PKey<Private>,
) -> Result<bool> {
    let certificate = file::read(&root.path(CERTIFICATE), MAX_FILE_BYTES).ok();
    let certificate = certificate.and_then(|pem| pki::certificate(&pem).ok());
    let valid =
        certificate.is_some_and(|c| pki::is_key_of(key, &c) && !pki::expired(&c).unwrap_or(true));
    // If a certificate is pending, the one on disk may never have been registered.
    if !valid || Location::Current.pending(root).exists() {
        return Ok(false);
    }
    log::info(format_args!(
        "writing {CONFIG} again: certificate and key are valid"
    ));
    commit(root, Location::Current, device, claim)?;
    validate(root, &device.thing_name)?;
    Ok(true)
}
