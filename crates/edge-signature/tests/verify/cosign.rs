//! What cosign 2.6.5 signed.

use edge_signature::{Error, Keys, Signed, verify};
use serde_json::Value;

const PAYLOAD: &[u8] = include_bytes!("../cosign-2.6.5/payload.json");
const MANIFEST: &[u8] = include_bytes!("../cosign-2.6.5/sig-manifest.json");
pub const KEY: &[u8] = include_bytes!("../cosign-2.6.5/cosign265.pub");
const DIGEST: &str = "sha256:188f1926f462ac12509d22f7393dbcb614747cb3d706241df187898effefb47f";
pub const BUNDLE: &[u8] = include_bytes!("../cosign-2.6.5/bundle.json");
/// Cosign's fixture has no `edge.*` annotations: reaching this reason means
/// that key, signature, digest and repository were found good.
const GOOD_BUT_OURS: &str = "signed without good edge.* annotations";

fn cosign_signature() -> String {
    let manifest: Value = serde_json::from_slice(MANIFEST).unwrap();
    let text = &manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"];
    text.as_str().unwrap().into()
}

fn reason(payload: &[u8], signature: &str, key: &[u8], digest: &str, repository: &str) -> String {
    match Signed::from_text(payload.to_vec(), signature) {
        Some(signed) => judgement(signed, key, digest, repository),
        None => "base64".into(),
    }
}

fn judgement(signed: Signed, key: &[u8], digest: &str, repository: &str) -> String {
    let Ok(keys) = Keys::from_pems(&[key]) else {
        return "key".into();
    };
    let (Ok(digest), Ok(repository)) = (digest.parse(), repository.parse()) else {
        return "name".into();
    };
    match verify(&keys, &repository, &digest, &[signed]) {
        Err(Error::Untrusted(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cosigns_own_signature_is_good() {
    let said = reason(
        PAYLOAD,
        &cosign_signature(),
        KEY,
        DIGEST,
        "localhost:5601/c/cos2",
    );
    assert_eq!(said, GOOD_BUT_OURS);
    let broken = cosign_signature().replace('M', "M\n");
    assert_eq!(
        reason(PAYLOAD, &broken, KEY, DIGEST, "localhost:5601/c/cos2"),
        GOOD_BUT_OURS
    );
    let said = reason(
        PAYLOAD,
        &cosign_signature(),
        KEY,
        DIGEST,
        "localhost:5601/c/cos3",
    );
    assert_eq!(said, "signed for another repository");
}

#[test]
fn no_byte_of_it_may_change() {
    let signature = cosign_signature();
    let repository = "localhost:5601/c/cos2";
    for index in 0..PAYLOAD.len() {
        for bit in 0..8 {
            let mut bad = PAYLOAD.to_vec();
            bad[index] ^= 1 << bit;
            let said = reason(&bad, &signature, KEY, DIGEST, repository);
            assert_eq!(
                said, "signed by a key that is not trusted",
                "payload byte {index}"
            );
        }
    }
    use base64::Engine as _;
    let der = base64::prelude::BASE64_STANDARD.decode(&signature).unwrap();
    for index in 0..der.len() {
        for bit in 0..8 {
            let mut bad = der.clone();
            bad[index] ^= 1 << bit;
            let text = base64::prelude::BASE64_STANDARD.encode(bad);
            let said = reason(PAYLOAD, &text, KEY, DIGEST, repository);
            assert_eq!(
                said, "signed by a key that is not trusted",
                "signature byte {index}"
            );
        }
    }
    other_keys_and_digests(|key, digest| reason(PAYLOAD, &signature, key, digest, repository));
}

/// Every byte of the key and every digit of the digest, changed.
fn other_keys_and_digests(reason: impl Fn(&[u8], &str) -> String) {
    let body = 27..KEY.len() - 26;
    for index in body.filter(|i| !b"\n=".contains(&KEY[*i])) {
        let mut bad = KEY.to_vec();
        bad[index] = if bad[index] == b'A' { b'B' } else { b'A' };
        let said = reason(&bad, DIGEST);
        assert!(
            ["key", "signed by a key that is not trusted"].contains(&&*said),
            "key byte {index}: {said}"
        );
    }
    for index in 7..DIGEST.len() {
        let mut bad = DIGEST.as_bytes().to_vec();
        bad[index] = if bad[index] == b'0' { b'1' } else { b'0' };
        let bad = String::from_utf8(bad).unwrap();
        assert_eq!(reason(KEY, &bad), "signed for another digest");
    }
}

#[test]
fn cosigns_own_bundle_is_good_and_no_byte_of_it_may_change() {
    let repository = "r.io/any";
    let open = |bytes: &[u8]| Signed::from_bundle(bytes);
    let reason = |bytes: &[u8]| match open(bytes) {
        Ok(signed) => judgement(signed, KEY, DIGEST, repository),
        Err(error) => error.to_string(),
    };
    assert_eq!(reason(BUNDLE), GOOD_BUT_OURS);
    let bundle: Value = serde_json::from_slice(BUNDLE).unwrap();
    use base64::Engine as _;
    let base64 = base64::prelude::BASE64_STANDARD;
    for place in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let bytes = base64.decode(bundle.pointer(place).unwrap().as_str().unwrap());
        let bytes = bytes.unwrap();
        for bit in 0..bytes.len() * 8 {
            let (mut bad, mut changed) = (bundle.clone(), bytes.clone());
            changed[bit / 8] ^= 1 << (bit % 8);
            *bad.pointer_mut(place).unwrap() = base64.encode(changed).into();
            let said = reason(bad.to_string().as_bytes());
            assert_eq!(
                said, "signed by a key that is not trusted",
                "{place} bit {bit}"
            );
        }
    }
    let signed = open(BUNDLE).unwrap();
    other_keys_and_digests(|key, digest| judgement(signed.clone(), key, digest, repository));
    // Of the text itself, what stands before the envelope is not signed.
    for index in 0..BUNDLE.len() {
        let mut bad = BUNDLE.to_vec();
        bad[index] = if bad[index] == b'x' { b'y' } else { b'x' };
        let envelope = BUNDLE.windows(14).position(|w| w == b"\"dsseEnvelope\"");
        if index >= envelope.unwrap() {
            assert_ne!(reason(&bad), GOOD_BUT_OURS, "byte {index}");
        }
    }
}
