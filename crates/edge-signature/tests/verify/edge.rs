//! Signatures by edge-app, and malformed ones by the same key.

use edge_signature::{
    Annotations, CachedSignature, Digest, Draft, Error, Format, ImageRef, Keys, Manifest,
    Repository, Select, Signed, Verified, payload, sign_with_pem, verify,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::cosign::{BUNDLE, KEY};
use crate::keys::{Team, team};

fn image() -> (ImageRef, Repository, Digest) {
    let image: ImageRef = "r.io/team:hello-v1".parse().unwrap();
    (image.clone(), image.repository, Digest::of(b"manifest"))
}

fn sign(team: &Team, payload: Vec<u8>) -> Signed {
    let signature = sign_with_pem(&team.private, &payload).unwrap().0;
    Signed::new(payload, signature)
}

fn verify_payload(team: &Team, payload: &str) -> Result<Verified, String> {
    let (_, repository, digest) = image();
    let signed = sign(team, payload.into());
    verify(&team.keys, &repository, &digest, &[signed], Select::Newest).map_err(|e| e.to_string())
}

pub fn annotations(grants: &[&str]) -> Annotations {
    Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: 7,
        grants: grants.iter().map(ToString::to_string).collect(),
        run: None,
    }
}

fn valid(team: &Team) -> Signed {
    let (image, _, digest) = image();
    sign(
        team,
        payload(&image, &digest, &annotations(&["gpu", "net=host"])),
    )
}

#[test]
fn one_trusted_signature_among_others_suffices() {
    let (us, them) = (team(), team());
    let (_, repository, digest) = image();
    let signatures = [
        valid(&them),
        Signed::new(b"{}".to_vec(), vec![0; 70]),
        valid(&us),
    ];
    let verified = verify(&us.keys, &repository, &digest, &signatures, Select::Newest).unwrap();
    assert_eq!(verified.annotations.app, "hello");
    assert_eq!(verified.annotations.release_number, 7);
    assert_eq!(verified.annotations.grants, ["gpu", "net=host"]);
    assert_eq!(verified.signer.len(), 64);
    let error = verify(
        &us.keys,
        &repository,
        &digest,
        &signatures[..2],
        Select::Newest,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no trusted signature: signed by a key that is not trusted; trusted: {}",
            &verified.signer[..16]
        )
    );
    let error = verify(&us.keys, &repository, &digest, &[], Select::Newest).unwrap_err();
    assert!(matches!(error, Error::Unsigned(_)), "{error}");
}

#[test]
fn payloads_for_something_else_are_rejected() {
    let team = team();
    let text = String::from_utf8(valid(&team).payload().to_vec()).unwrap();
    assert!(verify_payload(&team, &text).is_ok());
    let digest = Digest::of(b"manifest").to_string();
    let cases = [
        (
            text.replace(&digest, Digest::of(b"x").as_str()),
            "another digest",
        ),
        (
            text.replace("r.io/team", "r.io/other"),
            "another repository",
        ),
        (
            text.replace("r.io/team", "evil.io/r.io/team"),
            "another repository",
        ),
        (
            text.replace(
                "cosign container image signature",
                "atomic container signature",
            ),
            "type",
        ),
        (text.replace("\"hello\"", "\"../hello\""), "annotations"),
        (text.replace("\"hello\"", "\"Hello\""), "annotations"),
        (text.replace("\"edge.app\"", "\"edge.App\""), "annotations"),
        (text.replace("\"7\"", "\"-7\""), "annotations"),
        (
            text.replace("\"7\"", "\"18446744073709551616\""),
            "annotations",
        ),
        (text.replace("\"v1\"", "\"v1 \""), "annotations"),
        (text.replace("\"type\"", "\"Type\""), "payload"),
        (text.replacen('{', "{\"critical\":{},", 1), "payload"),
        (
            text.replace("\"edge.app\"", "\"edge.app\":\"b\",\"edge.app\""),
            "payload",
        ),
        (format!("{text} {{}}"), "payload"),
        (text[..text.len() - 1].into(), "payload"),
        (String::new(), "payload"),
        ("[".repeat(60_000), "payload"),
        (format!("{text}{}", " ".repeat(70_000)), "too large"),
    ];
    for (changed, expected) in cases {
        let error = verify_payload(&team, &changed).unwrap_err();
        assert!(
            error.contains(expected),
            "{expected}: {error}: {changed:.300}"
        );
    }
}

