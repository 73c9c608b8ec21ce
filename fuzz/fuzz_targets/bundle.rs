//! Bundles by others: none is signed by the trusted key.
#![no_main]

use std::sync::LazyLock;

use edge_signature::{Digest, Format, Keys, Repository, Select, Signed, verify};
use libfuzzer_sys::fuzz_target;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Keys::from_pems(&[key.public_key_to_pem().unwrap()]).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(signed) = Signed::from_bundle(bytes) else {
        return;
    };
    assert_eq!(signed.format(), Format::V3);
    let repository: Repository = "r.io/team".parse().unwrap();
    assert!(verify(&KEYS, &repository, &Digest::of(bytes), &[signed], Select::Newest).is_err());
});
