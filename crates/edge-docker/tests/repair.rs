//! `pull` of an image with a damaged layer, with the real engine and a real registry: the
//! layer is as signed again, and the apps that use it come back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::collections::BTreeSet;
use std::fs;

use device::{Device, output_text};
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::{
    Annotations, Credentials, Digest, ImageRef, Keys, Registry, Repository, Signed, payload,
    sign_with_pem,
};
use edge_sim::testbed::Cloud;
use serde_json::json;

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const PRODUCTION: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Device with a registry that it pulls from.
struct Testbed {
    cloud: Cloud,
    repository: Repository,
    password: String,
    device: Device,
}

impl Testbed {
    fn start() -> Self {
        let cloud = Cloud::up();
        let name = cloud.value("registry");
        // The certificate has this name too, which the device knows.
        let name = name.replace("cloud.edge.test", "localhost");
        let mut device = Device::with_registry(&name, &cloud.file("ca.pem"));
        device.start_engine();
        device.write(POLICY, PRODUCTION);
        Self {
            password: fs::read_to_string(cloud.file("registry.password")).unwrap(),
            repository: name.parse().unwrap(),
            cloud,
            device,
        }
    }

    /// Pushes and signs the first version of an app; its lowest layer is that of all apps.
    fn push(&self, app: &str) {
        let credentials = Credentials {
            username: "AWS".into(),
            password: self.password.trim().into(),
        };
        let authority = fs::read(self.cloud.file("ca.pem")).unwrap();
        let registry = Registry::new(&self.repository, Some(credentials), &[authority]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(push(&self.device, &registry, app));
    }

    fn pull(&self, app: &str) -> (Option<i32>, String) {
        self.pull_with(app, self.password.trim())
    }

    fn pull_with(&self, app: &str, password: &str) -> (Option<i32>, String) {
        let image = format!("{}:{app}-v1", self.repository);
        let pull = [
            "edge-docker",
            "pull",
            "--username",
            "AWS",
            "--password-stdin",
            &image,
        ];
        let output = self.device.feed(&pull, password.as_bytes());
        (output.status.code(), output_text(&output))
    }

    fn run(&self, app: &str) -> String {
        self.device
            .good(&["edge-docker", "run", &format!("{app}-v1")])
    }

    /// Changes a file of the layer that all apps share; returns its path on this machine.
    fn damage(&self) {
        let image = format!("{}:foo-v1", self.repository);
        let form = "{{.GraphDriver.Data.LowerDir}}";
        let id = self
            .device
            .good(&["docker", "inspect", "-f", "{{.Image}}", "foo"]);
        let lower = self.device.good(&["docker", "inspect", "-f", form, &id]);
        let file = format!("{lower}/bin/sleep");
        assert!(self.device.path(&file).exists(), "{image}");
        fs::write(self.device.path(&file), "#!/bin/sh\n").unwrap();
    }

    fn boot(&mut self) -> String {
        self.device.restart_after_power_loss();
        self.device.good(&["rm", "-f", "/run/docker.pid"]);
        self.device.start_engine();
        output_text(&self.device.run(&["edge-docker", "replace", "--recover"]))
    }

    /// Damages the layer while the device is off; the check after the boot finds it.
    fn damaged_boot(&mut self) {
        self.damage();
        self.boot();
        self.device.good(&["edge-docker", "check-layers"]);
    }

    fn wait_for(&self, apps: &[&str]) {
        device::until("the apps", || (self.device.running() == apps).then_some(()));
    }

    /// Returns the number of lines that an app has printed at its starts.
    fn starts(&self, app: &str) -> usize {
        let log = self.device.good(&["docker", "logs", app]);
        log.lines().filter(|line| *line == "started").count()
    }
}

async fn push(device: &Device, registry: &Registry, app: &str) {
    let layers = device::image::layers(100_000 + app.len() * 8);
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({ "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Volumes": { "/cache": {} }, "Labels": { "maker": app } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = config.to_string().into_bytes();
    let mut descriptors = Vec::new();
    for layer in layers {
        let (size, digest) = (layer.len(), registry.push_blob(layer).await.unwrap());
        descriptors.push(json!({ "mediaType": LAYER, "digest": digest, "size": size }));
    }
    let size = config.len();
    let digest = registry.push_blob(config).await.unwrap();
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
        "config": { "mediaType": CONFIG, "digest": digest, "size": size } });
    let tag = format!("{app}-v1");
    let bytes = manifest.to_string().into_bytes();
    let digest = registry.push_manifest(&tag, bytes, MANIFEST).await.unwrap();
    let name: ImageRef = format!("{}:{tag}", registry.repository()).parse().unwrap();
    let manifest = registry.resolve(&name).await.unwrap();

    let mut spec = RunSpec::new(app);
    spec.command = ["sh", "-c", "echo started; exec sleep 1000"]
        .map(String::from)
        .into();
    spec.restart = "always".into();
    spec.stop_grace_period = Some(0);
    let run = registry
        .push_run_spec(spec.to_bytes().unwrap())
        .await
        .unwrap();
    let annotations = Annotations {
        app: app.into(),
        version: "v1".into(),
        release_number: 1,
        grants: Vec::new(),
        run: Some(run),
    };
    let payload = payload(&name, &digest, &annotations);
    let key = fs::read(device.path("/data/key.pem")).unwrap();
    let (signature, _) = sign_with_pem(&key, &payload).unwrap();
    let anchor = "/etc/edge-ai/container-config/container-signing.pub";
    let keys = Keys::from_pems(&[fs::read(device.path(anchor)).unwrap()]).unwrap();
    let signed = Signed::new(payload, signature);
    registry
        .push_signature(&keys, &manifest, &signed)
        .await
        .unwrap();
}

#[test]
fn pull_repairs_a_layer_and_its_apps_come_back() {
    let mut testbed = Testbed::start();
    for app in ["foo", "bar"] {
        testbed.push(app);
        assert_eq!(testbed.pull(app).0, Some(0));
        testbed.run(app);
    }
    testbed.wait_for(&["bar", "foo"]);
    state(&testbed, "first");

    // Found while the apps run.
    testbed.damage();
    let (code, told) = testbed.device.bad(&["edge-docker", "fsck", "foo"]);
    let expected = "foo v1: layer 1 of 2";
    assert!(code == 3 && told.contains(expected), "{code} {told}");
    testbed.device.good(&["edge-docker", "check-layers"]);
    assert_eq!(testbed.device.running(), [""; 0]);
    unreachable(&testbed);
    repaired(&testbed, "first");

    // Found at a boot: the engine does not get the containers.
    testbed.damaged_boot();
    testbed.boot();
    assert_eq!(testbed.device.running(), [""; 0]);
    let withheld = testbed.device.path("/data/docker/withheld");
    assert_eq!(fs::read_dir(withheld).unwrap().count(), 2);
    repaired(&testbed, "first");

    interrupted(&mut testbed);
    options(&testbed);
}

/// Writes to the volume of `foo`.
fn state(testbed: &Testbed, text: &str) {
    let form = "{{range .Mounts}}{{.Source}}{{end}}";
    let volume = testbed
        .device
        .good(&["docker", "inspect", "-f", form, "foo"]);
    fs::write(testbed.device.path(&format!("{volume}/state")), text).unwrap();
}

/// Pulls both images, and asserts that both apps run as before.
fn repaired(testbed: &Testbed, text: &str) {
    let (code, told) = testbed.pull("foo");
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("recreated foo from its signed specification"),
        "{told}"
    );
    assert!(
        told.contains("removed bar v1, whose layers are damaged"),
        "{told}"
    );
    testbed.wait_for(&["foo"]);
    let (code, told) = testbed.pull("bar");
    assert!(code == Some(0) && told.contains("recreated bar"), "{told}");
    testbed.wait_for(&["bar", "foo"]);
    assert!(testbed.starts("foo") >= 2, "the log follows");
    let form = "{{range .Mounts}}{{.Source}}{{end}}";
    let volume = testbed
        .device
        .good(&["docker", "inspect", "-f", form, "foo"]);
    let found = fs::read_to_string(testbed.device.path(&format!("{volume}/state")));
    assert_eq!(found.unwrap(), text, "the volume follows");
    for directory in ["withheld", "quarantine"] {
        let path = testbed.device.path(&format!("/data/docker/{directory}"));
        let left = fs::read_dir(path).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{directory}");
    }
    testbed.device.good(&["edge-docker", "fsck"]);
    testbed.device.good(&["edge-docker", "check-layers"]);
    testbed.device.good(&["edge-docker", "restart", "foo"]);
    testbed.wait_for(&["bar", "foo"]);
}

