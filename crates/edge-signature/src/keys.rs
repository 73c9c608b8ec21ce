//! Trusted public keys that verify signatures, and signing with a private key in PEM.

use std::fmt;

use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::{Signer, Verifier};

use crate::error::Error;
use crate::reference::Digest;

/// Number of hex digits of a key's fingerprint that messages show.
pub const SHOWN_KEY_DIGITS: usize = 16;
/// Number of trusted keys that an error names.
const MAX_NAMED_KEYS: usize = 4;

/// Public keys whose signatures are trusted. A signature by any one of them suffices, so
/// that a new key can be installed before the old one is removed.
pub struct Keys {
    trusted: Vec<Key>,
    /// Keys of other purposes, which are not trusted here and explain a refusal.
    known: Vec<Key>,
}

struct Key {
    /// Name of the file or service of the key; empty if the caller has none.
    name: String,
    /// SHA-256 of the key in DER.
    fingerprint: Digest,
    key: PKey<Public>,
}

impl Keys {
    /// Parses one PEM public key from each element of `pems`.
    ///
    /// # Errors
    /// `pems` is empty, or an element is not a single public key on curve P-256.
    pub fn from_pems<T: AsRef<[u8]>>(pems: &[T]) -> Result<Self, Error> {
        let named: Vec<_> = pems.iter().map(|pem| (String::new(), pem)).collect();
        Self::from_files(&named)
    }

    /// Parses one PEM public key from each file, given by name and content. Errors name
    /// the file.
    ///
    /// # Errors
    /// As [`Keys::from_pems`].
    pub fn from_files<T: AsRef<[u8]>>(files: &[(String, T)]) -> Result<Self, Error> {
        let keys = files.iter().map(|(name, pem)| Key::new(name, pem.as_ref()));
        match keys.collect::<Result<Vec<_>, _>>()? {
            keys if keys.is_empty() => Err(Error::Malformed("no signing key is configured".into())),
            trusted => Ok(Self {
                trusted,
                known: Vec::new(),
            }),
        }
    }

    /// Adds keys of other purposes, by whose names an error says who signed. They are
    /// never trusted, and a malformed one is ignored.
    #[must_use]
    pub fn knowing<T: AsRef<[u8]>>(mut self, files: &[(String, T)]) -> Self {
        let keys = files.iter().map(|(name, pem)| Key::new(name, pem.as_ref()));
        self.known.extend(keys.filter_map(Result::ok));
        self
    }

    /// Returns the trusted keys in DER, at least one.
    ///
    /// # Errors
    /// A key cannot be encoded.
    pub(crate) fn to_der(&self) -> Result<Vec<Vec<u8>>, Error> {
        let keys = self.trusted.iter().map(|k| k.key.public_key_to_der());
        keys.collect::<Result<_, _>>()
            .map_err(|_| Error::Malformed("signing key: not a public key".into()))
    }

    /// Returns the SHA-256 of the trusted key (in DER) that verifies `signature` over
    /// `bytes`; `None` if no trusted key does.
    pub(crate) fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<Digest> {
        signer(&self.trusted, bytes, signature).map(|key| key.fingerprint.clone())
    }

    /// Describes the key of a signature that no trusted key verifies: its name if it is
    /// known for another purpose, else the fingerprint that the signature states. `None`
    /// if nothing is known of it.
    pub(crate) fn stranger(
        &self,
        bytes: &[u8],
        signature: &[u8],
        stated: Option<&Digest>,
    ) -> Option<String> {
        if let Some(key) = signer(&self.known, bytes, signature) {
            return Some(format!("{key}, which has another purpose"));
        }
        // Anybody can state anything, also the fingerprint of a trusted key.
        stated.map(|stated| format!("{}, as the signature states", shown(stated)))
    }

    /// Describes the trusted keys for an error, by names and fingerprints.
    pub(crate) fn described(&self) -> String {
        let named = self.trusted.iter().take(MAX_NAMED_KEYS);
        let mut keys: Vec<_> = named.map(ToString::to_string).collect();
        if let Some(more @ 1..) = self.trusted.len().checked_sub(MAX_NAMED_KEYS) {
            keys.push(format!("{more} more"));
        }
        format!("trusted: {}", keys.join(", "))
    }
}

impl Key {
    fn new(name: &str, pem: &[u8]) -> Result<Self, Error> {
        let parsed = public_key(pem).and_then(|key| {
            let der = key.public_key_to_der();
            let der = der.map_err(|_| Error::Malformed("signing key: not a public key".into()))?;
            Ok((key, Digest::of(&der)))
        });
        let (key, fingerprint) = parsed.map_err(|error| match name {
            "" => error,
            name => Error::Malformed(format!("{name}: {error}")),
        })?;
        Ok(Self {
            name: name.into(),
            fingerprint,
            key,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "{}", shown(&self.fingerprint)),
            name => write!(f, "{name} ({})", shown(&self.fingerprint)),
        }
    }
}

/// Returns the beginning of a fingerprint for a message.
fn shown(fingerprint: &Digest) -> &str {
    &fingerprint.hex()[..SHOWN_KEY_DIGITS]
}

/// Returns the one of `keys` that verifies `signature` over `bytes`.
fn signer<'a>(keys: &'a [Key], bytes: &[u8], signature: &[u8]) -> Option<&'a Key> {
    // DER has exactly one encoding of the two numbers of a signature; any other one is
    // rejected. OpenSSL's own ECDSA also checks this, but an OpenSSL provider that
    // replaces it need not.
    let canonical = EcdsaSig::from_der(signature).and_then(|s| s.to_der());
    if !canonical.is_ok_and(|der| der == signature) {
        return None;
    }
    keys.iter().find(|key| {
        let verifier = Verifier::new(MessageDigest::sha256(), &key.key);
        verifier
            .and_then(|mut v| v.verify_oneshot(signature, bytes))
            .unwrap_or(false)
    })
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
