//! Private keys, certificates and signing requests, created and parsed with OpenSSL.

use anyhow::{Context, Result, bail};
use edge_common::hex;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder, X509ReqBuilder};

/// Creates a private key on the curve P-256. AWS accepts this curve, and a board
/// creates such a key at once, unlike an RSA key.
pub(crate) fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?).context("creating a key")
}

/// Parses a private key in PEM format. An encrypted key is an error.
pub(crate) fn private_key(pem: &[u8]) -> Result<PKey<Private>> {
    // The callback keeps OpenSSL from prompting for a password on the terminal.
    match PKey::private_key_from_pem_callback(pem, |_| Ok(0)) {
        Ok(key) => Ok(key),
        Err(_) => bail!("not a PEM private key"),
    }
}

/// Parses an X.509 certificate in PEM format.
pub(crate) fn certificate(pem: &[u8]) -> Result<X509> {
    match X509::from_pem(pem) {
        Ok(certificate) => Ok(certificate),
        Err(_) => bail!("not a PEM certificate"),
    }
}

/// Creates a certificate signing request (PEM) with the subject `CN=<thing_name>`.
pub(crate) fn signing_request(key: &PKey<Private>, thing_name: &str) -> Result<String> {
    let mut subject = X509NameBuilder::new()?;
    // RFC 5280 limits a common name to 64 characters, and AWS does not use the name.
    let common_name = &thing_name[..thing_name.len().min(64)];
    subject.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    let mut request = X509ReqBuilder::new()?;
    request.set_version(0)?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(key)?;
    request.sign(key, MessageDigest::sha256())?;
    Ok(String::from_utf8(request.build().to_pem()?)?)
}

/// Returns whether `certificate` contains the public key of `key`.
pub(crate) fn is_key_of(key: &PKey<Private>, certificate: &X509) -> bool {
    certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(key))
}

/// Returns whether the start of the certificate's validity is in the future.
pub(crate) fn not_yet_valid(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_before().compare(&now)? == std::cmp::Ordering::Greater)
}

/// Returns whether the end of the certificate's validity is in the past.
pub(crate) fn expired(certificate: &X509) -> Result<bool> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(certificate.not_after().compare(&now)? == std::cmp::Ordering::Less)
}

/// Converts a time of a certificate to seconds of Unix time.
pub(crate) fn unix(time: &Asn1TimeRef) -> Result<u64> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    u64::try_from(seconds).context("a certificate that begins before 1970")
}

/// Returns eight random hexadecimal digits, for client IDs.
pub(crate) fn random_hex() -> Result<String> {
    let mut bytes = [0; 4];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}
