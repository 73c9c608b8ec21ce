//! Team with a signing key.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_signature::Keys;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

pub struct Team {
    pub private: Vec<u8>,
    #[allow(dead_code)]
    pub public: Vec<u8>,
    pub keys: Keys,
}

pub fn team() -> Team {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let public = key.public_key_to_pem().unwrap();
    Team {
        private: key.private_key_to_pem_pkcs8().unwrap(),
        keys: Keys::from_pems(&[&public]).unwrap(),
        public,
    }
}
