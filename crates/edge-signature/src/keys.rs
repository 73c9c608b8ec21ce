//! Keys that count.

use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;

use crate::{Digest, Error};

/// Keys that count: P-256, as PEM public keys.
pub struct Keys(Vec<PKey<Public>>);

impl Keys {
    /// Reads each text as one PEM public key.
    ///
    /// # Errors
    /// None at all, not a key, or not P-256.
    pub fn from_pems<T: AsRef<[u8]>>(pems: &[T]) -> Result<Self, Error> {
        let keys: Result<Vec<_>, _> = pems.iter().map(|p| key(p.as_ref())).collect();
        match keys? {
            keys if keys.is_empty() => Err(Error::Malformed("no signing key is configured".into())),
            keys => Ok(Self(keys)),
        }
    }

    /// The key that signed `bytes`: SHA-256 of its DER form. The signature must
    /// be the one DER form of its two numbers.
    pub(crate) fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<Digest> {
        let canonical = EcdsaSig::from_der(signature).and_then(|s| s.to_der());
        if !canonical.is_ok_and(|der| der == signature) {
            return None;
        }
        let made = |key: &&PKey<Public>| {
            let verifier = Verifier::new(MessageDigest::sha256(), key);
            verifier
                .and_then(|mut v| v.verify_oneshot(signature, bytes))
                .unwrap_or(false)
        };
        let der = self.0.iter().find(made)?.public_key_to_der().ok()?;
        Some(Digest::of(&der))
    }
}

fn key(pem: &[u8]) -> Result<PKey<Public>, Error> {
    let bad = |why: &str| Error::Malformed(format!("signing key: {why}"));
    if pem.windows(10).filter(|w| w == b"-----BEGIN").count() > 1 {
        return Err(bad("one key a file, not several"));
    }
    let key = PKey::public_key_from_pem(pem).map_err(|_| bad("not a PEM public key"))?;
    let curve = key.ec_key().ok().and_then(|k| k.group().curve_name());
    if curve != Some(Nid::X9_62_PRIME256V1) {
        return Err(bad("not on curve P-256"));
    }
    Ok(key)
}
