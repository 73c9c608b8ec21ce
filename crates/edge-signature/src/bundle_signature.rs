//! Signature of a bundle in RAUC's form: CMS over its manifest, by the key that signs OS
//! images.
//!
//! RAUC verifies with X.509 certificates, the rest of the device with bare public keys.
//! The certificate here is a function of the key: device and laptop derive the same
//! bytes, and nobody keeps, renews or exchanges a file
//! (docs/decisions/0065-one-key-for-a-bundle.md).

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::sha::sha256;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use crate::der::{self, tag};
use crate::error::Error;
use crate::keys::Keys;

/// Name in the certificate of a key, before the key's fingerprint.
const NAME: &str = "Edge AI OS signing ";
/// Number of hexadecimal digits of the fingerprint in the name, which X.509 limits to 64
/// characters.
const NAME_DIGITS: usize = 40;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// Purpose that `openssl cms` and the command line of RAUC check unless told otherwise.
const EMAIL_PROTECTION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 4];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const PKCS7_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const PKCS7_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const SIGNING_TIME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5];
/// `digitalSignature` alone: it issues nothing.
const DIGITAL_SIGNATURE: &[u8] = &[tag::BIT_STRING, 2, 7, 0x80];
/// Serial number of each certificate; its name is unique already.
const SERIAL: &[u8] = &[tag::INTEGER, 1, 1];
/// Start of the validity: a device may have no clock yet.
const NOT_BEFORE: &[u8] = b"700101000000Z";
/// End of the validity by which RFC 5280 states that there is none.
const NOT_AFTER: &[u8] = b"99991231235959Z";
/// Signature in the certificate, two numbers 1. It is a trust anchor: nobody verifies it.
const NO_SIGNATURE: &[u8] = &[0, tag::SEQUENCE, 6, tag::INTEGER, 1, 1, tag::INTEGER, 1, 1];

/// Size limit of a signature, which contains the manifest, in bytes. RAUC has the same.
const MAX_SIGNATURE_BYTES: usize = 64 * 1024;
/// Number of bytes at the end of a bundle in which its signature is, if it has one.
pub const BUNDLE_TAIL_BYTES: usize = MAX_SIGNATURE_BYTES + 8;

/// End of a bundle of RAUC: its signature, and the size of that in 8 bytes.
pub struct BundleEnd {
    /// Size of the bundle before the signature, in bytes.
    pub content_bytes: u64,
    /// Signature, which anybody may have made.
    pub signature: Vec<u8>,
}

impl BundleEnd {
    /// Finds the signature of a bundle of `size` bytes in its last [`BUNDLE_TAIL_BYTES`];
    /// `None` if it is no bundle.
    pub fn parse(size: u64, tail: &[u8]) -> Option<Self> {
        let (rest, length) = tail.split_last_chunk()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let from = rest.len().checked_sub(length)?;
        let end = (length + 8) as u64;
        let content_bytes = size.checked_sub(end).filter(|bytes| *bytes > 0)?;
        (1..=MAX_SIGNATURE_BYTES).contains(&length).then(|| Self {
            content_bytes,
            signature: rest[from..].to_vec(),
        })
    }
}

/// Signature of a bundle that is being made: the private key may be a service's.
pub struct BundleSignature {
    manifest: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<Vec<u8>>,
}

impl BundleSignature {
    /// Begins the signature of a bundle's manifest by the first of `keys`, at a time in
    /// RFC 3339, `2026-11-26T18:00:00Z`.
    ///
    /// # Errors
    /// The key cannot be encoded.
    pub fn new(manifest: &[u8], keys: &Keys, time: &str) -> Result<Self, Error> {
        let key = keys.to_der()?.remove(0);
        let digits: String = time.chars().filter(char::is_ascii_digit).skip(2).collect();
        let time = der::value(tag::UTC_TIME, format!("{digits}Z").as_bytes());
        let digest = der::value(tag::OCTET_STRING, &sha256(manifest));
        let attribute = |kind, value| der::sequence(&[der::oid(kind), der::set(vec![value])]);
        let attributes = vec![
            attribute(CONTENT_TYPE, der::oid(PKCS7_DATA)),
            attribute(SIGNING_TIME, time),
            attribute(MESSAGE_DIGEST, digest),
        ];
        Ok(Self {
            manifest: manifest.to_vec(),
            key,
            attributes,
        })
    }

    /// Returns the bytes that are to be signed with ECDSA and SHA-256.
    pub fn to_sign(&self) -> Vec<u8> {
        der::set(self.attributes.clone())
    }