#[test]
fn a_malformed_digest_of_the_run_specification_invalidates_the_signature() {
    let team = team();
    let text = String::from_utf8(valid(&team).payload().to_vec()).unwrap();
    let digest = Digest::of(b"specification").to_string();
    let with_run = |value: &str| {
        let stated = format!("\"edge.run\":{value},\"edge.app\"");
        verify_payload(&team, &text.replace("\"edge.app\"", &stated))
    };
    let verified = with_run(&format!("\"{digest}\"")).unwrap();
    assert_eq!(verified.annotations.run, Some(digest.parse().unwrap()));
    for (value, expected) in [
        ("null".into(), "annotations"),
        ("\"\"".into(), "annotations"),
        ("\"sha256:0\"".into(), "annotations"),
        (format!("\"{}\"", digest.to_uppercase()), "annotations"),
        (format!("\"{}\"", &digest[7..]), "annotations"),
        (format!("\" {digest}\""), "annotations"),
        (format!("\"{digest}\\n\""), "annotations"),
        (format!("\"{digest}\",\"edge.run\":\"{digest}\""), "payload"),
        ("{}".into(), "payload"),
    ] {
        let error = with_run(&value).unwrap_err();
        assert!(error.contains(expected), "{value}: {error}");
    }
}

fn verify_statement(team: &Team, statement: &str) -> Result<Verified, String> {
    let (_, repository, digest) = image();
    let kind = "application/vnd.in-toto+json";
    let pae = format!("DSSEv1 28 {kind} {} {statement}", statement.len());
    let signature = sign_with_pem(&team.private, pae.as_bytes()).unwrap().0;
    let signed = Signed::statement(statement.into(), signature);
    verify(&team.keys, &repository, &digest, &[signed], Select::Newest).map_err(|e| e.to_string())
}

#[test]
fn statements_for_something_else_are_rejected() {
    let team = team();
    let (image, _, digest) = image();
    let annotations = annotations(&["gpu"]);
    let draft = Draft::new(Format::V3, &image, &digest, &annotations);
    let signature = sign_with_pem(&team.private, &draft.to_sign()).unwrap().0;
    let valid = draft.signed(signature);
    let text = String::from_utf8(valid.payload().to_vec()).unwrap();
    assert_eq!(
        verify_statement(&team, &text).unwrap().annotations,
        annotations
    );
    let read = Signed::from_bundle(&valid.to_bundle(&team.keys).unwrap()).unwrap();
    let parts = |signed: &Signed| (signed.payload().to_vec(), signed.text());
    assert_eq!(parts(&read), parts(&valid));
    let subject = &text[text.find("[").unwrap() + 1..text.find("]").unwrap()];
    let cases = [
        (
            text.replace(digest.hex(), Digest::of(b"x").hex()),
            "another digest",
        ),
        (text.replace("sha256", "sha512"), "another digest"),
        (text.replace(subject, ""), "another digest"),
        (
            text.replace(subject, &format!("{subject},{subject}")),
            "signed twice",
        ),
        (text.replace("cosign/sign/v1", "cosign/sign/v2"), "type"),
        (text.replace("Statement/v1", "Statement/v0.1"), "type"),
        (text.replace("\"edge.app\"", "\"edge.App\""), "annotations"),
        (text.replace("edge.grants", "edge.grant"), "annotations"),
        (text.replace("annotations", "comments"), "annotations"),
        (text.replace("\"7\"", "7"), "in-toto"),
        (text.replace("\"7\"", "\"07\""), "annotations"),
        (text.replace("\"hello\"", "\"../hello\""), "annotations"),
        (
            text.replace("\"_type\"", "\"_type\":\"\",\"_type\""),
            "in-toto",
        ),
        (text[..text.len() - 1].into(), "in-toto"),
    ];
    for (changed, expected) in cases {
        let error = verify_statement(&team, &changed).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}: {changed}");
    }
    // A signature of one format is not valid in the other.
    let bytes = valid.payload().to_vec();
    let signature = sign_with_pem(&team.private, &bytes).unwrap().0;
    for signed in [
        Signed::statement(bytes.clone(), signature.clone()),
        Signed::new(bytes, signature),
    ] {
        let verified = verify(
            &team.keys,
            &image.repository,
            &digest,
            &[signed],
            Select::Newest,
        );
        assert!(verified.is_err());
    }
}

