//! Keys and certificates, through OpenSSL.

use anyhow::{Context, Result, bail};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder, X509ReqBuilder};

/// A private key for curve P-256.
///
/// # Errors
/// OpenSSL's.
pub fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?).context("making a key")
}

/// Reads a PEM key. Errors never quote it.
///
/// # Errors
/// Not a PEM private key.
pub fn private_key(pem: &[u8]) -> Result<PKey<Private>> {
    match PKey::private_key_from_pem_callback(pem, |_| Ok(0)) {
        Ok(key) => Ok(key),
        Err(_) => bail!("not a PEM private key"),
    }
}

/// Reads a PEM certificate.
///
/// # Errors
/// Not a PEM certificate.
pub fn certificate(pem: &[u8]) -> Result<X509> {
    match X509::from_pem(pem) {
        Ok(certificate) => Ok(certificate),
        Err(_) => bail!("not a PEM certificate"),
    }
}

/// A signing request for `CN=<name>`, PEM.
///
/// # Errors
/// OpenSSL's.
pub fn request(key: &PKey<Private>, name: &str) -> Result<String> {
    let mut subject = X509NameBuilder::new()?;
    // A common name has at most 64 characters (RFC 5280); AWS does not use it.
    subject.append_entry_by_nid(Nid::COMMONNAME, &name[..name.len().min(64)])?;
    let mut request = X509ReqBuilder::new()?;
    request.set_version(0)?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(key)?;
    request.sign(key, MessageDigest::sha256())?;
    Ok(String::from_utf8(request.build().to_pem()?)?)
}

/// Is `certificate` for `key`?
pub fn belong_together(certificate: &X509, key: &PKey<Private>) -> bool {
    certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(key))
}

/// Does the certificate begin in the future?
///
/// # Errors
/// OpenSSL's.
pub fn not_yet_valid(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_before().compare(&now)? == std::cmp::Ordering::Greater)
}

/// Has the certificate ended?
///
/// # Errors
/// OpenSSL's.
pub fn expired(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_after().compare(&now)? == std::cmp::Ordering::Less)
}

/// Eight random hex digits.
///
/// # Errors
/// OpenSSL's.
pub fn random_word() -> Result<String> {
    let mut bytes = [0; 4];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

/// A random number from 0 to 1.
///
/// # Errors
/// OpenSSL's.
pub fn random_fraction() -> Result<f64> {
    let mut bytes = [0; 4];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
