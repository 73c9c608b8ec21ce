//! Images of the operating system: signed, pushed to a real registry, verified, listed,
//! and what nobody with access to the registry can make of them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use edge_signature::dsse::Role;
use edge_signature::os::{ARTIFACT_TYPE, BUNDLE_TYPE, ENVELOPE_TYPE, OsImage};
use edge_signature::{Credentials, Digest, Keys, Registry, sign_with_pem};
use edge_sim::testbed::{Bundle, Cloud, rauc, run};
use openssl::sha::sha256;
use project::Project;
use serde_json::{Value, json};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn push<'a>(bundle: &'a str, version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let asked = [
        "os",
        "push",
        bundle,
        "--version",
        version,
        "--number=7",
        "--compatible=board",
        "--l4t=36.5.0",
    ];
    [&asked[..], more].concat()
}

/// Builds a bundle of a version into the project, signed as a build signs it.
fn build(project: &Project, version: &str) -> PathBuf {
    // Two pieces of an upload.
    let rootfs: Vec<u8> = (0..36_864u32)
        .flat_map(|i| sha256(&i.to_le_bytes()))
        .collect();
    let bundle = Bundle {
        compatible: "board",
        version,
        rootfs: &rootfs,
    };
    bundle.build(project.directory.path())
}

/// Values that contradict the bundle or have another form.
fn wrong_options(project: &Project) {
    for wrong in [
        &["--l4t=36.5"][..],
        &["--compatible=a b"],
        &["--compatible=other"],
        &["--version=2026.12"],
        &["--manifest-hash=x"],
        &["--number=0"],
        &["--size=0"],
        &["--size=4096"],
    ] {
        let arguments: Vec<_> = push("os.raucb", "2026.11", &[]);
        let name = wrong[0].split('=').next().unwrap();
        let arguments = arguments
            .into_iter()
            .filter(|a| !a.starts_with(&format!("{name}=")));
        let arguments: Vec<_> = arguments.chain(wrong.iter().copied()).collect();
        project.fails(&arguments, 2, "");
    }
}

#[test]
fn an_image_is_signed_by_the_key_of_its_role() {
    let cloud = Cloud::up();
    let project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    let bundle = build(&project, "2026.11");
    let built = fs::read(&bundle).unwrap();
    assert!(built.len() > 1 << 20);
    project.fails(&push("os.raucb", "2026.11", &[]), 3, "os_key");
    project.set("os_key", json!(cloud.value("os_key")));
    project.fails(&push("absent", "2026.11", &[]), 3, "absent");
    wrong_options(&project);
    assert_eq!(project.succeeds(&["os", "list", "--json"]).trim(), "[]");
    assert_eq!(
        fs::read(&bundle).unwrap(),
        built,
        "changed by a refused push"
    );

    let pushed = project.succeeds(&push("os.raucb", "2026.11", &["--out", "os.dsse.json"]));
    assert!(pushed.contains("/edge-ai@sha256:"), "{pushed}");
    // Again, and with other content.
    let signed = fs::read(&bundle).unwrap();
    assert_ne!(signed, built);
    project.succeeds(&push("os.raucb", "2026.11", &[]));
    assert_eq!(fs::read(&bundle).unwrap(), signed, "signed twice");
    project.fails(
        &push("os.raucb", "2026.11", &["--data-format=2"]),
        2,
        "exists with other content",
    );
    let verified = project.succeeds(&["os", "verify", "2026.11", "--out", "again.json"]);
    let image: OsImage = serde_json::from_str(&verified).unwrap();
    assert_eq!(image.number, 7);
    assert_eq!(image.bundle_size, signed.len() as u64);
    assert_eq!(image.size, 36_864 * 32);
    let envelope = fs::read(project.directory.path().join("os.dsse.json")).unwrap();
    let public = Keys::from_pems(&[fs::read(cloud.value("os_pub")).unwrap()]).unwrap();
    assert_eq!(OsImage::verify(&public, &envelope).unwrap(), image);
    assert!(Role::Container.verify(&public, &envelope).is_err());
    let again = fs::read(project.directory.path().join("again.json")).unwrap();
    assert_eq!(OsImage::verify(&public, &again).unwrap(), image);
    // The keys of the other roles verify none.
    for key in ["signing_key", "engineer_key"] {
        let key = cloud.value(key);
        project.fails(
            &["os", "verify", "2026.11", "--key", &key],
            7,
            "not trusted",
        );
    }
    project.fails(&["os", "verify", "2026.12"], 4, "edge-app os list");
    let table = project.succeeds(&["os", "list"]);
    assert!(
        table.contains("2026.11") && table.contains("board"),
        "{table}"
    );
}

