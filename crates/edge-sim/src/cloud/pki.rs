//! Certificate authorities, keys and certificates of the local cloud.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::file;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509NameBuilder};

use super::HOST;

/// Length of a day in seconds, to compute the validity of certificates.
const DAY: i64 = 86_400;
/// Default validity of certificates, in days.
const TEN_YEARS: i64 = 3650;

/// Certificate authority: its certificate and private key.
pub(crate) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let key = new_key()?;
        let certificate = certificate(
            &subject(name)?,
            &key,
            None,
            &key,
            Kind::Authority,
            TEN_YEARS,
        )?;
        Ok(Self { certificate, key })
    }

    /// Reads the authority from `NAME.crt` and `NAME.key`, which [`create`] wrote
    /// to `dir`.
    pub(crate) fn load(dir: &Path, name: &str) -> Result<Self> {
        let read = |end: &str| file::read(&dir.join(format!("{name}.{end}")), 64 * 1024);
        Ok(Self {
            certificate: X509::from_pem(&read("crt")?)?,
            key: PKey::private_key_from_pem(&read("key")?)?,
        })
    }

    /// Issues a client certificate for a public key, valid for ten years, with the
    /// common name `name`.
    pub(crate) fn sign<T: HasPublic>(&self, name: &str, key: &PKeyRef<T>) -> Result<X509> {
        self.sign_for(name, key, TEN_YEARS)
    }

    /// Issues a device certificate for a public key. Like that of AWS it begins just
    /// before it is issued.
    pub(crate) fn issue<T: HasPublic>(&self, name: &str, key: &PKeyRef<T>) -> Result<X509> {
        let name = subject(name)?;
        certificate(&name, key, Some(self), &self.key, Kind::Device, TEN_YEARS)
    }

    /// Issues a client certificate that expires `days` days from now; a negative
    /// number yields an expired certificate.
    pub(crate) fn sign_for<T: HasPublic>(
        &self,
        name: &str,
        key: &PKeyRef<T>,
        days: i64,
    ) -> Result<X509> {
        certificate(
            &subject(name)?,
            key,
            Some(self),
            &self.key,
            Kind::Client,
            days,
        )
    }
}

enum Kind<'a> {
    Authority,
    Server(&'a str),
    Client,
    Device,
}

/// Issues a server certificate for `host` that clients must refuse: `host` is the
/// wrong name, or `unknown` selects an authority that no client trusts.
pub(crate) fn wrong_server(dir: &Path, host: &str, unknown: bool) -> Result<(X509, PKey<Private>)> {
    let authority = if unknown {
        Authority::new("Unknown CA")?
    } else {
        Authority::load(dir, "server-ca")?
    };
    let key = new_key()?;
    let server = certificate(
        &subject(host)?,
        &key,
        Some(&authority),
        &authority.key,
        Kind::Server(host),
        TEN_YEARS,
    )?;
    Ok((server, key))
}

/// Creates all keys and certificates in `dir`, unless `signing.pub`, the last of
/// the files, exists.
pub(crate) fn create(dir: &Path) -> Result<()> {
    for name in ["engineer", "os", "set", "set-offline"] {
        if !dir.join(format!("{name}.pub")).exists() {
            signing_key(dir, name)?;
        }
    }
    if dir.join("signing.pub").exists() {
        return Ok(());
    }
    let server_ca = Authority::new("Edge local cloud server CA")?;
    let clients = ["claim", "device", "responder"]
        .map(|n| (n, Authority::new(&format!("Edge local cloud {n} CA"))));
    let mut bundle = Vec::new();
    for (name, authority) in clients {
        let authority = authority?;
        bundle.extend(authority.certificate.to_pem()?);
        if name == "device" {
            pair(dir, "device-ca", &authority.certificate, &authority.key)?;
        } else {
            let key = new_key()?;
            pair(dir, name, &authority.sign(name, &key)?, &key)?;
        }
    }
    file::write(&dir.join("clients.pem"), &bundle, 0o644)?;
    file::write(&dir.join("ca.pem"), &server_ca.certificate.to_pem()?, 0o644)?;
    let key = new_key()?;
    let server = certificate(
        &subject(HOST)?,
        &key,
        Some(&server_ca),
        &server_ca.key,
        Kind::Server(HOST),
        TEN_YEARS,
    )?;
    pair(dir, "server-ca", &server_ca.certificate, &server_ca.key)?;
    pair(dir, "server", &server, &key)?;
    signing_key(dir, "signing")
}

/// Creates `NAME.key`, then `NAME.pub`.
fn signing_key(dir: &Path, name: &str) -> Result<()> {
    let key = new_key()?;
    let private = key.private_key_to_pem_pkcs8()?;
    file::write(&dir.join(format!("{name}.key")), &private, 0o600)?;
    let public = key.public_key_to_pem()?;
    file::write(&dir.join(format!("{name}.pub")), &public, 0o644)
}

fn pair(dir: &Path, name: &str, certificate: &X509, key: &PKey<Private>) -> Result<()> {
    file::write(
        &dir.join(format!("{name}.key")),
        &key.private_key_to_pem_pkcs8()?,
        0o600,
    )?;
    file::write(
        &dir.join(format!("{name}.crt")),
        &certificate.to_pem()?,
        0o644,
    )
}

fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?).context("generating a key")
}

fn subject(name: &str) -> Result<X509Name> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(subject.build())
}

/// Issues a certificate that expires `days` days from now; without an issuer the
/// certificate is self-signed. The validity begins two days ago, so that `days` may
/// be -1, and that of a device certificate a minute ago.
fn certificate<T: HasPublic>(
    name: &X509Name,
    key: &PKeyRef<T>,
    issuer: Option<&Authority>,
    signer: &PKey<Private>,
    kind: Kind,
    days: i64,
) -> Result<X509> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(120, openssl::bn::MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(name)?;
    builder.set_issuer_name(issuer.map_or(name, |i| i.certificate.subject_name()))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = i64::try_from(now.as_secs())?;
    let lead = match kind {
        Kind::Device => 60,
        _ => 2 * DAY,
    };
    let (begin, end) = (
        Asn1Time::from_unix(now - lead)?,
        Asn1Time::from_unix(now + days * DAY)?,
    );
    builder.set_not_before(&begin)?;
    builder.set_not_after(&end)?;
    builder.set_pubkey(key)?;
    match kind {
        Kind::Authority => {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?
        }
        Kind::Client | Kind::Device => {
            builder.append_extension(BasicConstraints::new().build()?)?
        }
        Kind::Server(host) => {
            let mut names = SubjectAlternativeName::new();
            names.dns(host);
            if host == HOST {
                names.dns("localhost").ip("127.0.0.1");
            }
            let names = names.build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names)?;
        }
    }
    builder.sign(signer, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// Returns `bytes` random bytes as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    openssl::rand::rand_bytes(&mut buffer)?;
    Ok(edge_common::hex::encode(buffer))
}

/// Returns the common name of a certificate in PEM, which is the certificate ID.
pub(crate) fn common_name(pem: &[u8]) -> Result<String> {
    let certificate = X509::from_pem(pem)?;
    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names
        .next()
        .context("a certificate without a common name")?;
    Ok(String::from_utf8(name.data().as_slice().to_vec())?)
}
