//! Cosign's v3 format: an in-toto statement in a DSSE envelope in a Sigstore bundle.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::annotations::Stated;
use crate::dsse::{Envelope, Role};
use crate::error::Error;
use crate::json;
use crate::reference::Digest;

/// Media type of a Sigstore bundle, version included: bundles of other versions have
/// other fields and are rejected.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Required `_type` of the in-toto statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` by which an in-toto statement is a signature by cosign.
pub(crate) const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "mediaType")]
    media_type: String,
    #[serde(rename = "dsseEnvelope")]
    envelope: Envelope,
    #[serde(rename = "verificationMaterial", default)]
    material: Value,
}

/// Content of a bundle, not verified.
pub(crate) struct Opened {
    pub(crate) payload: Vec<u8>,
    /// Signature in DER.
    pub(crate) signature: Vec<u8>,
    /// Fingerprint that the bundle states for its key, if it has cosign's form.
    pub(crate) stated_key: Option<Digest>,
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
    annotations: Option<Stated>,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Extracts the content of a bundle, without verifying it.
pub(crate) fn open(bytes: &[u8]) -> Result<Opened, Error> {
    let malformed = |reason: &str| Error::Malformed(format!("signature bundle: {reason}"));
    let bundle: Bundle = json::parse(bytes).map_err(|e| malformed(&e))?;
    if bundle.media_type != BUNDLE {
        return Err(malformed("unknown type"));
    }
    // The key hint and the transparency log's evidence beside the envelope are not signed
    // by a trusted key: the hint explains a refusal, the evidence is not read. The payload
    // is not parsed before it is verified.
    let (payload, signature) = bundle.envelope.open(Role::Container)?;
    Ok(Opened {
        payload,
        signature,
        stated_key: stated_key(&bundle.material),
    })
}

/// Returns the fingerprint in the key hint of a bundle, if the hint has cosign's form.
fn stated_key(material: &Value) -> Option<Digest> {
    let hint = STANDARD
        .decode(material["publicKey"]["hint"].as_str()?)
        .ok()?;
    let hex: String = hint.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().ok()
}

/// Builds a bundle from a payload and its Base64 signature. `signer` is the SHA-256 of
/// the public key that verifies the signature.
pub(crate) fn close(payload: &[u8], signature: &str, signer: &Digest) -> Vec<u8> {
    // Cosign finds the key of a bundle by this hint: the SHA-256 of the public key in
    // DER.
    let hint = STANDARD.encode(bytes_of(signer));
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": hint } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": Role::Container.payload_type(),
            "signatures": [{ "sig": signature }],
        },
    });
    bundle.to_string().into_bytes()
}

fn bytes_of(digest: &Digest) -> Vec<u8> {
    let pairs = digest.hex().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(byte).collect()
}

/// Returns the v3 payload: an in-toto statement that binds `annotations` to the manifest
/// `digest`.
pub(crate) fn statement(digest: &Digest, annotations: Map<String, Value>) -> Vec<u8> {
    let document = json!({
        "_type": STATEMENT,
        "subject": [{
            "digest": { "sha256": digest.hex() },
            "annotations": annotations,
        }],
        "predicateType": PREDICATE,
        "predicate": {},
    });
    document.to_string().into_bytes()
}

/// Parses an in-toto statement and returns the annotations of its subject with the digest
/// `digest`. Unlike a v2 payload, a statement contains no repository to compare.
pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Option<Stated>, &'static str> {
    let statement: Statement =
        json::parse(bytes).map_err(|_| "the payload does not have in-toto's form")?;
    // Attestations (build provenance, SBOM) are in-toto statements about the same digest,
    // perhaps signed by the same key. Only the predicate type distinguishes a signature
    // from them.
    if statement.kind != STATEMENT || statement.predicate != PREDICATE {
        return Err("the payload does not have cosign's type");
    }
    let matches = |s: &Subject| s.digest.sha256.as_deref() == Some(digest.hex());
    let mut subjects = statement.subject.into_iter().filter(matches);
    let subject = subjects.next().ok_or("signed for another digest")?;
    if subjects.next().is_some() {
        return Err("signed twice for one digest");
    }
    Ok(subject.annotations)
}
