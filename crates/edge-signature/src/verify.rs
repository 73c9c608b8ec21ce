//! The gate: which signatures count.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, ImageRef, Repository, valid_app, valid_version};

/// Largest payload that is looked at, in bytes.
pub const LARGEST_PAYLOAD: usize = 64 * 1024;
/// `critical.type` of a payload.
pub const PAYLOAD_TYPE: &str = "cosign container image signature";

/// A payload and its signature, as they lie in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    #[serde(with = "crate::proof::base64_bytes")]
    pub(crate) payload: Vec<u8>,
    #[serde(with = "crate::proof::base64_bytes")]
    pub(crate) signature: Vec<u8>,
}

impl Signed {
    /// From a payload and its DER signature.
    pub fn new(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { payload, signature }
    }

    /// From a payload and the base64 text of cosign's annotation, which may be
    /// broken into lines. Nothing if it is not base64.
    pub fn from_text(payload: Vec<u8>, text: &str) -> Option<Self> {
        let text: String = text.split_ascii_whitespace().collect();
        STANDARD
            .decode(text)
            .ok()
            .map(|signature| Self { payload, signature })
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature as cosign's annotation holds it.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.signature)
    }
}

/// What the signer says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// `edge.app`: name, folder and container.
    pub app: String,
    /// `edge.version`.
    pub version: String,
    /// `edge.serial`: grows with each signature of the app.
    pub serial: u64,
    /// `edge.grants`: what the app may do beyond the ordinary.
    pub grants: Vec<String>,
}

/// An image whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What the signer says.
    pub annotations: Annotations,
    /// SHA-256 of the key that signed, hex.
    pub signer: String,
}

/// Keys that count: P-256, as PEM public keys.
pub struct Keys(Vec<PKey<Public>>);

impl Keys {
    /// Reads each text as one PEM public key.
    ///
    /// # Errors
    /// None at all, not a key, or not P-256.
    pub fn from_pems<T: AsRef<[u8]>>(pems: &[T]) -> Result<Self, Error> {
        let keys: Result<Vec<_>, _> = pems.iter().map(|p| key(p.as_ref())).collect();
        match keys? {
            keys if keys.is_empty() => Err(Error::Malformed("no signing key is configured".into())),
            keys => Ok(Self(keys)),
        }
    }

    /// The key that made `signed`.
    fn signer(&self, signed: &Signed) -> Option<String> {
        let canonical = EcdsaSig::from_der(&signed.signature).and_then(|s| s.to_der());
        if !canonical.is_ok_and(|der| der == signed.signature) {
            return None;
        }
        let made = |key: &&PKey<Public>| {
            let verifier = Verifier::new(MessageDigest::sha256(), key);
            verifier
                .and_then(|mut v| v.verify_oneshot(&signed.signature, &signed.payload))
                .unwrap_or(false)
        };
        let der = self.0.iter().find(made)?.public_key_to_der().ok()?;
        Some(Digest::of(&der).hex().to_string())
    }
}

fn key(pem: &[u8]) -> Result<PKey<Public>, Error> {
    let bad = |why: &str| Error::Malformed(format!("signing key: {why}"));
    let key = PKey::public_key_from_pem(pem).map_err(|_| bad("not a PEM public key"))?;
    let curve = key.ec_key().ok().and_then(|k| k.group().curve_name());
    if curve != Some(Nid::X9_62_PRIME256V1) {
        return Err(bad("not on curve P-256"));
    }
    Ok(key)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<Optional>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// A doubled field is an error of serde's; other signers' fields are allowed.
#[derive(Deserialize)]
struct Optional {
    #[serde(rename = "edge.app")]
    app: Option<String>,
    #[serde(rename = "edge.version")]
    version: Option<String>,
    #[serde(rename = "edge.serial")]
    serial: Option<String>,
    #[serde(rename = "edge.grants", default)]
    grants: String,
}

/// Finds a signature that counts: by a key of ours, over exactly this digest,
/// for exactly this repository, with our annotations.
///
/// # Errors
/// [`Error::Unsigned`], or [`Error::Untrusted`] with the reason of each.
pub fn verify(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signed: &[Signed],
) -> Result<Verified, Error> {
    let mut reasons = Vec::new();
    for one in signed.iter().take(64) {
        match judge(keys, repository, digest, one) {
            Ok(verified) => return Ok(verified),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        return Err(Error::Unsigned(format!("{repository}@{digest}")));
    }
    Err(Error::Untrusted(reasons.join("; ")))
}

fn judge(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signed: &Signed,
) -> Result<Verified, String> {
    if signed.payload.len() > LARGEST_PAYLOAD {
        return Err("a payload is too large".into());
    }
    // Nothing of the payload is parsed before its signature is good.
    let signer = keys
        .signer(signed)
        .ok_or("signed by a key that is not trusted")?;
    let payload: Payload =
        serde_json::from_slice(&signed.payload).map_err(|e| format!("payload: {e}"))?;
    if payload.critical.kind != PAYLOAD_TYPE {
        return Err("the payload is not of cosign's type".into());
    }
    if payload.critical.image.digest != *digest {
        return Err("signed for another digest".into());
    }
    if !same_repository(&payload.critical.identity.reference, repository) {
        return Err("signed for another repository".into());
    }
    let annotations =
        annotations(payload.optional).ok_or("signed without good edge.* annotations")?;
    Ok(Verified {
        digest: digest.clone(),
        annotations,
        signer,
    })
}

/// `repo` or `repo:tag`, as cosign and containers/image write it.
fn same_repository(reference: &str, repository: &Repository) -> bool {
    match reference.parse::<ImageRef>() {
        Ok(image) => image.repository == *repository,
        Err(_) => reference == repository.to_string(),
    }
}

fn annotations(optional: Option<Optional>) -> Option<Annotations> {
    let optional = optional?;
    let grants = optional
        .grants
        .split(',')
        .filter(|g| !g.is_empty())
        .map(String::from)
        .collect();
    let annotations = Annotations {
        app: optional.app?,
        version: optional.version?,
        serial: optional.serial?.parse().ok()?,
        grants,
    };
    (valid_app(&annotations.app) && valid_version(&annotations.version)).then_some(annotations)
}
