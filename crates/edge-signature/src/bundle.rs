//! Cosign's v3 form: an in-toto statement in a DSSE envelope in a bundle.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::manifest::json as parse;
use crate::verify::LARGEST_PAYLOAD;
use crate::{Annotations, Digest, Error, Keys, Signed};

/// Media type of the bundles that are taken and made.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Largest bundle that is taken, in bytes.
pub const LARGEST_BUNDLE: u64 = 128 * 1024;
/// `payloadType` of the envelope.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// `_type` of the statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of the statement.
pub const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "mediaType")]
    media_type: String,
    #[serde(rename = "dsseEnvelope")]
    envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// What a bundle holds. Its hint and further evidence are not signed and not
/// believed; the payload stays unread until its signature is found good.
///
/// # Errors
/// Not a bundle of this form.
pub fn open(bytes: &[u8]) -> Result<Signed, Error> {
    let bad = |why: &str| Error::Malformed(format!("a signature bundle: {why}"));
    let bundle: Bundle = parse(bytes).map_err(|e| bad(&e))?;
    let envelope = bundle.envelope;
    if bundle.media_type != BUNDLE || envelope.payload_type != IN_TOTO {
        return Err(bad("not of a type that is taken"));
    }
    let [signature] = &envelope.signatures[..] else {
        return Err(bad("not exactly one signature"));
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| bad("not base64"));
    let payload = decode(&envelope.payload)?;
    if payload.len() > LARGEST_PAYLOAD {
        return Err(bad("a payload that is too large"));
    }
    Ok(Signed::statement(payload, decode(&signature.sig)?))
}

/// The bundle that holds `signed`, which must be by one of `keys`.
pub fn close(signed: &Signed, keys: &Keys) -> Result<Vec<u8>, Error> {
    let signer = signed
        .signer(keys)
        .ok_or_else(|| Error::Malformed("a signature by another key".into()))?;
    let hint = STANDARD.encode(bytes_of(&signer));
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": hint } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(signed.payload()),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": signed.text() }],
        },
    });
    Ok(bundle.to_string().into_bytes())
}

fn bytes_of(digest: &Digest) -> Vec<u8> {
    let pairs = digest.hex().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(byte).collect()
}

/// The statement that says `annotations` of the image `digest`.
pub fn statement(digest: &Digest, annotations: &Annotations) -> Vec<u8> {
    let document = json!({
        "_type": STATEMENT,
        "subject": [{
            "digest": { "sha256": digest.hex() },
            "annotations": annotations.to_map(),
        }],
        "predicateType": PREDICATE,
        "predicate": {},
    });
    document.to_string().into_bytes()
}

/// What is signed: type and payload, each with its length.
pub fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}