/// Without the registry nothing is removed.
fn unreachable(testbed: &Testbed) {
    let images = || {
        let all = ["docker", "images", "-q", "--no-trunc"];
        let all = testbed.device.good(&all);
        all.lines().map(String::from).collect::<BTreeSet<_>>()
    };
    let before = images();
    let (code, printed) = testbed.pull_with("foo", "another password");
    assert_ne!(code, Some(0), "{printed}");
    assert_eq!(images(), before);
    let all = testbed
        .device
        .good(&["docker", "ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(all.lines().count(), 2, "{all}");
}

/// The registry lacks a layer, so that the pull fails after the images were removed: the
/// apps come back with the next one, also after a boot.
fn interrupted(testbed: &mut Testbed) {
    testbed.damaged_boot();
    let blobs = testbed.cloud.file("registry/docker/registry/v2/blobs");
    let aside = testbed.cloud.file("blobs");
    let layer = Digest::of(&device::image::layers(100_024)[0]);
    let at = blobs
        .join("sha256")
        .join(&layer.hex()[..2])
        .join(layer.hex());
    fs::rename(&at, &aside).unwrap();
    let (code, told) = testbed.pull("foo");
    assert!(code != Some(0), "{told}");
    assert_eq!(testbed.device.running(), [""; 0]);
    for _ in 0..2 {
        testbed.boot();
        assert_eq!(testbed.device.running(), [""; 0]);
    }
    fs::rename(&aside, &at).unwrap();
    for app in ["foo", "bar"] {
        let (code, told) = testbed.pull(app);
        assert_eq!(code, Some(0), "{told}");
    }
    testbed.wait_for(&["bar", "foo"]);
}

/// A container that was created with options cannot be recreated: it is named, and nothing
/// is removed.
fn options(testbed: &Testbed) {
    let any = br#"{"sandbox":false,"run":"any","engineer":"debug"}"#;
    testbed.device.write(POLICY, any);
    let image = format!("{}:foo-v1", testbed.repository);
    testbed.device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "other",
        "-e",
        "A=b",
        &image,
        "sleep",
        "1000",
    ]);
    testbed.damage();
    testbed.device.good(&["edge-docker", "check-layers"]);
    let (code, told) = testbed.pull("foo");
    assert!(
        code == Some(125) && told.contains("edge-docker rm other"),
        "{told}"
    );
    let all = testbed
        .device
        .good(&["docker", "ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(all.lines().count(), 3, "{all}");
    testbed.device.good(&["edge-docker", "rm", "other"]);
    assert_eq!(testbed.pull("foo").0, Some(0));
    assert_eq!(testbed.pull("bar").0, Some(0));
    testbed.wait_for(&["bar", "foo"]);
}
