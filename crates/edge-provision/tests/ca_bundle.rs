//! The CA bundle of the image is Amazon's four roots and nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use openssl::hash::MessageDigest;
use openssl::x509::X509;

/// SHA-256 fingerprints, as <https://www.amazontrust.com/repository/> lists them.
const ROOTS: [(&str, &str); 4] = [
    (
        "Amazon Root CA 1",
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    ),
    (
        "Amazon Root CA 2",
        "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    ),
    (
        "Amazon Root CA 3",
        "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    ),
    (
        "Amazon Root CA 4",
        "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    ),
];

#[test]
fn the_image_trusts_amazons_four_roots() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/ca");
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let pem = fs::read(entry.unwrap().path()).unwrap();
        for certificate in X509::stack_from_pem(&pem).unwrap() {
            let digest = certificate.digest(MessageDigest::sha256()).unwrap();
            let digest = edge_common::hex::encode(&*digest);
            let name = certificate.subject_name().entries().last().unwrap();
            let name = String::from_utf8(name.data().as_slice().to_vec()).unwrap();
            let key = certificate.public_key().unwrap();
            assert!(certificate.verify(&key).unwrap(), "{name} is not a root");
            found.push((name, digest));
        }
    }
    found.sort();
    let expected = ROOTS.map(|(name, digest)| (name.to_string(), digest.to_string()));
    assert_eq!(found, expected);
}
