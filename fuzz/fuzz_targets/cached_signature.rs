//! Cached signatures that were changed on the disk: none is valid.
#![no_main]

use std::sync::LazyLock;

use edge_signature::{CachedSignature, Keys, Repository};
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
    let Ok(cached) = serde_json::from_slice::<CachedSignature>(bytes) else {
        return;
    };
    let repository: Repository = "r.io/team".parse().unwrap();
    assert!(cached.verify(&KEYS, &repository).is_err());
    let _ = (cached.image(), cached.image_id());
    let text = serde_json::to_vec(&cached).unwrap();
    assert_eq!(
        serde_json::from_slice::<CachedSignature>(&text).unwrap(),
        cached
    );
});
