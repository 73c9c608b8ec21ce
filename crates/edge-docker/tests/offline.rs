//! Pulls, kept proofs and serials: a registry and an engine that are small
//! servers of this test, and a device's root in a temporary folder.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../../edge-signature/tests/server/mod.rs"]
mod server;

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use edge_signature::{
    Annotations, Digest, Draft, Format, Keys, Manifest, Registry, architecture, sign_with_pem,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};
use server::{Reply, Request, Server};
use tempfile::TempDir;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the engine has: names and Ids to Ids; and what it could pull.
#[derive(Default)]
struct Engine {
    has: Mutex<HashMap<String, String>>,
    pulls: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl Engine {
    fn listen(self: &Arc<Self>, path: PathBuf) {
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

    fn answer(&self, request: &Request) -> Reply {
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

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn created(&self) -> bool {
        self.asked()
            .iter()
            .any(|l| l.contains("/containers/create"))
    }
}

struct Device {
    folder: TempDir,
    server: Server,
    engine: Arc<Engine>,
    private: Vec<u8>,
    keys: Keys,
}

/// Exit code, and both streams.
type Said = (i32, String);

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start();
        let engine = Arc::new(Engine::default());
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let public = key.public_key_to_pem().unwrap();
        let anchors = folder.path().join("etc/edge-ai/container-config");
        fs::create_dir_all(&anchors).unwrap();
        fs::write(anchors.join("container-signing.pub"), &public).unwrap();
        fs::write(anchors.join("ecr-url.txt"), server.repository()).unwrap();
        fs::write(anchors.join("policy.json"), "{}").unwrap();
        for name in ["run", "data/config"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("ca.pem"), &server.authority).unwrap();
        engine.listen(folder.path().join("run/docker.sock"));
        Self {
            folder,
            server,
            engine,
            private: key.private_key_to_pem_pkcs8().unwrap(),
            keys: Keys::from_pems(&[public]).unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.server.repository())
    }

    /// Puts an image there, signed with this serial.
    fn push(&self, tag: &str, serial: u64, format: Format) -> Digest {
        let digest = self.put(tag);
        self.sign(&digest, serial, format);
        digest
    }

    fn put(&self, tag: &str) -> Digest {
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

    fn sign(&self, digest: &Digest, serial: u64, format: Format) {
        let annotations = Annotations {
            app: "hello".into(),
            version: format!("v{serial}"),
            serial,
            grants: Vec::new(),
        };
        let name = self.image("any").parse().unwrap();
        let draft = Draft::new(format, &name, digest, &annotations);
        let signature = sign_with_pem(&self.private, &draft.to_sign()).unwrap().0;
        let signed = draft.signed(signature);
        let manifest = Manifest::new(self.server.manifest(digest.as_str()).unwrap());
        let repository = self.server.repository().parse().unwrap();
        let authorities = [self.server.authority.clone()];
        let registry = Registry::new(&repository, None, &authorities).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let attached = registry.attach(&self.keys, &manifest, &signed);
        runtime.unwrap().block_on(attached).unwrap();
        self.server.asked();
    }

    fn command(&self, words: &[&str]) -> Command {
        let tests = std::env::current_exe().unwrap();
        let folder = tests.parent().and_then(|f| f.parent()).unwrap();
        let program = folder.join("examples/at_root");
        assert!(
            program.exists(),
            "run cargo build -p edge-docker --examples"
        );
        let mut command = Command::new(program);
        command
            .arg(self.folder.path())
            .args(words)
            .env_clear()
            .env("SSL_CERT_FILE", self.path("ca.pem"))
            .stdin(std::process::Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> Said {
        let output = self.command(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    }

    fn run(&self, tag: &str) -> Said {
        self.say(&["run", "-d", &self.image(tag)])
    }

    fn pull(&self, tag: &str) -> Said {
        self.say(&["pull", "-q", &self.image(tag)])
    }

    /// From now on the registry does not answer, or does again.
    fn network(&self, up: bool) {
        self.server
            .hook(move |_| (!up).then(|| Reply::new(503, "")));
    }

    fn proof(&self, digest: &Digest) -> PathBuf {
        let name = format!("data/config/edge-docker/proofs/{}.json", digest.hex());
        self.path(&name)
    }
}

fn is(said: &Said, code: i32, wanted: &str) {
    assert_eq!(said.0, code, "{}", said.1);
    assert!(said.1.contains(wanted), "{wanted}: {}", said.1);
    assert!(!said.1.contains("panicked"), "{}", said.1);
}

#[test]
fn what_was_verified_starts_without_network() {
    for format in [Format::V2, Format::V3] {
        let device = Device::new();
        let digest = device.push("hello-v1", 1, format);
        is(&device.pull("hello-v1"), 0, &format!("@{digest}"));
        device.network(false);
        is(&device.run("hello-v1"), 0, "0123");
        let name = format!("{}@{digest}", device.server.repository());
        is(&device.say(&["run", "-d", &name]), 0, "0123");
        is(&device.run("hello-v2"), 124, "does not answer");
        is(&device.pull("hello-v1"), 124, "does not answer");
        // The engine lost the image: only the network can bring it back.
        device.engine.has.lock().unwrap().clear();
        is(&device.run("hello-v1"), 124, "does not answer");
        device.network(true);
        is(&device.run("hello-v1"), 0, "0123");
    }
}

#[test]
fn an_index_is_pulled_by_its_child() {
    let device = Device::new();
    let child = device.put("child");
    let size = device.server.manifest(child.as_str()).unwrap().len();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": OCI, "digest": child, "size": size,
            "platform": { "os": "linux", "architecture": architecture() } }] });
    let bytes = index.to_string();
    let index = device
        .server
        .put_manifest("hello-v1", INDEX, bytes.as_bytes());
    is(&device.run("hello-v1"), 125, "no signature");
    device.sign(&index, 1, Format::V2);
    is(&device.pull("hello-v1"), 0, &format!("@{index}"));
    let asked = device.engine.asked();
    assert!(asked[0].ends_with(&format!("&tag={child}")), "{asked:?}");
    assert!(!device.engine.created());
    device.network(false);
    is(&device.run("hello-v1"), 0, "0123");
    let name = format!("{}@{index}", device.server.repository());
    is(&device.say(&["run", "-d", &name]), 0, "0123");
}

#[test]
fn a_damaged_proof_lets_nothing_run_and_is_mended() {
    let device = Device::new();
    let digest = device.push("hello-v1", 1, Format::V2);
    let other = device.push("other-v1", 1, Format::V2);
    is(&device.pull("hello-v1"), 0, "");
    is(&device.pull("other-v1"), 0, "");
    let path = device.proof(&digest);
    let good = fs::read(&path).unwrap();
    let other = fs::read(device.proof(&other)).unwrap();
    let mut tampered: Value = serde_json::from_slice(&good).unwrap();
    let signature = tampered.pointer_mut("/signed/0/signature").unwrap();
    let text = signature.as_str().unwrap();
    let at = text.len() / 2;
    let letter = if &text[at..=at] == "A" { "B" } else { "A" };
    *signature = format!("{}{letter}{}", &text[..at], &text[at + 1..]).into();
    let mut unsigned: Value = serde_json::from_slice(&good).unwrap();
    unsigned["signed"] = json!([]);
    let cases: [(Vec<u8>, &str); 8] = [
        (good[..good.len() / 2].to_vec(), "is damaged"),
        (Vec::new(), "is damaged"),
        (b"[]".to_vec(), "is damaged"),
        (vec![b' '; 17 << 20], "larger than"),
        (other, "is for other content"),
        (tampered.to_string().into_bytes(), "does not hold"),
        (unsigned.to_string().into_bytes(), "no signature"),
        (b"\xff\xfe".to_vec(), "is damaged"),
    ];
    device.engine.asked();
    for (bad, wanted) in cases {
        fs::write(&path, bad).unwrap();
        device.network(false);
        let said = device.run("hello-v1");
        is(&said, 124, wanted);
        is(&said, 124, "does not answer");
        assert!(!device.engine.created());
        device.network(true);
        is(&device.run("hello-v1"), 0, "0123");
        assert_eq!(fs::read(&path).unwrap(), good);
        assert!(device.engine.created());
    }
    fs::remove_file(&path).unwrap();
    device.network(false);
    is(&device.run("hello-v1"), 124, "does not answer");
    device.network(true);
    is(&device.run("hello-v1"), 0, "0123");
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[test]
fn an_older_version_comes_back_only_when_told_to() {
    let device = Device::new();
    for serial in 1..=4 {
        device.push(&format!("hello-v{serial}"), serial, Format::V2);
    }
    is(&device.pull("hello-v1"), 0, "");
    is(&device.pull("hello-v2"), 0, "");
    is(&device.pull("hello-v3"), 0, "");
    for tag in ["hello-v1", "hello-v2"] {
        is(&device.pull(tag), 125, "accepted serial 3");
        is(&device.run(tag), 125, "--allow-downgrade");
    }
    assert!(!device.engine.created());
    let old = device.image("hello-v2");
    let said = device.say(&["run", "-d", "--allow-downgrade", &old]);
    is(&said, 0, "takes serial 2, older than");
    // It starts again after a reboot without network, its neighbour does not.
    device.network(false);
    is(&device.run("hello-v2"), 0, "0123");
    is(&device.run("hello-v1"), 125, "accepted serial 3");
    is(&device.run("hello-v3"), 0, "0123");
    device.network(true);
    is(&device.pull("hello-v2"), 0, "");
    is(&device.pull("hello-v4"), 0, "");
    is(&device.run("hello-v2"), 125, "accepted serial 4");
    let pull = ["pull", "-q", "--allow-downgrade", &device.image("hello-v1")];
    is(&device.say(&pull), 0, "takes serial 1");
    is(&device.run("hello-v1"), 0, "0123");

    let record = device.path("data/config/edge-docker/serials/hello");
    fs::write(&record, "{").unwrap();
    is(&device.run("hello-v4"), 125, "is damaged");
    is(
        &device.say(&["run", "-d", "--allow-downgrade", &device.image("hello-v4")]),
        0,
        "",
    );
    is(&device.run("hello-v1"), 125, "accepted serial 4");
}

#[test]
fn why_it_is_not_pulled() {
    let device = Device::new();
    device.put("hello-v1");
    is(&device.pull("hello-v1"), 125, "no signature");
    is(&device.pull("hello-v9"), 125, "not found");
    for (status, code, wanted) in [
        (401, 124, "use edge-docker login"),
        (403, 124, "use edge-docker login"),
        (429, 124, "does not answer"),
        (500, 124, "does not answer"),
    ] {
        device.server.hook(move |_| Some(Reply::new(status, "")));
        is(&device.pull("hello-v1"), code, wanted);
    }
    device.network(true);
    let digest = device.push("hello-v2", 1, Format::V2);
    let evil = Digest::of(b"evil").to_string();
    let mut pulls = device.engine.pulls.lock().unwrap();
    pulls.insert(digest.to_string(), evil);
    drop(pulls);
    is(
        &device.pull("hello-v2"),
        125,
        "other content than what was signed",
    );
    assert!(!device.proof(&digest).exists());
    let key = device.path("etc/edge-ai/container-config/container-signing-b.pub");
    fs::write(&key, "nonsense").unwrap();
    is(&device.pull("hello-v2"), 1, "not a PEM public key");
}

#[test]
fn two_pulls_at_once() {
    let device = Device::new();
    let digest = device.push("hello-v1", 1, Format::V2);
    let name = device.image("hello-v1");
    let pull = ["pull", "-q", &name];
    let both: Vec<_> = (0..2)
        .map(|_| device.command(&pull).spawn().unwrap())
        .collect();
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    device.network(false);
    is(&device.run("hello-v1"), 0, "0123");
    let proofs = device.path("data/config/edge-docker/proofs");
    let names: Vec<_> = fs::read_dir(proofs)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, [format!("{}.json", digest.hex()).as_str()]);
}
