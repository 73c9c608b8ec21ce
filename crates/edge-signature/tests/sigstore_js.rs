//! v3 bundles by edge-app, verified with `@sigstore/verify` under node. `interop/` does the same
//! for v2 signatures with the `sigstore` crate.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_signature::set::ReleaseSet;
use edge_signature::{Annotations, Digest, Draft, Format, Keys, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::Value;

/// Returns the directory into which `scripts/setup` installs the package.
fn packages() -> PathBuf {
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let directory = cache.or(home).unwrap().join("edge-ai/node/node_modules");
    let installed = directory.join("@sigstore/verify").exists();
    assert!(installed, "@sigstore/verify is missing: run scripts/setup");
    directory
}

/// Returns the error of the verifier, or `None` if it accepts the bundle.
fn rejection(directory: &Path, bundle: &[u8], key: &[u8]) -> Option<String> {
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
    let error = String::from_utf8(output.stderr).unwrap();
    (!output.status.success()).then_some(error)
}

fn key() -> Private {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

type Private = PKey<openssl::pkey::Private>;

/// Returns the bundles of an image and of a release set by one key, and the public key.
fn bundles(key: &Private) -> ([Vec<u8>; 2], Vec<u8>) {
    let public = key.public_key_to_pem().unwrap();
    let digest = Digest::of(b"manifest");
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: 7,
        grants: vec!["gpu".into()],
        run: None,
    };
    let image = "r.io/team:hello-v1".parse().unwrap();
    let mut set = ReleaseSet::new("revoked", 7, 0, &["*"]);
    set.revoked = vec![Digest::of(b"revoked")];
    let repository = "r.io/team".parse().unwrap();
    let drafts = [
        Draft::new(Format::V3, &image, &digest, &annotations),
        Draft::of_set(Format::V3, &repository, &digest, &set),
    ];
    let private = key.private_key_to_pem_pkcs8().unwrap();
    let keys = Keys::from_pems(&[&public]).unwrap();
    let complete = |draft: Draft| {
        let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
        draft.signed(signature).to_bundle(&keys).unwrap()
    };
    (drafts.map(complete), public)
}

#[test]
fn sigstore_js_accepts_the_bundles() {
    let directory = tempfile::tempdir().unwrap();
    let (bundles, public) = bundles(&key());
    let other = key().public_key_to_pem().unwrap();
    for valid in bundles {
        assert_eq!(rejection(directory.path(), &valid, &public), None);
        // A verifier that accepted everything would pass until here.
        let error = rejection(directory.path(), &valid, &other).unwrap();
        assert!(error.contains("hint"), "{error}");
        let mut changed: Value = serde_json::from_slice(&valid).unwrap();
        let payload = changed.pointer_mut("/dsseEnvelope/payload").unwrap();
        *payload = payload.as_str().unwrap().replacen('e', "f", 1).into();
        let error = rejection(directory.path(), changed.to_string().as_bytes(), &public).unwrap();
        assert!(error.contains("SIGNATURE_ERROR"), "{error}");
    }
}
