//! Apps of the device whose disk is edited, and the places where their files are.

use std::fs;
use std::path::{Path, PathBuf};

use edge_docker_policy::run_spec::{RunSpec, SpecVolume};
use edge_signature::{Digest, Manifest};
use serde_json::{Value, json};

use crate::device::Device;
use crate::device::image::Image;

/// Container of an app, with the paths of its files on the device.
pub struct App {
    /// Name of the app and of its container.
    pub name: String,
    /// Image ID.
    pub image: String,
    /// Container ID.
    pub id: String,
    /// Create request of the version before, which was removed.
    pub older: Value,
    /// Directory of the layer that the container writes to, without `/diff`.
    pub own: String,
    /// Directory of the top layer of the image, without `/diff`.
    pub layer: String,
    /// Engine's metadata of that layer.
    pub metadata: String,
    /// Key of the mount clones.
    key: String,
    /// Digest of the signed manifest.
    manifest: Digest,
}

/// Specification of version `number` of an app. Apps differ, so that every part of one is
/// compared.
fn spec(name: &str, at: usize, number: u64) -> RunSpec {
    let mut spec = RunSpec::new(name);
    spec.command = ["sh", "-c", "exec sleep 1000"].map(String::from).into();
    spec.environment = [("VERSION".into(), number.to_string())].into();
    spec.restart = if at.is_multiple_of(3) {
        "always"
    } else {
        "unless-stopped"
    }
    .into();
    spec.stop_grace_period = Some(0);
    // A network costs most of the time of a start.
    spec.network_mode = if at.is_multiple_of(8) {
        "bridge"
    } else {
        "none"
    }
    .into();
    spec.volumes = vec![SpecVolume {
        target: "/state".into(),
        ..SpecVolume::default()
    }];
    if at % 2 == 1 {
        spec.user = "1000:1000".into();
        spec.cap_drop = vec!["ALL".into()];
    }
    if at % 5 == 2 {
        spec.read_only = true;
        spec.tmpfs = [("/tmp".into(), String::new())].into();
    }
    if at % 7 == 3 {
        spec.mem_limit = 64 << 20;
        spec.hostname = "box".into();
        spec.init = true;
    }
    spec
}

impl App {
    /// Signs an image as two versions of the app `name`, the app number `at` of the device,
    /// and runs the second one after the first.
    pub fn run(device: &Device, image: Image, name: &str, at: usize) -> Self {
        let first = run(device, &image, &spec(name, at, 1), 1);
        let older = device.json(&record(&first));
        device.good(&["edge-docker", "rm", "-f", name]);
        let manifest = manifest(&image, 2);
        let id = run(device, &image, &spec(name, at, 2), 2);
        let key = device.json(&record(&id))["Labels"]["edge.pins"].clone();
        let inspected = device.good(&["docker", "inspect", &id, &image.id]);
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let upper = |at: usize| {
            let upper = inspected[at]["GraphDriver"]["Data"]["UpperDir"].as_str();
            upper.unwrap().strip_suffix("/diff").unwrap().to_string()
        };
        Self {
            name: name.into(),
            own: upper(0),
            layer: upper(1),
            metadata: metadata(device, &upper(1)),
            image: image.id,
            id,
            older,
            key: key.as_str().unwrap().into(),
            manifest: manifest.digest,
        }
    }

    /// Returns the path of a file in the engine's directory of the container.
    pub fn stored(&self, file: &str) -> String {
        format!("/data/docker/containers/{}/{file}", self.id)
    }

    /// Returns the path of the create request.
    pub fn record(&self) -> String {
        record(&self.id)
    }

    /// Returns the files on which the start of the container depends: those of edge-docker,
    /// and those of the engine.
    pub fn files(&self) -> Vec<String> {
        let kept = |path: &str| format!("/data/config/edge-docker/{path}");
        let data = |path: &str| format!("/data/docker/{path}");
        let (id, name) = (&self.id, &self.name);
        let mut files = vec![
            self.record(),
            kept(&format!("pins/{}.json", self.key)),
            kept(&format!("proofs/{}.json", self.manifest.hex())),
            kept(&format!("tags/{name}-v2")),
            kept(&format!("serials/{name}")),
            kept(&format!("serials-copy/{name}")),
            kept(&format!("switches/{name}.json")),
            kept(&format!("interrupted/{id}")),
            data(&format!(
                "image/overlay2/imagedb/content/sha256/{}",
                &self.image[7..]
            )),
        ];
        let stored = [
            "config.v2.json",
            "hostconfig.json",
            "hosts",
            "hostname",
            "resolv.conf",
        ];
        files.extend(
            stored
                .iter()
                .chain(&stored[..2])
                .map(|file| self.stored(file)),
        );
        let mounts = ["mount-id", "init-id", "parent"];
        let mounts = mounts.map(|file| data(&format!("image/overlay2/layerdb/mounts/{id}/{file}")));
        files.extend(mounts);
        for file in ["diff", "parent", "cache-id", "size", "tar-split.json.gz"] {
            files.push(format!("{}/{file}", self.metadata));
        }
        for directory in [&self.own, &format!("{}-init", self.own), &self.layer] {
            files.extend(["lower", "link"].map(|file| format!("{directory}/{file}")));
        }
        files
    }
}

fn record(id: &str) -> String {
    format!("/data/config/edge-docker/containers/{id}.json")
}

/// Returns a manifest of the image that is another one for each version.
fn manifest(image: &Image, number: u64) -> Manifest {
    let mut manifest: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    manifest["annotations"] = json!({ "number": number.to_string() });
    Manifest::new(manifest.to_string().into_bytes())
}

/// Signs and runs a version; returns the ID of the container.
fn run(device: &Device, image: &Image, spec: &RunSpec, number: u64) -> String {
    let version = format!("v{number}");
    device.sign_spec(&manifest(image, number), &version, number, spec);
    let name = format!("{}-{version}", spec.app);
    device.good(&["edge-docker", "run", &name])
}

/// Returns the engine's directory of the metadata of the layer in `directory`.
fn metadata(device: &Device, directory: &str) -> String {
    let all = "/data/docker/image/overlay2/layerdb/sha256";
    let name = Path::new(directory).file_name().unwrap().to_str().unwrap();
    let is_of = |path: &PathBuf| fs::read_to_string(path.join("cache-id")).unwrap() == name;
    let mut entries = fs::read_dir(device.path(all)).unwrap();
    let found = entries.find_map(|entry| Some(entry.unwrap().path()).filter(is_of));
    let found = found.unwrap();
    format!("{all}/{}", found.file_name().unwrap().to_str().unwrap())
}
