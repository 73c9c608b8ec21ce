//! Fleet provisioning by claim, with the rules of the pre-provisioning hook.
//!
//! Known difference from AWS: mosquitto cannot deliver an answer only to the
//! connection of the request, so every claim session receives every answer. The
//! strict endpoint delivers as AWS does.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt;
use edge_common::{Root, file};
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::x509::{X509, X509Req};
use serde_json::{Value, json};

use super::answers::{Answers, rejected};
use super::policy::{self, Policy};
use super::{TEMPLATE, pki};

/// Lifetime of a certificate ownership token.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Size limit of a certificate signing request, in bytes.
const MAX_CSR_BYTES: usize = 4096;

/// Issued certificate, and the thing that was registered with its ownership token.
struct Issued {
    certificate: String,
    key: Vec<u8>,
    pem: String,
    at: Instant,
    thing: Option<String>,
}

/// Place where the rights of registered certificates are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// The access list of mosquitto, which the broker enforces.
    AccessList,
    /// Only the memory of this process, for callers of [`Provisioning::thing_of`].
    Memory,
}

/// State of fleet provisioning: certificates that were issued and things that were
/// registered since the start of the process.
pub(crate) struct Provisioning {
    dir: PathBuf,
    authority: pki::Authority,
    rights: Rights,
    tokens: HashMap<String, Issued>,
    things: HashMap<String, String>,
    keys: HashSet<Vec<u8>>,
}

impl Provisioning {
    /// Loads the device CA from `dir`. Tokens of earlier processes are not valid.
    pub(crate) fn load(dir: &Path, rights: Rights) -> Result<Self> {
        let authority = pki::Authority::load(dir, "device-ca")?;
        file::create_directory(&dir.join("things"), 0o700)?;
        file::create_directory(&dir.join("attached"), 0o700)?;
        Ok(Self {
            dir: dir.into(),
            authority,
            rights,
            tokens: HashMap::new(),
            things: HashMap::new(),
            keys: HashSet::new(),
        })
    }

    /// Returns the name of the thing to which the active certificate with this id is
    /// attached.
    pub(crate) fn thing_of(&self, certificate: &str) -> Option<&str> {
        let thing = self.things.get(certificate).map(String::as_str);
        thing.filter(|_| self.active(certificate))
    }

    /// Returns whether no operator has deactivated the certificate with this id.
    fn active(&self, certificate: &str) -> bool {
        !self.dir.join("inactive").join(certificate).exists()
    }

    /// Invalidates all ownership tokens that were issued so far.
    pub(crate) fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Returns the number of different keys for which certificates were issued.
    pub(crate) fn keys_seen(&self) -> usize {
        self.keys.len()
    }

    /// Handles `CreateCertificateFromCsr`: issues a certificate and an ownership
    /// token, or rejects the request.
    pub(crate) fn create(&mut self, request: &Value) -> Answers {
        let csr = request["certificateSigningRequest"]
            .as_str()
            .unwrap_or_default();
        let invalid = || {
            rejected(
                400,
                "InvalidCertificateSigningRequest",
                "The certificate signing request is not valid",
            )
        };
        if csr.len() > MAX_CSR_BYTES {
            return invalid();
        }
        let parsed = X509Req::from_pem(csr.as_bytes()).and_then(|r| r.public_key().map(|k| (r, k)));
        let Ok((parsed, key)) = parsed else {
            return invalid();
        };
        if !parsed.verify(&key).unwrap_or(false) {
            return invalid();
        }
        // The broker uses the common name as the user name, so the common name is the
        // certificate ID. The subject of the signing request is ignored.
        let issued = pki::random_hex(32).and_then(|id| {
            let pem = self.authority.issue(&id, &key)?.to_pem()?;
            Ok((id, String::from_utf8(pem)?, pki::random_hex(32)?))
        });
        let Ok((id, pem, token)) = issued else {
            return rejected(500, "InternalError", "Internal error");
        };
        let der = key.public_key_to_der().unwrap_or_default();
        self.keys.insert(der.clone());
        self.tokens.insert(
            token.clone(),
            Issued {
                certificate: id.clone(),
                key: der,
                pem: pem.clone(),
                at: Instant::now(),
                thing: None,
            },
        );
        vec![(
            "accepted",
            json!({ "certificateId": id, "certificatePem": pem, "certificateOwnershipToken": token }),
        )]
    }

