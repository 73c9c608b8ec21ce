//! Our v3 bundles before other people's verifier: `@sigstore/verify`, run by
//! node. That of our v2 signatures is in `interop/`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_signature::{Annotations, Digest, Draft, Format, Keys, Signed, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::Value;

/// Where `scripts/setup` puts it.
fn packages() -> PathBuf {
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let directory = cache.or(home).unwrap().join("edge-ai/node/node_modules");
    let there = directory.join("@sigstore/verify").exists();
    assert!(there, "@sigstore/verify is missing: run scripts/setup");
    directory
}

/// What node says; nothing when it accepts.
fn refused(directory: &Path, bundle: &[u8], key: &[u8]) -> Option<String> {
    let paths = [directory.join("bundle"), directory.join("key")];
    for (path, content) in paths.iter().zip([bundle, key]) {
        fs::write(path, content).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/verify.js");
    let output = Command::new("node")
        .env("NODE_PATH", packages())
        .arg(script)
        .args(paths)
        .output()
        .expect("node is missing: run scripts/setup");
    let said = String::from_utf8(output.stderr).unwrap();
    (!output.status.success()).then_some(said)
}

fn key() -> PKey<openssl::pkey::Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn bundle(key: &PKey<openssl::pkey::Private>) -> (Vec<u8>, Vec<u8>) {
    let public = key.public_key_to_pem().unwrap();
    let digest = Digest::of(b"manifest");
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        serial: 7,
        grants: vec!["gpu".into()],
    };
    let image = "r.io/team:hello-v1".parse().unwrap();
    let draft = Draft::new(Format::V3, &image, &digest, &annotations);
    let private = key.private_key_to_pem_pkcs8().unwrap();
    let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
    let keys = Keys::from_pems(&[&public]).unwrap();
    let signed: Signed = draft.signed(signature);
    (signed.to_bundle(&keys).unwrap(), public)
}

#[test]
fn sigstores_javascript_accepts_our_bundles() {
    let directory = tempfile::tempdir().unwrap();
    let (good, public) = bundle(&key());
    assert_eq!(refused(directory.path(), &good, &public), None);
    // It refuses what is changed, so it did look.
    let other = key().public_key_to_pem().unwrap();
    let said = refused(directory.path(), &good, &other).unwrap();
    assert!(said.contains("hint"), "{said}");
    let mut bad: Value = serde_json::from_slice(&good).unwrap();
    let payload = bad.pointer_mut("/dsseEnvelope/payload").unwrap();
    *payload = payload.as_str().unwrap().replacen('e', "f", 1).into();
    let said = refused(directory.path(), bad.to_string().as_bytes(), &public).unwrap();
    assert!(said.contains("SIGNATURE_ERROR"), "{said}");
}
