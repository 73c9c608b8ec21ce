//! A device's root with trust anchors, kept proofs, a table of grants, and a
//! recorder in the engine's place.

use std::fs;
use std::path::{Path, PathBuf};

use edge_common::Root;
use edge_common::exit::code_of;
use edge_signature::{
    Annotations, CachedSignature, Digest, ImageRef, Manifest, Signed, payload, sign_with_pem,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use rustix::mount::{UnmountFlags, unmount};
use serde_json::json;

use crate::checker::board;
use crate::recorder::{Recorder, Request};

/// The one repository.
pub const REPOSITORY: &str = "r.io/edge-ai";
/// Id of the image `sandbox/toy`.
pub const SANDBOX_ID: &str =
    "sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/// Root of a device in a temporary directory, and the recorder that listens in it.
pub struct TestRoot {
    directory: tempfile::TempDir,
    key: PKey<Private>,
    pub root: Root,
    pub recorder: Recorder,
}

/// Outcome of a line.
pub struct Outcome {
    /// Exit code; 0 also where only `docker start` was missing at the end.
    pub code: u8,
    pub message: String,
    pub requests: Vec<Request>,
}

impl Outcome {
    /// Bodies of the containers that were created.
    pub fn created(&self) -> Vec<&Request> {
        let create = |a: &&Request| a.target.contains("/containers/create");
        self.requests.iter().filter(create).collect()
    }
}

impl TestRoot {
    /// Apps `hello` (no grants), `vision` (gpu, camera, i2c:7, and one that the
    /// board does not know), `net` (vpn, bus, tuned), and `sandbox/toy`.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for path in [
            "etc/edge-ai/container-config",
            "run",
            "data/apps/hello/sub",
            "data/apps/vision",
            "data/sandbox",
            "data/config/edge-docker/proofs",
            "data/config/edge-docker/tags",
        ] {
            fs::create_dir_all(at.join(path)).unwrap();
        }
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let config = at.join("etc/edge-ai/container-config");
        let public = key.public_key_to_pem().unwrap();
        fs::write(config.join("container-signing.pub"), public).unwrap();
        fs::write(config.join("ecr-url.txt"), format!("{REPOSITORY}\n")).unwrap();
        fs::write(
            config.join("policy.json"),
            r#"{"sandbox":true,"run":"any","engineer":"debug"}"#,
        )
        .unwrap();
        fs::write(
            at.join("etc/edge-ai/devices.json"),
            board::table().to_string(),
        )
        .unwrap();
        fs::write(at.join("data/apps/hello/vars"), "FROM_FILE=1\n# no\n").unwrap();
        let recorder = Recorder::start(&at.join("run/docker.sock"));
        for name in ["sandbox/toy", "sandbox/toy:latest", SANDBOX_ID] {
            recorder.image(name, SANDBOX_ID);
        }
        let root = Root::at(at);
        let test_root = Self {
            directory,
            key,
            root,
            recorder,
        };
        for (app, grants) in board::GRANTS {
            test_root.sign(app, grants);
        }
        test_root
    }

    /// A path of the device.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path(path)
    }

    /// Signs an image, tag `<app>-v1`, keeps its proof; gives the image's Id.
    pub fn sign(&self, app: &str, grants: &[&str]) -> Digest {
        let config = Digest::of(app.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [],
        });
        let manifest = Manifest::new(manifest.to_string().into_bytes());
        let image: ImageRef = format!("{REPOSITORY}:{app}-v1").parse().unwrap();
        let annotations = Annotations {
            app: app.into(),
            version: "v1".into(),
            release_number: 7,
            grants: grants.iter().map(ToString::to_string).collect(),
            run: None,
        };
        let payload = payload(&image, &manifest.digest, &annotations);
        let pem = self.key.private_key_to_pem_pkcs8().unwrap();
        let (signature, _) = sign_with_pem(&pem, &payload).unwrap();
        let proof = CachedSignature::new(&manifest, vec![Signed::new(payload, signature)]);
        let kept = self.path("/data/config/edge-docker");
        let file = kept
            .join("proofs")
            .join(format!("{}.json", manifest.digest.hex()));
        fs::write(file, serde_json::to_vec(&proof).unwrap()).unwrap();
        let tag = kept.join("tags").join(format!("{app}-v1"));
        fs::write(tag, manifest.digest.as_str()).unwrap();
        self.recorder.image(config.as_str(), config.as_str());
        config
    }

    /// Carries out a line.
    pub fn run_line(&self, args: &[&str]) -> Outcome {
        self.recorder.take();
        let args = args.iter().map(ToString::to_string).collect();
        let (code, message) = match edge_docker::run(&self.root, Ok(args)) {
            Ok(_) => (0, String::new()),
            Err(error) => match format!("{error:#}") {
                // Here is no docker to become, and no terminal: all was allowed
                // until then.
                said if said.starts_with("starting docker") => (0, said),
                said if said.contains("not a TTY") => (0, said),
                said => (code_of(&error), said),
            },
        };
        let requests = self.recorder.take();
        self.remove_clones();
        Outcome {
            code,
            message,
            requests,
        }
    }

    /// Takes away the mounts that a line left.
    pub fn remove_clones(&self) {
        let Ok(keys) = fs::read_dir(self.path("/run/edge-docker/pins")) else {
            return;
        };
        for key in keys.map(|k| k.unwrap().path()) {
            for pin in fs::read_dir(&key).unwrap() {
                let pin = pin.unwrap().path();
                let _ = unmount(&pin, UnmountFlags::DETACH);
                let _ = fs::remove_dir(&pin).or_else(|_| fs::remove_file(&pin));
            }
            fs::remove_dir(key).unwrap();
        }
    }

    /// The top of the root.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for TestRoot {
    fn drop(&mut self) {
        self.remove_clones();
    }
}

/// Returns the ID of the image of an app, as the checker asks for it.
pub fn image_id(app: &str, sandbox: bool) -> String {
    if sandbox {
        return SANDBOX_ID.into();
    }
    Digest::of(app.as_bytes()).to_string()
}
