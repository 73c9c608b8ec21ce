//! Payloads with a valid signature, in both formats: a trusted signer cannot state an invalid
//! name either.
#![no_main]

use std::sync::LazyLock;

use edge_signature::{Digest, Keys, Repository, Select, Signed, valid_app, valid_version, verify};
use libfuzzer_sys::fuzz_target;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

struct Team {
    key: PKey<Private>,
    keys: Keys,
    repository: Repository,
    digest: Digest,
}

static TEAM: LazyLock<Team> = LazyLock::new(|| {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Team {
        keys: Keys::from_pems(&[key.public_key_to_pem().unwrap()]).unwrap(),
        repository: "r.io/team".parse().unwrap(),
        digest: Digest::of(b"manifest"),
        key,
    }
});

/// Signs `payload` in the format that the lowest bit of `format` chooses.
fn signed(format: u8, payload: &[u8]) -> Signed {
    let sign = |bytes: &[u8]| {
        let mut signer = Signer::new(MessageDigest::sha256(), &TEAM.key).unwrap();
        signer.sign_oneshot_to_vec(bytes).unwrap()
    };
    if format & 1 == 0 {
        return Signed::new(payload.to_vec(), sign(payload));
    }
    let kind = "application/vnd.in-toto+json";
    let head = format!("DSSEv1 28 {kind} {} ", payload.len());
    let signature = sign(&[head.as_bytes(), payload].concat());
    Signed::statement(payload.to_vec(), signature)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((format, payload)) = bytes.split_first() else {
        return;
    };
    let signed = signed(*format, payload);
    let Ok(verified) = verify(&TEAM.keys, &TEAM.repository, &TEAM.digest, &[signed], Select::Newest) else {
        return;
    };
    let stated = verified.annotations;
    assert_eq!(verified.digest, TEAM.digest);
    assert!(valid_app(&stated.app) && valid_version(&stated.version));
    assert!(
        stated
            .grants
            .iter()
            .all(|g| !g.is_empty() && !g.contains(','))
    );
});
