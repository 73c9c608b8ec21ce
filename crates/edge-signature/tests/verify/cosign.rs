//! Signatures by cosign 2.6.5.

use edge_signature::{Error, Keys, Select, Signed, verify};
use serde_json::Value;

const PAYLOAD: &[u8] = include_bytes!("../cosign-2.6.5/payload.json");
const MANIFEST: &[u8] = include_bytes!("../cosign-2.6.5/sig-manifest.json");
pub const KEY: &[u8] = include_bytes!("../cosign-2.6.5/cosign265.pub");
const DIGEST: &str = "sha256:188f1926f462ac12509d22f7393dbcb614747cb3d706241df187898effefb47f";
pub const BUNDLE: &[u8] = include_bytes!("../cosign-2.6.5/bundle.json");
/// Cosign's fixture has no `edge.*` annotations: this reason means that key, signature, digest
/// and repository are valid.
const VALID_WITHOUT_ANNOTATIONS: &str = "missing or invalid edge.* annotations";

fn cosign_signature() -> String {
    let manifest: Value = serde_json::from_slice(MANIFEST).unwrap();
    let text = &manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"];
    text.as_str().unwrap().into()
}

/// Beginning of the reason why a signature by another key does not count.
const OTHER_KEY: &str = "signed by a key that is not trusted";

fn reason(payload: &[u8], signature: &str, key: &[u8], digest: &str, repository: &str) -> String {
    match Signed::from_text(payload.to_vec(), signature) {
        Some(signed) => rejection_of(signed, key, digest, repository),
        None => "base64".into(),
    }
}

fn rejection_of(signed: Signed, key: &[u8], digest: &str, repository: &str) -> String {
    let Ok(keys) = Keys::from_pems(&[key]) else {
        return "key".into();
    };
    let (Ok(digest), Ok(repository)) = (digest.parse(), repository.parse()) else {
        return "name".into();
    };
    match verify(&keys, &repository, &digest, &[signed], Select::Newest) {
        // The names of keys follow.
        Err(Error::Untrusted(why)) if why.starts_with(OTHER_KEY) => OTHER_KEY.into(),
        Err(Error::Untrusted(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_v2_signature_is_valid() {
    let rejection = reason(
        PAYLOAD,
        &cosign_signature(),
        KEY,
        DIGEST,
        "localhost:5601/c/cos2",
    );
    assert_eq!(rejection, VALID_WITHOUT_ANNOTATIONS);
    let multi_line = cosign_signature().replace('M', "M\n");
    assert_eq!(
        reason(PAYLOAD, &multi_line, KEY, DIGEST, "localhost:5601/c/cos2"),
        VALID_WITHOUT_ANNOTATIONS
    );
    let rejection = reason(
        PAYLOAD,
        &cosign_signature(),
        KEY,
        DIGEST,
        "localhost:5601/c/cos3",
    );
    assert_eq!(rejection, "signed for another repository");
}

#[test]
fn no_changed_bit_of_a_v2_signature_is_valid() {
    let signature = cosign_signature();
    let repository = "localhost:5601/c/cos2";
    for index in 0..PAYLOAD.len() {
        for bit in 0..8 {
            let mut changed = PAYLOAD.to_vec();
            changed[index] ^= 1 << bit;
            let rejection = reason(&changed, &signature, KEY, DIGEST, repository);
            assert_eq!(rejection, OTHER_KEY, "payload byte {index}");
        }
    }
    use base64::Engine as _;
    let der = base64::prelude::BASE64_STANDARD.decode(&signature).unwrap();
    for index in 0..der.len() {
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[index] ^= 1 << bit;
            let text = base64::prelude::BASE64_STANDARD.encode(changed);
            let rejection = reason(PAYLOAD, &text, KEY, DIGEST, repository);
            assert_eq!(rejection, OTHER_KEY, "signature byte {index}");
        }
    }
    assert_other_keys_and_digests_fail(|key, digest| {
        reason(PAYLOAD, &signature, key, digest, repository)
    });
}

/// Changes each byte of the key and each digit of the digest.
fn assert_other_keys_and_digests_fail(reason: impl Fn(&[u8], &str) -> String) {
    let body = 27..KEY.len() - 26;
    for index in body.filter(|i| !b"\n=".contains(&KEY[*i])) {
        let mut changed = KEY.to_vec();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let rejection = reason(&changed, DIGEST);
        assert!(
            ["key", OTHER_KEY].contains(&&*rejection),
            "key byte {index}: {rejection}"
        );
    }
    for index in 7..DIGEST.len() {
        let mut changed = DIGEST.as_bytes().to_vec();
        changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(reason(KEY, &changed), "signed for another digest");
    }
}

#[test]
fn the_bundle_is_valid_and_no_changed_byte_of_it() {
    let repository = "r.io/any";
    let open = |bytes: &[u8]| Signed::from_bundle(bytes);
    let reason = |bytes: &[u8]| match open(bytes) {
        Ok(signed) => rejection_of(signed, KEY, DIGEST, repository),
        Err(error) => error.to_string(),
    };
    assert_eq!(reason(BUNDLE), VALID_WITHOUT_ANNOTATIONS);
    let bundle: Value = serde_json::from_slice(BUNDLE).unwrap();
    use base64::Engine as _;
    let base64 = base64::prelude::BASE64_STANDARD;
    for place in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let bytes = base64.decode(bundle.pointer(place).unwrap().as_str().unwrap());
        let bytes = bytes.unwrap();
        for bit in 0..bytes.len() * 8 {
            let (mut document, mut changed) = (bundle.clone(), bytes.clone());
            changed[bit / 8] ^= 1 << (bit % 8);
            *document.pointer_mut(place).unwrap() = base64.encode(changed).into();
            let rejection = reason(document.to_string().as_bytes());
            assert_eq!(rejection, OTHER_KEY, "{place} bit {bit}");
        }
    }
    let signed = open(BUNDLE).unwrap();
    assert_other_keys_and_digests_fail(|key, digest| {
        rejection_of(signed.clone(), key, digest, repository)
    });
    // The text before the envelope is not signed.
    for index in 0..BUNDLE.len() {
        let mut changed = BUNDLE.to_vec();
        changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
        let envelope = BUNDLE.windows(14).position(|w| w == b"\"dsseEnvelope\"");
        if index >= envelope.unwrap() {
            assert_ne!(reason(&changed), VALID_WITHOUT_ANNOTATIONS, "byte {index}");
        }
    }
}
