//! Keys and certificates, by OpenSSL.

use anyhow::{Context, Result, bail};
use edge_common::hex;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder, X509ReqBuilder};

/// Creates a private key for curve P-256, which AWS accepts and which, unlike an RSA key,
/// is created at once on a board.
pub(crate) fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?).context("creating a key")
}

/// Parses a PEM key.
pub(crate) fn private_key(pem: &[u8]) -> Result<PKey<Private>> {
    // The callback keeps OpenSSL from asking for a password on the terminal.
    match PKey::private_key_from_pem_callback(pem, |_| Ok(0)) {
        Ok(key) => Ok(key),
        Err(_) => bail!("not a PEM private key"),
    }
}

/// Parses a PEM certificate.
pub(crate) fn certificate(pem: &[u8]) -> Result<X509> {
    match X509::from_pem(pem) {
        Ok(certificate) => Ok(certificate),
        Err(_) => bail!("not a PEM certificate"),
    }
}

/// Creates a signing request for `CN=<thing_name>`, PEM.
pub(crate) fn signing_request(key: &PKey<Private>, thing_name: &str) -> Result<String> {
    let mut subject = X509NameBuilder::new()?;
    // A common name has at most 64 characters (RFC 5280); AWS does not use it.
    let common_name = &thing_name[..thing_name.len().min(64)];
    subject.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    let mut request = X509ReqBuilder::new()?;
    request.set_version(0)?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(key)?;
    request.sign(key, MessageDigest::sha256())?;
    Ok(String::from_utf8(request.build().to_pem()?)?)
}

/// Whether `certificate` is for `key`.
pub(crate) fn is_key_of(key: &PKey<Private>, certificate: &X509) -> bool {
    certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(key))
}

/// Whether the certificate begins in the future.
pub(crate) fn not_yet_valid(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_before().compare(&now)? == std::cmp::Ordering::Greater)
}

/// Whether the certificate has ended.
pub(crate) fn expired(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_after().compare(&now)? == std::cmp::Ordering::Less)
}

/// Returns eight random hexadecimal digits.
pub(crate) fn random_hex() -> Result<String> {
    let mut bytes = [0; 4];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}
