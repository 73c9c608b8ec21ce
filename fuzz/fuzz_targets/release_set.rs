//! Release sets and their proofs: what is read is written again in the same bytes, and
//! nothing that no key has signed is verified.
#![no_main]

use std::sync::LazyLock;

use edge_signature::set::{ReleaseSet, SetKeys, SetProof, manifest};
use edge_signature::{Keys, Manifest, Repository};
use libfuzzer_sys::fuzz_target;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

static TRUSTED: LazyLock<SetKeys> = LazyLock::new(|| {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let keys = Keys::from_pems(&[key.public_key_to_pem().unwrap()]).unwrap();
    SetKeys { keys, threshold: 1 }
});

fuzz_target!(|bytes: &[u8]| {
    let repository: Repository = "r.io/team".parse().unwrap();
    if let Ok(set) = ReleaseSet::parse(bytes) {
        assert_eq!(set.to_bytes().unwrap(), bytes);
        assert_eq!(set.ordered().len(), set.apps.len());
        let _ = (set.is_for("edge-ai-1"), set.is_revocation_list());
        let proof = SetProof::new(&manifest(bytes), bytes.to_vec(), Vec::new()).unwrap();
        assert!(proof.verify(&TRUSTED, &repository).is_err());
    }
    let _ = SetProof::new(&Manifest::new(bytes.to_vec()), b"{}".to_vec(), Vec::new());
    if let Ok(proof) = SetProof::parse(bytes) {
        assert!(proof.verify(&TRUSTED, &repository).is_err());
        assert_eq!(SetProof::parse(&proof.to_bytes()).unwrap(), proof);
    }
});
