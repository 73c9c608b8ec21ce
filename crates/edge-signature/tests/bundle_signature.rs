//! Signatures of bundles by the key of OS images, verified by OpenSSL's `cms` and by RAUC.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_signature::{BundleSignature, Keys, keyring, sign_with_pem, signed_manifest};
use edge_sim::testbed::{Bundle, rauc, run};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sha::sha256;

const TIME: &str = "2026-11-26T18:49:34Z";
const MANIFEST: &[u8] = b"[update]\ncompatible=board\n\n[bundle]\nformat=verity\n";

struct Key {
    private: Vec<u8>,
    keys: Keys,
}

fn key() -> Key {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Key {
        private: key.private_key_to_pem_pkcs8().unwrap(),
        keys: Keys::from_pems(&[key.public_key_to_pem().unwrap()]).unwrap(),
    }
}

fn sign(manifest: &[u8], key: &Key) -> Vec<u8> {
    let signature = BundleSignature::new(manifest, &key.keys, TIME).unwrap();
    let made = sign_with_pem(&key.private, &signature.to_sign()).unwrap().0;
    signature.finish(&made)
}

/// Verifies as `openssl cms` does, for a purpose; returns the content.
fn openssl(
    directory: &Path,
    signature: &[u8],
    key: &Key,
    purpose: &str,
) -> Result<Vec<u8>, String> {
    let [cms, anchors, out] = ["cms", "anchors", "out"].map(|n| directory.join(n));
    fs::write(&cms, signature).unwrap();
    fs::write(&anchors, keyring(&key.keys).unwrap()).unwrap();
    let mut command = Command::new("openssl");
    command.args([
        "cms", "-verify", "-binary", "-inform", "DER", "-purpose", purpose, "-in",
    ]);
    command.args([
        &cms,
        Path::new("-CAfile"),
        &anchors,
        Path::new("-out"),
        &out,
    ]);
    match run(&mut command) {
        (0, _) => Ok(fs::read(out).unwrap()),
        (_, text) => Err(text),
    }
}

#[test]
fn openssl_accepts_the_signature_of_the_key_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (key(), key());
    let signature = sign(MANIFEST, &ours);
    for purpose in ["smimesign", "any"] {
        let content = openssl(directory.path(), &signature, &ours, purpose);
        assert_eq!(content.unwrap(), MANIFEST);
    }
    let refused = openssl(directory.path(), &signature, &other, "any").unwrap_err();
    assert!(refused.contains("erif"), "{refused}");
    assert_eq!(
        signed_manifest(&signature, Some(&ours.keys)).unwrap(),
        MANIFEST
    );
    assert_eq!(signed_manifest(&signature, None).unwrap(), MANIFEST);
    assert!(signed_manifest(&signature, Some(&other.keys)).is_err());
    // Each byte is signed, compared with the anchor, or makes the message malformed.
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        let read = signed_manifest(&changed, Some(&ours.keys));
        assert!(read.is_err() || read.unwrap() == MANIFEST, "byte {at}");
        assert!(signed_manifest(&signature[..at], Some(&ours.keys)).is_err());
    }
    // The certificate, which is public, with a signature by another key.
    let forged = BundleSignature::new(MANIFEST, &ours.keys, TIME).unwrap();
    let made = sign_with_pem(&other.private, &forged.to_sign()).unwrap().0;
    let forged = forged.finish(&made);
    assert!(signed_manifest(&forged, Some(&ours.keys)).is_err());
    assert!(openssl(directory.path(), &forged, &ours, "any").is_err());
}

/// Replaces the signature of a bundle.
fn resign(bundle: &Path, key: &Key) -> Vec<u8> {
    let bytes = fs::read(bundle).unwrap();
    let (rest, size) = bytes.split_last_chunk().unwrap();
    let size = usize::try_from(u64::from_be_bytes(*size)).unwrap();
    let (payload, signature) = rest.split_at(rest.len() - size);
    let manifest = signed_manifest(signature, None).unwrap();
    let signature = sign(&manifest, key);
    let size = u64::try_from(signature.len()).unwrap().to_be_bytes();
    fs::write(bundle, [payload, &signature, &size].concat()).unwrap();
    manifest
}

fn info(bundle: &Path, anchors: &Path) -> (i32, String) {
    run(Command::new(rauc())
        .args(["-C", "keyring:check-purpose=codesign", "-C"])
        .args(["keyring:use-bundle-signing-time=true", "info", "--keyring"])
        .args([anchors, bundle]))
}

#[test]
fn rauc_accepts_the_signature_of_the_keys_alone() {
    let directory = tempfile::tempdir().unwrap();
    let rootfs: Vec<u8> = (0..64u32)
        .flat_map(|i| [sha256(&i.to_le_bytes()); 256])
        .flatten()
        .collect();
    let bundle = Bundle {
        compatible: "board",
        version: "2026.11",
        rootfs: &rootfs,
    };
    let bundle: PathBuf = bundle.build(directory.path());
    let anchors = directory.path().join("anchors.pem");
    // The old and the new key of a rotation are both trusted.
    let (old, new, stranger) = (key(), key(), key());
    let both = [&old, &new].map(|k| keyring(&k.keys).unwrap()).concat();
    fs::write(&anchors, both).unwrap();
    let (code, text) = info(&bundle, &anchors);
    assert_ne!(
        code, 0,
        "the throw-away key of the build is trusted: {text}"
    );
    for ours in [&old, &new] {
        let manifest = resign(&bundle, ours);
        let (code, text) = info(&bundle, &anchors);
        assert_eq!(code, 0, "{text}");
        let hash = edge_common::hex::encode(sha256(&manifest));
        assert!(text.contains(&hash), "{text}");
        assert!(text.contains("2026.11"), "{text}");
    }
    resign(&bundle, &stranger);
    let (code, text) = info(&bundle, &anchors);
    assert_ne!(code, 0, "{text}");
}
