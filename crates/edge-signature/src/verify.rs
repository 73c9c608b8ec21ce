//! The gate: which signatures count.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bundle::{PREDICATE, STATEMENT};
use crate::manifest::json as parse;
use crate::{Digest, Error, Format, ImageRef, Keys, Repository, Signed, valid_app, valid_version};

/// Largest payload that is looked at, in bytes.
pub const LARGEST_PAYLOAD: usize = 64 * 1024;
/// Most signatures of one image that are looked at.
pub const MOST_SIGNATURES: usize = 64;
/// `critical.type` of a v2 payload.
pub const PAYLOAD_TYPE: &str = "cosign container image signature";

/// What the signer says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// `edge.app`: name, directory and container.
    pub app: String,
    /// `edge.version`.
    pub version: String,
    /// `edge.serial`: grows with each signature of the app.
    pub serial: u64,
    /// `edge.grants`: what the app may do beyond the ordinary.
    pub grants: Vec<String>,
}

impl Annotations {
    /// As they are signed.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        [
            ("edge.app", self.app.clone()),
            ("edge.version", self.version.clone()),
            ("edge.serial", self.serial.to_string()),
            ("edge.grants", self.grants.join(",")),
        ]
        .into_iter()
        .map(|(key, value)| (key.into(), json!(value)))
        .collect()
    }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<Ours>,
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

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
    #[serde(default)]
    annotations: Option<Ours>,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Our annotations. A doubled field is an error of serde's; other signers'
/// fields are allowed.
#[derive(Deserialize)]
struct Ours {
    #[serde(rename = "edge.app")]
    app: Option<String>,
    #[serde(rename = "edge.version")]
    version: Option<String>,
    #[serde(rename = "edge.serial")]
    serial: Option<String>,
    #[serde(rename = "edge.grants")]
    grants: Option<String>,
}

/// Finds a signature that counts: by a key of ours, over exactly this digest,
/// for exactly this repository where it names one, with our annotations.
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
    for one in signed.iter().take(MOST_SIGNATURES) {
        match judge(keys, repository, digest, one) {
            Ok(verified) => return Ok(verified),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(no_good(repository, digest, reasons))
}

/// None counts, for these reasons; or there is none.
pub fn no_good(repository: &Repository, digest: &Digest, mut reasons: Vec<String>) -> Error {
    reasons.sort();
    reasons.dedup();
    if reasons.is_empty() {
        return Error::Unsigned(format!("{repository}@{digest}"));
    }
    Error::Untrusted(reasons.join("; "))
}

/// Does this one count? Else why not.
pub fn judge(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signed: &Signed,
) -> Result<Verified, String> {
    if signed.payload().len() > LARGEST_PAYLOAD {
        return Err("a payload is too large".into());
    }
    // Nothing of the payload is parsed before its signature is good.
    let signer = signed
        .signer(keys)
        .ok_or("signed by a key that is not trusted")?;
    let ours = match signed.format() {
        Format::V2 => payload(repository, digest, signed.payload())?,
        Format::V3 => statement(digest, signed.payload())?,
    };
    let annotations = ours
        .and_then(annotations)
        .ok_or("signed without good edge.* annotations")?;
    Ok(Verified {
        digest: digest.clone(),
        annotations,
        signer: signer.hex().into(),
    })
}

fn payload(
    repository: &Repository,
    digest: &Digest,
    bytes: &[u8],
) -> Result<Option<Ours>, &'static str> {
    let payload: Payload = parse(bytes).map_err(|_| "the payload is not of cosign's form")?;
    if payload.critical.kind != PAYLOAD_TYPE {
        return Err("the payload is not of cosign's type");
    }
    if payload.critical.image.digest != *digest {
        return Err("signed for another digest");
    }
    if !same_repository(&payload.critical.identity.reference, repository) {
        return Err("signed for another repository");
    }
    Ok(payload.optional)
}

/// `repo` or `repo:tag`, as cosign and containers/image write it.
fn same_repository(reference: &str, repository: &Repository) -> bool {
    match reference.parse::<ImageRef>() {
        Ok(image) => image.repository == *repository,
        Err(_) => reference == repository.to_string(),
    }
}

/// A statement names no repository: our annotations must be there.
fn statement(digest: &Digest, bytes: &[u8]) -> Result<Option<Ours>, &'static str> {
    let statement: Statement = parse(bytes).map_err(|_| "the payload is not of in-toto's form")?;
    if statement.kind != STATEMENT || statement.predicate != PREDICATE {
        return Err("the payload is not of cosign's type");
    }
    let about = |s: &Subject| s.digest.sha256.as_deref() == Some(digest.hex());
    let mut subjects = statement.subject.into_iter().filter(about);
    let subject = subjects.next().ok_or("signed for another digest")?;
    if subjects.next().is_some() {
        return Err("signed for one digest twice");
    }
    Ok(subject.annotations)
}

fn annotations(ours: Ours) -> Option<Annotations> {
    let (serial, grants) = (ours.serial?, ours.grants?);
    let annotations = Annotations {
        app: ours.app?,
        version: ours.version?,
        serial: serial
            .parse()
            .ok()
            .filter(|n: &u64| n.to_string() == serial)?,
        grants: grants
            .split(',')
            .filter(|g| !g.is_empty())
            .map(String::from)
            .collect(),
    };
    (valid_app(&annotations.app) && valid_version(&annotations.version)).then_some(annotations)
}