/// RAUC itself accepts the bundle that was pushed, with the key of its role alone, and what is
/// no bundle is refused before anything is signed.
#[test]
fn rauc_accepts_the_pushed_bundle() {
    let cloud = Cloud::up();
    let project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    project.set("os_key", json!(cloud.value("os_key")));
    let bundle = build(&project, "2026.11");
    let built = fs::read(&bundle).unwrap();
    let info = |key: &str| {
        let anchors = project.directory.path().join("anchors.pem");
        let keys = Keys::from_pems(&[fs::read(cloud.value(key)).unwrap()]).unwrap();
        fs::write(&anchors, edge_signature::keyring(&keys).unwrap()).unwrap();
        run(Command::new(rauc())
            .args(["-C", "keyring:check-purpose=codesign", "info", "--keyring"])
            .args([&anchors, &bundle]))
    };
    assert_ne!(info("os_pub").0, 0);
    project.succeeds(&push("os.raucb", "2026.11", &["--out", "os.dsse.json"]));
    let (code, text) = info("os_pub");
    assert_eq!(code, 0, "{text}");
    let envelope = fs::read(project.directory.path().join("os.dsse.json")).unwrap();
    let image = OsImage::verify(&os_keys(&cloud), &envelope).unwrap();
    assert!(text.contains(&image.manifest_hash), "{text}");
    assert_ne!(info("signing_pub").0, 0);

    let end = built.len();
    let size = |bytes: u64| [&built[..end - 8], &bytes.to_be_bytes()[..]].concat();
    let flipped = |at: usize| {
        let mut bytes = built.clone();
        bytes[at] ^= 1;
        bytes
    };
    let hostile = [
        Vec::new(),
        b"short".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        size(0),
        size(u64::MAX),
        size(end as u64 - 8),
        size(end as u64),
        built[..end - 1].to_vec(),
        flipped(end - 12),
    ];
    for (number, bytes) in hostile.iter().enumerate() {
        fs::write(&bundle, bytes).unwrap();
        let (code, _, text) = project.run(&push("os.raucb", "2026.12", &[]));
        assert_eq!(code, 3, "{number}: {text}");
        assert!(text.contains("no bundle of RAUC"), "{number}: {text}");
        assert_eq!(fs::read(&bundle).unwrap(), *bytes);
    }
}

/// Whoever can push to the registry, but has no key.
struct Attacker {
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

impl Attacker {
    fn new(cloud: &Cloud) -> Self {
        let password = fs::read_to_string(cloud.value("registry_password_file")).unwrap();
        let credentials = Credentials {
            username: "AWS".into(),
            password: password.trim().into(),
        };
        // Without the proxy that edge-app uses.
        let repository = cloud
            .value("registry")
            .replace("cloud.edge.test", "localhost");
        let repository = repository.parse().unwrap();
        let ca = fs::read(cloud.file("ca.pem")).unwrap();
        Self {
            registry: Registry::new(&repository, Some(credentials), &[ca]).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn blob(&self, bytes: &[u8]) -> (Digest, usize) {
        let pushed = self.registry.push_blob(bytes.to_vec());
        (self.runtime.block_on(pushed).unwrap(), bytes.len())
    }

    fn layer(&self, kind: &str, bytes: &[u8]) -> Value {
        let (digest, size) = self.blob(bytes);
        json!({ "mediaType": kind, "digest": digest, "size": size })
    }

    fn manifest(&self, version: &str, kind: &str, layers: &[Value]) {
        let (config, _) = self.blob(b"{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "layers": layers,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": config },
        });
        let tag = format!("os.{version}");
        let bytes = manifest.to_string().into_bytes();
        let pushed = self.registry.push_manifest(&tag, bytes, OCI_MANIFEST);
        self.runtime.block_on(pushed).unwrap();
    }
}

#[test]
fn what_is_pushed_without_the_key_is_refused() {
    let cloud = Cloud::up();
    let project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    project.set("os_key", json!(cloud.value("os_key")));
    let bundle = build(&project, "1");
    project.succeeds(&push("os.raucb", "1", &["--out", "1.json"]));
    let envelope = fs::read(project.directory.path().join("1.json")).unwrap();
    let attacker = Attacker::new(&cloud);
    let (signed, bundle) = (
        attacker.layer(ENVELOPE_TYPE, &envelope),
        attacker.layer(BUNDLE_TYPE, &fs::read(bundle).unwrap()),
    );
    let refused = |kind: &str, layers: &[Value], code, expected: &str| {
        attacker.manifest("1", kind, layers);
        project.fails(&["os", "verify", "1"], code, expected);
    };
    let other = attacker.layer(BUNDLE_TYPE, b"exchanged");
    let both = vec![signed.clone(), other];
    refused(ARTIFACT_TYPE, &both, 4, "not the signed one");
    let large = attacker.layer(ENVELOPE_TYPE, &[b' '; 20_000]);
    for (kind, layers) in [
        (ARTIFACT_TYPE, vec![bundle.clone()]),
        (ARTIFACT_TYPE, vec![signed.clone()]),
        ("application/x", vec![signed.clone(), bundle.clone()]),
        (ARTIFACT_TYPE, vec![large, bundle.clone()]),
    ] {
        refused(kind, &layers, 4, "not a manifest of an OS image");
    }
    let truncated = attacker.layer(ENVELOPE_TYPE, &envelope[..envelope.len() - 9]);
    refused(ARTIFACT_TYPE, &[truncated, bundle.clone()], 4, "");
    // Signed by another role, with the very key of that role.
    let payload = OsImage::verify(&os_keys(&cloud), &envelope).unwrap();
    let payload = payload.payload();
    for (role, key) in [
        (Role::Container, "signing_key"),
        (Role::Ticket, "engineer_key"),
        (Role::Os, "signing_key"),
    ] {
        let pem = fs::read(cloud.value(key)).unwrap();
        let signature = sign_with_pem(&pem, &role.to_sign(&payload)).unwrap().0;
        let layer = attacker.layer(ENVELOPE_TYPE, &role.seal(&payload, &signature));
        let code = if role == Role::Os { 7 } else { 4 };
        refused(ARTIFACT_TYPE, &[layer, bundle.clone()], code, "");
    }
    // The genuine image under the name of a newer one.
    attacker.manifest("2", ARTIFACT_TYPE, &[signed, bundle]);
    project.fails(&["os", "verify", "2"], 4, "signed as version 1");
    let list: Value = serde_json::from_str(&project.succeeds(&["os", "list", "--json"])).unwrap();
    let rows = list.as_array().unwrap();
    assert!(rows.iter().all(|r| r["problem"].is_string()), "{list}");
}

fn os_keys(cloud: &Cloud) -> Keys {
    Keys::from_pems(&[fs::read(cloud.value("os_pub")).unwrap()]).unwrap()
}
