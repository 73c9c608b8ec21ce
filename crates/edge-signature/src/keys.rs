//! Trusted public keys that verify signatures, and signing with a private key in PEM.

use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::{Signer, Verifier};

use crate::error::Error;
use crate::reference::Digest;

/// Public keys whose signatures are trusted. A signature by any one of them suffices, so
/// that a new key can be installed before the old one is removed.
pub struct Keys(Vec<PKey<Public>>);

impl Keys {
    /// Parses one PEM public key from each element of `pems`.
    ///
    /// # Errors
    /// `pems` is empty, or an element is not a single public key on curve P-256.
    pub fn from_pems<T: AsRef<[u8]>>(pems: &[T]) -> Result<Self, Error> {
        let keys: Result<Vec<_>, _> = pems.iter().map(|p| public_key(p.as_ref())).collect();
        match keys? {
            keys if keys.is_empty() => Err(Error::Malformed("no signing key is configured".into())),
            keys => Ok(Self(keys)),
        }
    }

    /// Returns the SHA-256 of the trusted key (in DER) that verifies `signature` over
    /// `bytes`; `None` if no trusted key does.
    pub(crate) fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<Digest> {
        // DER has exactly one encoding of the two numbers of a signature; any other one
        // is rejected. OpenSSL's own ECDSA also checks this, but an OpenSSL provider that
        // replaces it need not.
        let canonical = EcdsaSig::from_der(signature).and_then(|s| s.to_der());
        if !canonical.is_ok_and(|der| der == signature) {
            return None;
        }
        let is_signer = |key: &&PKey<Public>| {
            let verifier = Verifier::new(MessageDigest::sha256(), key);
            verifier
                .and_then(|mut v| v.verify_oneshot(signature, bytes))
                .unwrap_or(false)
        };
        let der = self.0.iter().find(is_signer)?.public_key_to_der().ok()?;
        Some(Digest::of(&der))
    }
}

fn public_key(pem: &[u8]) -> Result<PKey<Public>, Error> {
    let malformed = |reason: &str| Error::Malformed(format!("signing key: {reason}"));
    // OpenSSL reads the first PEM block and ignores the rest: a second key in the file
    // would look trusted to people, but would not be.
    if pem.windows(10).filter(|w| w == b"-----BEGIN").count() > 1 {
        return Err(malformed("several keys: use one file per key"));
    }
    let key = PKey::public_key_from_pem(pem).map_err(|_| malformed("not a PEM public key"))?;
    // Only P-256: cosign creates such keys, and so does infra/ in KMS. Every other curve,
    // and RSA, would need its own hash and signature encoding, and would let an attacker
    // choose the weakest of them.
    let curve = key.ec_key().ok().and_then(|k| k.group().curve_name());
    if curve != Some(Nid::X9_62_PRIME256V1) {
        return Err(malformed(&other_key(key.id())));
    }
    Ok(key)
}

/// Returns the reason why a key of this type, or on another curve, is not accepted.
fn other_key(id: Id) -> String {
    let kind = match id {
        Id::ED25519 => "an Ed25519 key",
        Id::ED448 => "an Ed448 key",
        Id::RSA | Id::RSA_PSS => "an RSA key",
        Id::EC => "an ECDSA key on another curve",
        _ => "a key of another type",
    };
    format!("{kind}, and not on curve P-256: devices accept ECDSA on P-256 alone")
}

/// Signs `payload` with a private key in PKCS#8 PEM. Returns the DER signature and the
/// PEM public key that verifies this signature.
///
/// # Errors
/// OpenSSL cannot read the key, for example one that cosign has encrypted, or cannot sign
/// with it.
pub fn sign_with_pem(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let failed = |_| Error::Malformed("signing".into());
    // The callback returns an empty passphrase. OpenSSL's own callback would ask for one
    // on the terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| {
        Error::Malformed(
            "the signing key is not an unencrypted PKCS#8 PEM key; make one with \
             `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
                .into(),
        )
    })?;
    let curve = key.ec_key().ok().and_then(|k| k.group().curve_name());
    if curve != Some(Nid::X9_62_PRIME256V1) {
        let why = format!("signing key: {}", other_key(key.id()));
        return Err(Error::Malformed(why));
    }
    let mut signer = Signer::new(MessageDigest::sha256(), &key).map_err(failed)?;
    let signature = signer.sign_oneshot_to_vec(payload).map_err(failed)?;
    let public_key = key.public_key_to_pem().map_err(failed)?;
    Ok((signature, public_key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::rsa::Rsa;

    #[test]
    fn other_keys_are_named() {
        let curve = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let curve = EcKey::generate(&curve).unwrap();
        for (key, expected) in [
            (PKey::generate_ed25519().unwrap(), "an Ed25519 key"),
            (
                PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
                "an RSA key",
            ),
            (PKey::from_ec_key(curve).unwrap(), "on another curve"),
        ] {
            let secret = key.private_key_to_pem_pkcs8().unwrap();
            let error = sign_with_pem(&secret, b"x").unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("P-256"),
                "{error}"
            );
            let public = key.public_key_to_pem().unwrap();
            let error = Keys::from_pems(&[public]).err().unwrap().to_string();
            assert!(
                error.contains(expected) && error.contains("P-256"),
                "{error}"
            );
        }
    }
}
