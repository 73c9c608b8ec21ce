//! Release sets and revoked digests on a real engine: deployments, restarts and boots.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::image::Image;
use device::{Device, REPOSITORY, output_text};
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::set::{ReleaseSet, SetApp, SetProof, manifest};
use edge_signature::{Digest, Draft, Format, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use serde_json::json;

const POLICY: &str = r#"{"sandbox":true,"run":"signed","engineer":"debug","sets":{"threshold":1}}"#;
const CONFIG: &str = r#"{"endpoint":"x.test","thing_name":"edge-ai-1","cert_path":"/x","key_path":"/x","ca_path":"/x"}"#;

fn spec() -> RunSpec {
    let mut spec = RunSpec::new("foo");
    spec.restart = "always".into();
    spec.network_mode = "none".into();
    spec.stop_signal = "SIGKILL".into();
    spec
}

/// Device with two signed versions of the app `foo`, and the key of its release sets.
fn start() -> (Device, [Image; 2], PKey<Private>) {
    let mut device = Device::start();
    device.write(
        "/etc/edge-ai/container-config/policy.json",
        POLICY.as_bytes(),
    );
    device.write("/data/config/aws-iot/config.json", CONFIG.as_bytes());
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let path = "/etc/edge-ai/container-config/set-signing.pub";
    device.write(path, &key.public_key_to_pem().unwrap());
    device.start_engine();
    let images = [1, 2].map(|number| {
        let image = device.release("foo", number, &["sleep", "1000"], 0);
        device.sign_spec(&image.manifest, &format!("v{number}"), number, &spec());
        image
    });
    (device, images, key)
}

/// Writes the proof of a set that names a version, as taking it does.
fn keep_set(device: &Device, key: &PKey<Private>, image: &Image, number: u64) -> Digest {
    let app = SetApp {
        digest: image.manifest.digest.clone(),
        name: "foo".into(),
        run: Digest::of(&spec().to_bytes().unwrap()),
        serial: number,
        timeout: Some(5),
        version: format!("v{number}"),
    };
    let set = ReleaseSet {
        apps: vec![app],
        ..ReleaseSet::new("barn", 10 + number, 4_000_000_000, &["*"])
    };
    let bytes = set.to_bytes().unwrap();
    let manifest = manifest(&bytes);
    let repository = REPOSITORY.parse().unwrap();
    let draft = Draft::of_set(Format::V2, &repository, &manifest.digest, &set);
    let private = key.private_key_to_pem_pkcs8().unwrap();
    let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
    let proof = SetProof::new(&manifest, bytes, vec![draft.signed(signature)]).unwrap();
    let hex = manifest.digest.hex();
    let path = format!("/data/config/edge-docker/sets/{hex}.json");
    device.write(&path, &proof.to_bytes());
    manifest.digest
}

/// Writes the record of revoked digests, as taking a list does.
fn revoke(device: &Device, image: &Image) {
    let digest = image.manifest.digest.as_str();
    let record = json!({ "v": 1, "floor": 0, "committed": null,
        "digests": { digest: { "number": 20, "revoked": true } } });
    for directory in ["sets", "sets-copy"] {
        let path = format!("/data/config/edge-docker/{directory}/record");
        device.write(&path, record.to_string().as_bytes());
    }
}

/// Restarts the engine with the boot audit.
fn boot(device: &mut Device) {
    device.stop_engine();
    device.start_engine();
}

#[test]
fn a_set_brings_back_the_lower_version_that_it_names() {
    let (mut device, [v1, v2], key) = start();
    let set = keep_set(&device, &key, &v1, 1);
    // Its image stays, although its release number is lower now.
    device.good(&["edge-docker", "replace", "foo-v2", "--timeout", "5"]);
    let (code, text) = device.bad(&["edge-docker", "replace", "foo-v1"]);
    assert!(
        code == 125 && text.contains("accepted release number 2"),
        "{text}"
    );
    let text = device.good(&["edge-docker", "replace", "--set", set.hex(), "foo-v1"]);
    assert!(text.contains("foo v1 runs"), "{text}");
    let serials = device.json("/data/config/edge-docker/serials/foo");
    assert_eq!(
        (&serials["highest"], &serials["allowed"]),
        (&json!(2), &json!([1]))
    );
    boot(&mut device);
    device::until("foo", || (device.running() == ["foo"]).then_some(()));
    let labels = device.good(&["docker", "inspect", "-f", "{{json .Config.Labels}}", "foo"]);
    assert!(labels.contains(v1.manifest.digest.as_str()), "{labels}");
    device.good(&["edge-docker", "restart", "foo"]);
    // The same again changes nothing.
    let text = device.good(&["edge-docker", "replace", "--set", set.hex(), "foo-v1"]);
    assert!(text.contains("nothing changed"), "{text}");
    let newer = keep_set(&device, &key, &v2, 2);
    device.good(&["edge-docker", "set", "commit", newer.hex()]);
    let (code, text) = device.bad(&["edge-docker", "replace", "--set", set.hex(), "foo-v1"]);
    assert!(code == 125 && text.contains("below 12"), "{text}");
}

#[test]
fn a_revoked_version_neither_starts_nor_comes_back() {
    let (mut device, [v1, v2], _) = start();
    for version in ["foo-v1", "foo-v2"] {
        device.good(&["edge-docker", "replace", version, "--timeout", "5"]);
    }
    // The previous version is revoked: a rollback to it is refused, and foo goes on.
    revoke(&device, &v1);
    let why = "release set 20 has revoked";
    let (code, text) = device.bad(&["edge-docker", "rollback", "foo", "--timeout", "5"]);
    assert!(code == 125 && text.contains(why), "{text}");
    assert_eq!(device.running(), ["foo"]);
    boot(&mut device);
    device::until("foo", || (device.running() == ["foo"]).then_some(()));
    // The version that runs is revoked: it ends with the next start, without a network.
    revoke(&device, &v2);
    for words in [
        &["edge-docker", "restart", "foo"][..],
        &["edge-docker", "exec", "foo", "ls"],
        &["edge-docker", "run", "foo-v2"],
        &["edge-docker", "replace", "foo-v2"],
        &["edge-docker", "replace", "--force", "foo-v2"],
    ] {
        let output = device.run(words);
        let text = output_text(&output);
        assert_eq!(output.status.code(), Some(125), "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
    }
    boot(&mut device);
    assert_eq!(device.running(), [""; 0]);
    let text = output_text(&device.run(&["edge-docker", "why", "foo"]));
    assert!(text.contains(why), "{text}");
    // Another version takes its place.
    device.good(&["edge-docker", "replace", "--allow-downgrade", "foo-v1"]);
    assert_eq!(device.running(), ["foo"]);
}
