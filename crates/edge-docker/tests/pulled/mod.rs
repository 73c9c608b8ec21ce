//! A device's root in a temporary directory, with a registry and an engine that
//! are small servers of the test.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

#[path = "../../../edge-signature/tests/server/mod.rs"]
pub mod server;

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use edge_signature::{Annotations, Digest, Draft, Format, Keys, Manifest, Registry, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::json;
use server::{Reply, Request, Server};
use tempfile::TempDir;

pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the engine has: names and Ids to Ids; and what it could pull.
#[derive(Default)]
pub struct Engine {
    pub has: Mutex<HashMap<String, String>>,
    pub pulls: Mutex<HashMap<String, String>>,
    pub asked: Mutex<Vec<String>>,
    /// Name that another command gives to another image during a push, with its Id.
    pub moved: Mutex<Option<(String, String)>>,
}

impl Engine {
    pub fn listen(self: &Arc<Self>, path: PathBuf) {
        let listener = UnixListener::bind(path).unwrap();
        let engine = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let engine = Arc::clone(&engine);
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Ok(request) = server::read(&mut stream) {
                        let reply = engine.answer(&request);
                        server::send(stream.get_mut(), &request, &reply).unwrap();
                    }
                });
            }
        });
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.path.trim_start_matches("/v1.41");
        let line = format!("{} {path}", request.method);
        self.asked.lock().unwrap().push(line);
        let mut has = self.has.lock().unwrap();
        if let Some(asked) = path.strip_prefix("/images/create?fromImage=") {
            let name = asked.replace("&tag=", "@");
            let pulls = self.pulls.lock().unwrap();
            let Some(id) = pulls.get(name.split_once('@').unwrap().1) else {
                return Reply::new(200, br#"{"error":"no such manifest"}"#);
            };
            has.insert(name, id.clone());
            has.insert(id.clone(), id.clone());
            return Reply::new(200, "{\"status\":\"Pulled\"}\n");
        }
        if path.contains("/push?tag=") {
            has.extend(self.moved.lock().unwrap().take());
            return Reply::new(200, "{\"status\":\"Pushed\"}\n");
        }
        if path.starts_with("/containers/create") {
            return Reply::new(201, br#"{"Id":"0123"}"#);
        }
        let name = path
            .trim_start_matches("/images/")
            .trim_end_matches("/json");
        match has.get(name) {
            Some(id) => Reply::new(200, json!({ "Id": id }).to_string()),
            None if path.ends_with("/json") => Reply::new(404, br#"{"message":"none"}"#),
            None => Reply::new(204, ""),
        }
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub fn created(&self) -> bool {
        self.asked()
            .iter()
            .any(|l| l.contains("/containers/create"))
    }
}

pub struct Device {
    pub directory: TempDir,
    pub server: Server,
    pub engine: Arc<Engine>,
    pub private: Vec<u8>,
    pub keys: Keys,
}

/// Exit code, and both streams.
pub type Said = (i32, String);

impl Device {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start();
        let engine = Arc::new(Engine::default());
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let public = key.public_key_to_pem().unwrap();
        let anchors = directory.path().join("etc/edge-ai/container-config");
        fs::create_dir_all(&anchors).unwrap();
        fs::write(anchors.join("container-signing.pub"), &public).unwrap();
        fs::write(anchors.join("ecr-url.txt"), server.repository()).unwrap();
        fs::write(
            anchors.join("policy.json"),
            r#"{"run":"any","engineer":"debug"}"#,
        )
        .unwrap();
        for name in ["run", "data/config"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("ca.pem"), &server.ca_certificate).unwrap();
        engine.listen(directory.path().join("run/docker.sock"));
        Self {
            directory,
            server,
            engine,
            private: key.private_key_to_pem_pkcs8().unwrap(),
            keys: Keys::from_pems(&[public]).unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.server.repository())
    }

    /// Puts an image there, signed with this serial.
    pub fn push(&self, tag: &str, serial: u64, format: Format) -> Digest {
        let digest = self.put(tag);
        self.sign(&digest, serial, format);
        digest
    }

    pub fn put(&self, tag: &str) -> Digest {
        let config = Digest::of(tag.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI, "layers": [],
            "config": { "mediaType": "x", "size": 2, "digest": config },
        });
        let bytes = manifest.to_string();
        let digest = self.server.put_manifest(tag, OCI, bytes.as_bytes());
        let mut pulls = self.engine.pulls.lock().unwrap();
        pulls.insert(digest.to_string(), config.to_string());
        digest
    }

    pub fn sign(&self, digest: &Digest, serial: u64, format: Format) {
        let version = format!("v{serial}");
        self.sign_as(digest, format, &annotations("hello", &version, serial));
    }

    pub fn sign_as(&self, digest: &Digest, format: Format, annotations: &Annotations) {
        let tag = format!("{}-{}", annotations.app, annotations.version);
        let name = self.image(&tag).parse().unwrap();
        let draft = Draft::new(format, &name, digest, annotations);
        let signature = sign_with_pem(&self.private, &draft.to_sign()).unwrap().0;
        let signed = draft.signed(signature);
        let manifest = Manifest::new(self.server.manifest(digest.as_str()).unwrap());
        let repository = self.server.repository().parse().unwrap();
        let ca_bundle = [self.server.ca_certificate.clone()];
        let registry = Registry::new(&repository, None, &ca_bundle).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let attached = registry.push_signature(&self.keys, &manifest, &signed);
        runtime.unwrap().block_on(attached).unwrap();
        self.server.requests();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let tests = std::env::current_exe().unwrap();
        let directory = tests.parent().and_then(|f| f.parent()).unwrap();
        let program = directory.join("examples/at_root");
        assert!(
            program.exists(),
            "run cargo build -p edge-docker --examples"
        );
        let mut command = Command::new(program);
        command
            .arg(self.directory.path())
            .args(words)
            .env_clear()
            .env("SSL_CERT_FILE", self.path("ca.pem"))
            .stdin(std::process::Stdio::null());
        command
    }

    pub fn say(&self, words: &[&str]) -> Said {
        let output = self.command(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    }

    pub fn run(&self, tag: &str) -> Said {
        self.say(&["run", "-d", &self.image(tag)])
    }

    pub fn pull(&self, tag: &str) -> Said {
        self.say(&["pull", "-q", &self.image(tag)])
    }

    /// From now on the registry does not answer, or does again.
    pub fn network(&self, up: bool) {
        self.server
            .hook(move |_| (!up).then(|| Reply::new(503, "")));
    }

    pub fn proof(&self, digest: &Digest) -> PathBuf {
        let name = format!("data/config/edge-docker/proofs/{}.json", digest.hex());
        self.path(&name)
    }
}

/// Signed annotations of a version without grants.
pub fn annotations(app: &str, version: &str, release_number: u64) -> Annotations {
    Annotations {
        app: app.into(),
        version: version.into(),
        release_number,
        grants: Vec::new(),
        run: None,
    }
}

pub fn is(said: &Said, code: i32, wanted: &str) {
    assert_eq!(said.0, code, "{}", said.1);
    assert!(said.1.contains(wanted), "{wanted}: {}", said.1);
    assert!(!said.1.contains("panicked"), "{}", said.1);
}
