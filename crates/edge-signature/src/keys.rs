//! Signing keys: trusted public ones, and private ones in PEM files.

use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::sign::{Signer, Verifier};

use crate::error::Error;
use crate::reference::Digest;

/// Public keys whose signatures are trusted. Any one of them suffices, so that a new key can be
/// installed before the old one is removed.
pub struct Keys(Vec<PKey<Public>>);

impl Keys {
    /// Reads one PEM public key from each text.
    ///
    /// # Errors
    /// There is no text, or one is not a single key on curve P-256.
    pub fn from_pems<T: AsRef<[u8]>>(pems: &[T]) -> Result<Self, Error> {
        let keys: Result<Vec<_>, _> = pems.iter().map(|p| public_key(p.as_ref())).collect();
        match keys? {
            keys if keys.is_empty() => Err(Error::Malformed("no signing key is configured".into())),
            keys => Ok(Self(keys)),
        }
    }

    /// Returns the key that made `signature` over `bytes`, as SHA-256 of its DER form, if it is
    /// a trusted one.
    pub(crate) fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<Digest> {
        // DER has exactly one encoding of the two numbers of a signature. OpenSSL's own ECDSA
        // compares it too; a provider in its place need not.
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
    // OpenSSL reads the first block and ignores the rest: a second key in the file would look
    // trusted to people and not be.
    if pem.windows(10).filter(|w| w == b"-----BEGIN").count() > 1 {
        return Err(malformed("several keys: use one file per key"));
    }
    let key = PKey::public_key_from_pem(pem).map_err(|_| malformed("not a PEM public key"))?;
    // P-256 alone: cosign makes such keys, and so does infra/ in KMS. Each other curve, and RSA,
    // would need a hash and a signature form of its own, with a choice for the attacker.
    let curve = key.ec_key().ok().and_then(|k| k.group().curve_name());
    if curve != Some(Nid::X9_62_PRIME256V1) {
        return Err(malformed("not on curve P-256"));
    }
    Ok(key)
}

/// Signs `payload` with a PKCS#8 PEM key. Returns the DER signature and the PEM public key that
/// verifies it.
///
/// # Errors
/// OpenSSL cannot read the key. It cannot read the encrypted ones of cosign.
pub fn sign_with_pem(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let failed = |_| Error::Malformed("signing".into());
    // The callback answers in place of OpenSSL's own, which would ask for a passphrase on the
    // terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| {
        Error::Malformed(
            "the signing key is not an unencrypted PKCS#8 PEM key; make one with \
             `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
                .into(),
        )
    })?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).map_err(failed)?;
    let signature = signer.sign_oneshot_to_vec(payload).map_err(failed)?;
    let public_key = key.public_key_to_pem().map_err(failed)?;
    Ok((signature, public_key))
}