    /// Handles `RegisterThing`: attaches the certificate of an ownership token to a
    /// thing, or rejects the request.
    pub(crate) fn register(&mut self, template: &str, request: &Value) -> Answers {
        if template != TEMPLATE {
            return rejected(
                404,
                "ResourceNotFound",
                "The provisioning template does not exist",
            );
        }
        let token = request["certificateOwnershipToken"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        let Some(issued) = self
            .tokens
            .get(&token)
            .filter(|i| i.at.elapsed() < TOKEN_LIFE)
        else {
            return rejected(
                400,
                "InvalidCertificateOwnershipToken",
                "The certificate ownership token is not valid",
            );
        };
        let parameters = &request["parameters"];
        let serial = parameters["SerialNumber"].as_str().unwrap_or_default();
        let Ok(thing) = policy::thing_name(serial) else {
            return rejected(500, "InternalError", "Internal error");
        };
        if parameters["ThingName"] != thing.as_str() {
            return rejected(
                400,
                "InvalidParameters",
                "ThingName is not edge-ai-<SerialNumber>",
            );
        }
        if issued.thing.as_deref() == Some(&thing) {
            // A device repeats the request if the answer was lost.
            return accepted(&thing);
        }
        let permitted = !self.taken(&thing) || self.proven(&thing, issued, &parameters["Proof"]);
        if issued.thing.is_some() || !self.allowed(serial) || !permitted {
            return rejected(
                403,
                "AccessDenied",
                "The pre-provisioning hook refused the device",
            );
        }
        let (certificate, pem) = (issued.certificate.clone(), issued.pem.clone());
        if let Err(error) = self.grant(&certificate, &thing, &pem) {
            edge_common::log::error(format_args!("{error:#}"));
            return rejected(500, "InternalError", "Internal error");
        }
        if let Some(issued) = self.tokens.get_mut(&token) {
            issued.thing = Some(thing.clone());
        }
        accepted(&thing)
    }

    fn listed(&self, name: &str, serial: &str) -> bool {
        let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        !serial.is_empty() && text.lines().any(|l| l == serial)
    }

    fn allowed(&self, serial: &str) -> bool {
        self.listed("allowlist", serial)
    }

    /// Returns the path of the PEM file with the newest certificate of a thing.
    fn current(&self, thing: &str) -> PathBuf {
        self.dir.join("things").join(format!("{thing}.pem"))
    }

    /// Returns whether the thing has an active certificate and no operator has
    /// permitted another one.
    fn taken(&self, thing: &str) -> bool {
        let serial = thing.trim_start_matches("edge-ai-");
        self.current(thing).exists() && !self.listed("windows", serial)
    }

    /// Returns whether `proof` is a signature of the new key by the current key of
    /// the thing: the proof of possession of a renewal.
    fn proven(&self, thing: &str, issued: &Issued, proof: &Value) -> bool {
        let check = || {
            let pem = fs::read(self.current(thing)).ok()?;
            let id = pki::common_name(&pem).ok()?;
            if !self.active(&id) {
                return None;
            }
            let current = X509::from_pem(&pem).ok()?;
            let signature = openssl::base64::decode_block(proof.as_str()?).ok()?;
            let key = current.public_key().ok()?;
            let mut verifier = Verifier::new(MessageDigest::sha256(), &key).ok()?;
            verifier.update(format!("{thing}\n").as_bytes()).ok()?;
            verifier.update(&issued.key).ok()?;
            verifier.verify(&signature).ok()
        };
        check().unwrap_or(false)
    }

    /// Attaches the certificate to the thing and permits the topics of this thing.
    fn grant(&mut self, certificate: &str, thing: &str, pem: &str) -> Result<()> {
        if self.rights == Rights::AccessList {
            self.extend_access_list(certificate, thing)?;
        }
        self.things.insert(certificate.into(), thing.into());
        let attached = self.dir.join("attached").join(certificate);
        file::write(&attached, thing.as_bytes(), 0o600)?;
        file::write(&self.current(thing), pem.as_bytes(), 0o600)
    }

    /// Adds the rights of a certificate to mosquitto's access list and waits until
    /// the broker has reloaded the list.
    fn extend_access_list(&self, certificate: &str, thing: &str) -> Result<()> {
        let path = self.dir.join("acl");
        let acl = fs::read_to_string(&path).context("reading the access list")?;
        let rights = Policy::device()?.access_list(certificate, thing)?;
        let acl = format!("{acl}\n{rights}");
        file::write(&path, acl.as_bytes(), 0o600)?;
        let log = self.dir.join("mosquitto.log");
        let seen = fs::metadata(&log)
            .context("reading the broker's log")?
            .len();
        let file = |name: &str| file::read(&self.dir.join(name), 64 * 1024);
        let pids: Value = serde_json::from_slice(&file("pids.json")?)?;
        let ports: Value = serde_json::from_slice(&file("responder.json")?)?;
        let pid = pids[0]["pid"].to_string();
        Root::system()
            .command("/bin/kill")
            .args(["-HUP", &pid])
            .run()?;
        // mosquitto handles a signal only at the next network event: the connection
        // causes one.
        let port = ports["mqtt"].as_u64().and_then(|p| u16::try_from(p).ok());
        let woken = TcpStream::connect(("127.0.0.1", port.context("the broker's port")?));
        let reloaded = wait_for(&log, seen, "Reloading config");
        drop(woken);
        reloaded
    }
}

fn accepted(thing: &str) -> Answers {
    vec![(
        "accepted",
        json!({ "thingName": thing, "deviceConfiguration": {} }),
    )]
}

fn wait_for(log: &Path, from: u64, message: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let mut text = String::new();
        let mut open = fs::File::open(log)?;
        open.seek(SeekFrom::Start(from))?;
        open.read_to_string(&mut text)?;
        if text.contains(message) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the broker did not reload its access list");
}
