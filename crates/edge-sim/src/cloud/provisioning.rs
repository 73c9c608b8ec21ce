//! Fleet provisioning by claim, with the rules of the pre-provisioning hook.
//!
//! Known difference from AWS: there is no way to answer only the connection
//! that asked, so every claim session sees every answer.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt;
use edge_common::{Root, file};
use openssl::x509::X509Req;
use serde_json::{Value, json};

use super::responder::{Answers, rejected};
use super::{TEMPLATE, pki};

/// How long an ownership token lives.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Most characters of a signing request.
const LARGEST_CSR: usize = 4096;

/// A certificate that was issued; bound to its token.
struct Issued {
    certificate: String,
    at: Instant,
    thing: Option<String>,
}

/// What was issued and registered while this runs.
pub struct Provisioning {
    dir: PathBuf,
    authority: pki::Authority,
    tokens: HashMap<String, Issued>,
}

impl Provisioning {
    /// With the device CA of `dir`.
    ///
    /// # Errors
    /// It is not there.
    pub fn load(dir: &Path) -> Result<Self> {
        let authority = pki::Authority::load(dir, "device-ca")?;
        Ok(Self {
            dir: dir.into(),
            authority,
            tokens: HashMap::new(),
        })
    }

    /// `CreateCertificateFromCsr`
    pub fn create(&mut self, request: &Value) -> Answers {
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
        if csr.len() > LARGEST_CSR {
            return invalid();
        }
        let parsed = X509Req::from_pem(csr.as_bytes()).and_then(|r| r.public_key().map(|k| (r, k)));
        let Ok((parsed, key)) = parsed else {
            return invalid();
        };
        if !parsed.verify(&key).unwrap_or(false) {
            return invalid();
        }
        // The broker takes the common name for the user: the certificate's id,
        // whatever the request says.
        let issued = pki::random_hex(32).and_then(|id| {
            let pem = self.authority.sign(&id, &key)?.to_pem()?;
            Ok((id, String::from_utf8(pem)?, pki::random_hex(32)?))
        });
        let Ok((id, pem, token)) = issued else {
            return rejected(500, "InternalError", "Internal error");
        };
        self.tokens.insert(
            token.clone(),
            Issued {
                certificate: id.clone(),
                at: Instant::now(),
                thing: None,
            },
        );
        vec![(
            "accepted",
            json!({ "certificateId": id, "certificatePem": pem, "certificateOwnershipToken": token }),
        )]
    }

    /// `RegisterThing`
    pub fn register(&mut self, template: &str, request: &Value) -> Answers {
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
        let thing = format!("edge-ai-{serial}");
        if parameters["ThingName"] != thing.as_str() {
            return rejected(
                400,
                "InvalidParameters",
                "ThingName is not edge-ai-<SerialNumber>",
            );
        }
        if issued.thing.as_deref() == Some(&thing) {
            // A repeat of what has succeeded.
            return accepted(&thing);
        }
        if issued.thing.is_some() || !self.allowed(serial) || self.taken(&thing) {
            return rejected(
                403,
                "AccessDenied",
                "The pre-provisioning hook refused the device",
            );
        }
        let certificate = issued.certificate.clone();
        if let Err(error) = self.grant(&certificate, &thing) {
            edge_common::log::error(format_args!("{error:#}"));
            return rejected(500, "InternalError", "Internal error");
        }
        if let Some(issued) = self.tokens.get_mut(&token) {
            issued.thing = Some(thing.clone());
        }
        accepted(&thing)
    }

    fn lists(&self, name: &str, serial: &str) -> bool {
        let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        !serial.is_empty() && text.lines().any(|l| l == serial)
    }

    fn allowed(&self, serial: &str) -> bool {
        self.lists("allowlist", serial)
    }

    /// Has the thing an active certificate, and no operator opened a window?
    fn taken(&self, thing: &str) -> bool {
        let acl = fs::read_to_string(self.dir.join("acl")).unwrap_or_default();
        let serial = thing.trim_start_matches("edge-ai-");
        acl.lines().any(|l| l == topics(thing)) && !self.lists("windows", serial)
    }

    /// Lets the certificate reach its own thing's topics, and waits until the
    /// broker knows.
    fn grant(&self, certificate: &str, thing: &str) -> Result<()> {
        let path = self.dir.join("acl");
        let acl = fs::read_to_string(&path).context("reading the access list")?;
        let acl = format!(
            "{acl}\nuser {certificate}\n{}\ntopic write edge-ai/{thing}/offline\n",
            topics(thing)
        );
        file::write(&path, acl.as_bytes(), 0o600)?;
        let log = self.dir.join("mosquitto.log");
        let seen = fs::metadata(&log)
            .context("reading the broker's log")?
            .len();
        let pids: Value =
            serde_json::from_slice(&file::read(&self.dir.join("pids.json"), 64 * 1024)?)?;
        let pid = pids[0]["pid"].to_string();
        Root::system()
            .command("/bin/kill")
            .args(["-HUP", &pid])
            .run()?;
        wait_for(&log, seen, "Reloading config")
    }
}

fn topics(thing: &str) -> String {
    format!("topic readwrite $aws/things/{thing}/#")
}

fn accepted(thing: &str) -> Answers {
    vec![(
        "accepted",
        json!({ "thingName": thing, "deviceConfiguration": {} }),
    )]
}

fn wait_for(log: &Path, from: u64, words: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let mut text = String::new();
        let mut open = fs::File::open(log)?;
        open.seek(SeekFrom::Start(from))?;
        open.read_to_string(&mut text)?;
        if text.contains(words) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("the broker did not reload its access list");
}
