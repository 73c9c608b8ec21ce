//! Device that trusts keys of release sets, and the registry of its team.

use std::fs;
use std::path::PathBuf;

use edge_signature::set::{ReleaseSet, SetApp, manifest};
use edge_signature::{Annotations, Digest, Draft, Format, Keys, Registry, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::pulled::{Device, annotations};

const THING: &str = "edge-ai-1";
/// A time beyond that of any clock of today.
pub const LATER: u64 = 4_000_000_000;
const SPEC: &str = r#"{"app":"hello","v":1}"#;
pub const SETS: [&str; 2] = [
    "data/config/edge-docker/sets",
    "data/config/edge-docker/sets-copy",
];

/// Device with `count` set keys, all of which must have signed.
pub struct Fleet {
    pub device: Device,
    private: Vec<Vec<u8>>,
    keys: Keys,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

impl Fleet {
    pub fn new(count: usize) -> Self {
        let device = Device::new();
        let (mut private, mut public) = (Vec::new(), Vec::new());
        for number in 0..count {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
            let pem = key.public_key_to_pem().unwrap();
            let name = format!("etc/edge-ai/container-config/set-signing-{number}.pub");
            fs::write(device.path(&name), &pem).unwrap();
            private.push(key.private_key_to_pem_pkcs8().unwrap());
            public.push(pem);
        }
        let identity = device.path("data/config/aws-iot");
        fs::create_dir_all(&identity).unwrap();
        let config = json!({
            "endpoint": "x.test", "thing_name": THING, "cert_path": "/x", "key_path": "/x",
            "ca_path": "/x",
        });
        fs::write(identity.join("config.json"), config.to_string()).unwrap();
        let fleet = Self {
            device,
            private,
            keys: Keys::from_pems(&public).unwrap(),
        };
        fleet.policy(&json!({ "sets": { "threshold": count }, "engineer": "debug" }));
        fleet
    }

    pub fn policy(&self, policy: &Value) {
        let path = self.device.path("etc/edge-ai/container-config/policy.json");
        fs::write(path, policy.to_string()).unwrap();
    }

    fn registry(&self) -> Registry {
        let server = &self.device.server;
        let repository = server.repository().parse().unwrap();
        let authority = std::slice::from_ref(&server.ca_certificate);
        Registry::new(&repository, None, authority).unwrap()
    }

    /// Pushes a set that the first `count` keys have signed.
    pub fn release(&self, set: &ReleaseSet, count: usize) -> Digest {
        let registry = self.registry();
        let manifest = manifest(&set.to_bytes().unwrap());
        wait(async {
            let digest = registry.push_set(set).await.unwrap();
            for private in &self.private[..count] {
                let repository = registry.repository();
                let draft = Draft::of_set(Format::V2, repository, &digest, set);
                let signature = sign_with_pem(private, &draft.to_sign()).unwrap().0;
                let signed = draft.signed(signature);
                let pushed = registry
                    .push_signature(&self.keys, &manifest, &signed)
                    .await;
                pushed.unwrap();
            }
            digest
        })
    }

    /// Pushes a signed image with a run specification, and returns its entry in a set.
    pub fn app(&self, version: &str, number: u64) -> SetApp {
        let device = &self.device;
        let digest = device.put(&format!("hello-{version}"));
        let run = wait(self.registry().push_run_spec(SPEC.into())).unwrap();
        let annotations = Annotations {
            run: Some(run.clone()),
            ..annotations("hello", version, number)
        };
        device.sign_as(&digest, Format::V2, &annotations);
        SetApp {
            digest,
            name: "hello".into(),
            run,
            serial: number,
            timeout: None,
            version: version.into(),
        }
    }

    pub fn reference(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.device.server.repository())
    }

    pub fn take(&self, digest: &Digest) -> (i32, String) {
        self.device.say(&["set", "take", &self.reference(digest)])
    }

    /// Runs a command with `--json`; returns its exit code and standard output.
    pub fn json(&self, words: &[&str]) -> (i32, Value) {
        let words = [words, &["--json"]].concat();
        let output = self.device.command(&words).output().unwrap();
        let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), value)
    }

    pub fn refused(&self, digest: &Digest, reason: &str) {
        let reference = self.reference(digest);
        let (code, value) = self.json(&["set", "take", &reference]);
        assert_eq!((code, &value["refused"]), (125, &json!(reason)), "{value}");
        assert!(!value["message"].as_str().unwrap().is_empty());
    }

    pub fn proofs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.device.path(SETS[0]))
            .into_iter()
            .flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some()).collect()
    }
}

/// Returns a set of these apps for the device.
pub fn set(number: u64, apps: Vec<SetApp>) -> ReleaseSet {
    ReleaseSet {
        apps,
        ..ReleaseSet::new("barn", number, LATER, &["edge-ai-*"])
    }
}