#[test]
fn malformed_bundles_are_rejected() {
    let valid: Value = serde_json::from_slice(BUNDLE).unwrap();
    for (place, value) in [
        (
            "/mediaType",
            json!("application/vnd.dev.sigstore.bundle.v0.2+json"),
        ),
        (
            "/mediaType",
            json!("application/vnd.dev.sigstore.bundle+json;version=0.3"),
        ),
        ("/dsseEnvelope/payloadType", json!("text/plain")),
        ("/dsseEnvelope/signatures", json!([])),
        (
            "/dsseEnvelope/signatures",
            json!([{ "sig": "MA==" }, { "sig": "MA==" }]),
        ),
        ("/dsseEnvelope/signatures/0/sig", json!("MA")),
        ("/dsseEnvelope/payload", json!("%")),
        ("/dsseEnvelope/payload", json!("AAAA".repeat(30_000))),
        ("/dsseEnvelope", json!(null)),
    ] {
        let mut malformed = valid.clone();
        *malformed.pointer_mut(place).unwrap() = value;
        assert!(
            Signed::from_bundle(malformed.to_string().as_bytes()).is_err(),
            "{place}"
        );
    }
}

#[test]
fn other_keys_are_rejected() {
    assert!(Keys::from_pems::<Vec<u8>>(&[]).is_err());
    let p384 = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let p384 = PKey::from_ec_key(EcKey::generate(&p384).unwrap()).unwrap();
    let rsa = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    for (pem, expected) in [
        (p384.public_key_to_pem().unwrap(), "P-256"),
        (rsa.public_key_to_pem().unwrap(), "P-256"),
        (team().private, "not a PEM public key"),
        (KEY[..80].to_vec(), "not a PEM public key"),
        (Vec::new(), "not a PEM public key"),
        (KEY.repeat(2), "one file per key"),
        (vec![b'x'; 100_000], "not a PEM public key"),
    ] {
        let error = Keys::from_pems(&[&pem]).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for pem in [
        &b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\nAAAA\n"[..],
        b"",
        KEY,
    ] {
        let error = sign_with_pem(pem, b"x").unwrap_err().to_string();
        assert!(error.contains("PKCS#8"), "{error}");
    }
}

/// Names whose value has a default: a changed name is an unknown field, which is ignored.
const OPTIONAL: [&str; 2] = ["\"v\"", "\"format\""];

#[test]
fn a_cached_signature_is_valid_and_no_changed_byte_of_it() {
    let team = team();
    let (image, repository, _) = image();
    let bytes = br#"{"schemaVersion":2,"config":{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[]}"#;
    let manifest = Manifest::new(bytes.to_vec());
    let signed = sign(&team, payload(&image, &manifest.digest, &annotations(&[])));
    let cached = CachedSignature::new(&manifest, vec![signed]);
    assert_eq!(
        cached.verify(&team.keys, &repository).unwrap().digest,
        manifest.digest
    );
    assert!(cached.image_id().unwrap().as_str().ends_with("0000"));
    let text = serde_json::to_vec(&cached).unwrap();
    let places = OPTIONAL.map(|name| {
        let start = String::from_utf8_lossy(&text).find(name).unwrap() + 1;
        start..start + name.len() - 2
    });
    for index in (0..text.len()).filter(|i| !places.iter().any(|p| p.contains(i))) {
        let mut changed = text.clone();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let verified = serde_json::from_slice::<CachedSignature>(&changed)
            .ok()
            .and_then(|c| c.verify(&team.keys, &repository).ok());
        assert!(verified.is_none(), "byte {index}");
    }
}