    /// Returns the CMS message with a signature in DER.
    pub fn finish(self, signature: &[u8]) -> Vec<u8> {
        let hash = der::sequence(&[der::oid(SHA256)]);
        let certificate = certificate(&self.key);
        let mut attributes = der::set(self.attributes);
        // IMPLICIT [0], whose signature covers the encoding as a set.
        attributes[0] = tag::CONTEXT_0;
        let signer = der::sequence(&[
            SERIAL.to_vec(), // version 1
            der::sequence(&[name(&self.key), SERIAL.to_vec()]),
            hash.clone(),
            attributes,
            der::sequence(&[der::oid(ECDSA_WITH_SHA256)]),
            der::value(tag::OCTET_STRING, signature),
        ]);
        let manifest = der::value(tag::OCTET_STRING, &self.manifest);
        let content = der::value(tag::CONTEXT_0, &manifest);
        let signed = der::sequence(&[
            SERIAL.to_vec(), // version 1
            der::set(vec![hash]),
            der::sequence(&[der::oid(PKCS7_DATA), content]),
            der::value(tag::CONTEXT_0, &certificate),
            der::set(vec![signer]),
        ]);
        let signed = der::value(tag::CONTEXT_0, &signed);
        der::sequence(&[der::oid(PKCS7_SIGNED_DATA), signed])
    }
}

/// Returns the trust anchors of RAUC for keys, as certificates in PEM.
///
/// # Errors
/// A key cannot be encoded.
pub fn keyring(keys: &Keys) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    for certificate in certificates(keys)? {
        let pem = certificate.to_pem().map_err(|_| unencoded())?;
        text.extend_from_slice(&pem);
    }
    Ok(text)
}

/// Returns the manifest in a signature, which one of `keys` must have made. Without keys,
/// anybody may have: a build signs with a key of its own.
///
/// # Errors
/// The bytes are no CMS message with a content, or it is not signed so.
pub fn signed_manifest(signature: &[u8], keys: Option<&Keys>) -> Result<Vec<u8>, Error> {
    let malformed = |_| Error::Malformed("not a CMS message in DER".into());
    let mut message = CmsContentInfo::from_der(signature).map_err(malformed)?;
    let mut store = X509StoreBuilder::new().map_err(malformed)?;
    let mut options = CMSOptions::BINARY;
    match keys {
        Some(keys) => {
            for certificate in certificates(keys)? {
                store.add_cert(certificate).map_err(malformed)?;
            }
        }
        None => options |= CMSOptions::NO_SIGNER_CERT_VERIFY,
    }
    let mut manifest = Vec::new();
    let store = store.build();
    message
        .verify(None, Some(&store), None, Some(&mut manifest), options)
        .map_err(|_| Error::Untrusted("the signature of the bundle does not verify".into()))?;
    Ok(manifest)
}

/// Returns the certificates of keys.
fn certificates(keys: &Keys) -> Result<Vec<X509>, Error> {
    let keys = keys.to_der()?;
    let certificates = keys.iter().map(|key| X509::from_der(&certificate(key)));
    certificates
        .collect::<Result<_, _>>()
        .map_err(|_| unencoded())
}

fn unencoded() -> Error {
    Error::Malformed("signing key: no certificate can be made of it".into())
}

/// Returns the certificate of a public key in DER.
fn certificate(key: &[u8]) -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid(ECDSA_WITH_SHA256)]);
    let name = name(key);
    let critical = der::value(tag::BOOLEAN, &[0xff]);
    let purposes = der::sequence(&[der::oid(CODE_SIGNING), der::oid(EMAIL_PROTECTION)]);
    let extensions = der::sequence(&[
        der::sequence(&[
            der::oid(KEY_USAGE),
            critical,
            der::value(tag::OCTET_STRING, DIGITAL_SIGNATURE),
        ]),
        der::sequence(&[
            der::oid(EXTENDED_KEY_USAGE),
            der::value(tag::OCTET_STRING, &purposes),
        ]),
    ]);
    let version = der::value(tag::CONTEXT_0, &[tag::INTEGER, 1, 2]);
    let validity = der::sequence(&[
        der::value(tag::UTC_TIME, NOT_BEFORE),
        der::value(tag::GENERALIZED_TIME, NOT_AFTER),
    ]);
    let body = der::sequence(&[
        &version,
        SERIAL,
        &algorithm,
        &name,
        &validity,
        &name,
        key,
        &der::value(tag::CONTEXT_3, &extensions),
    ]);
    der::sequence(&[body, algorithm, der::value(tag::BIT_STRING, NO_SIGNATURE)])
}

/// Returns subject and issuer of the certificate of a key.
fn name(key: &[u8]) -> Vec<u8> {
    let fingerprint = edge_common::hex::encode(sha256(key));
    let text = format!("{NAME}{}", &fingerprint[..NAME_DIGITS]);
    let text = der::value(tag::UTF8_STRING, text.as_bytes());
    let attribute = der::sequence(&[der::oid(COMMON_NAME), text]);
    der::sequence(&[der::set(vec![attribute])])
}
