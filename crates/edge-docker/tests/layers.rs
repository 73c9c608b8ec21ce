//! Layers that were changed while the device was off: found by the check after the boot or
//! before the engine's start, and containers of damaged images do not start.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use device::image::Image;
use device::{Device, output_text};
use edge_docker_policy::run_spec::RunSpec;
use serde_json::Value;

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const PRODUCTION: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const BEFORE_START: &[u8] =
    br#"{"sandbox":false,"run":"signed","engineer":"operate","layers":"before-start"}"#;
const DAMAGE: &str = "/data/config/edge-docker/damaged-layers.json";
const RESULTS: &str = "/run/edge-ai/layers.json";

/// Device with the running apps `foo` and `bar` under a policy of production.
fn production(policy: &[u8]) -> (Device, Image, [String; 2]) {
    let mut device = Device::start();
    device.start_engine();
    let images = ["foo", "bar"].map(|app| (app, device.image(app, 1000)));
    device.write(POLICY, policy);
    let ids = images.each_ref().map(|(app, image)| {
        let mut spec = RunSpec::new(app);
        spec.restart = "always".into();
        spec.stop_grace_period = Some(0);
        device.sign_spec(&image.manifest, "v1", 1, &spec);
        device.good(&["edge-docker", "run", &format!("{app}-v1")])
    });
    let [(_, first), _] = images;
    (device, first, ids)
}

/// File of the upper layer, as the device has it: each boot has other paths outside.
fn own_file(device: &Device, image: &Image) -> String {
    let form = "{{.GraphDriver.Data.UpperDir}}";
    let top = device.good(&["docker", "inspect", "-f", form, &image.id]);
    format!("{top}/etc/app.conf")
}

fn boot(device: &mut Device) {
    device.restart_after_power_loss();
    device.good(&["rm", "-f", "/run/docker.pid"]);
    device.start_plugin();
    device.start_engine();
    device.good(&["edge-docker", "replace", "--recover"]);
}

/// Waits until both apps run: the engine starts them after it answers.
fn both_run(device: &Device) {
    device::until("both apps", || {
        (device.running() == ["bar", "foo"]).then_some(())
    });
}

fn result(device: &Device, id: &str) -> Value {
    let results = device.json(RESULTS);
    let mut images = results["images"].as_array().unwrap().iter();
    images.find(|image| image["id"] == id).unwrap().clone()
}

#[test]
fn a_damaged_image_is_stopped_and_stays_down() {
    let (mut device, image, ids) = production(PRODUCTION);
    device.good(&["edge-docker", "check-layers"]);
    assert_eq!(result(&device, &image.id)["state"], "ok");
    assert!(!device.path(DAMAGE).exists());
    let form = "{{.GraphDriver.Data.LowerDir}}";
    let lower = device.good(&["docker", "inspect", "-f", form, &image.id]);
    let shared = format!("{lower}/bin/sleep");
    boot(&mut device);
    both_run(&device);
    fs::set_permissions(device.path(&shared), fs::Permissions::from_mode(0o4755)).unwrap();
    let told = device.run(&["edge-docker", "check-layers"]);
    let told = output_text(&told);
    for expected in [
        "the mode of /bin/sleep is another",
        "stopped foo",
        "stopped bar",
        "pull it again",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(device.running(), Vec::<String>::new());
    let found = result(&device, &image.id);
    assert_eq!(found["state"], "damaged");
    assert!(found["why"].as_str().unwrap().contains("layer 1 of 2"));
    let ledger = device.good(&["edge-docker", "ledger"]);
    assert!(
        ledger.contains("check-layers") && ledger.contains("layer 1 of 2"),
        "{ledger}"
    );
    refused(&device);

    // Neither a restart of the engine nor a boot starts it.
    device.stop_engine();
    device.start_engine();
    assert_eq!(device.running(), Vec::<String>::new());
    boot(&mut device);
    assert_eq!(device.running(), Vec::<String>::new());
    for id in &ids {
        assert!(device.path(&format!("/data/docker/withheld/{id}")).exists());
    }
    let (code, told) = device.bad(&["edge-docker", "run", "foo-v1"]);
    assert!(code == 125 && told.contains("is damaged"), "{told}");

    // The layer is again what was signed: a check says so, and the next boot starts both.
    fs::set_permissions(device.path(&shared), fs::Permissions::from_mode(0o755)).unwrap();
    device.good(&["edge-docker", "check-layers"]);
    assert_eq!(result(&device, &image.id)["state"], "ok");
    boot(&mut device);
    both_run(&device);
    assert!(!device.path("/data/docker/quarantine").exists());
}

/// Asserts that nothing starts a container of a damaged image.
fn refused(device: &Device) {
    for command in ["start", "restart", "run foo-v1"] {
        let mut args: Vec<_> = ["edge-docker"]
            .into_iter()
            .chain(command.split(' '))
            .collect();
        if args.len() == 2 {
            args.push("foo");
        }
        let (code, told) = device.bad(&args);
        let expected = "its image is damaged (layer 1 of 2";
        assert!(code == 125 && told.contains(expected), "{command}: {told}");
        assert!(told.contains("edge-docker pull it again"), "{told}");
    }
    let (code, told) = device.bad(&["env", "SUDO_UID=1", "edge-docker", "check-layers"]);
    assert!(
        code == 125 && told.contains("check-layers is refused"),
        "{told}"
    );
}

#[test]
fn before_start_no_changed_program_runs() {
    let (mut device, image, ids) = production(BEFORE_START);
    boot(&mut device);
    both_run(&device);
    let file = own_file(&device, &image);
    device.stop_engine();
    let content = fs::read(device.path(&file)).unwrap();
    fs::write(device.path(&file), "changed").unwrap();
    device.restart_after_power_loss();
    let told = output_text(&device.run(&["edge-docker", "audit-stored"]));
    let expected = "the content of /etc/app.conf is another";
    assert!(told.contains(expected), "{told}");
    let withheld = device.path(&format!("/data/docker/withheld/{}", ids[0]));
    assert!(withheld.exists(), "{told}");
    boot(&mut device);
    assert_eq!(device.running(), Vec::<String>::new());
    assert_eq!(result(&device, &image.id)["state"], "damaged");
    fs::write(device.path(&file), content).unwrap();
    boot(&mut device);
    both_run(&device);
}

#[test]
fn an_interrupted_check_goes_on() {
    let (device, image, _) = production(PRODUCTION);
    device.good(&["edge-docker", "check-layers"]);
    let path = device.path(RESULTS);
    // What was found intact in this boot is not read again.
    let file = own_file(&device, &image);
    fs::write(device.path(&file), "changed").unwrap();
    device.good(&["edge-docker", "check-layers"]);
    both_run(&device);
    let text = fs::read_to_string(&path).unwrap();
    for broken in [
        String::new(),
        text[..text.len() / 2].into(),
        "[]".into(),
        " ".repeat(2 << 20),
        text.replacen("boot_id\":\"", "boot_id\":\"x", 1),
    ] {
        fs::write(&path, broken).unwrap();
        device.good(&["edge-docker", "check-layers"]);
        assert_eq!(result(&device, &image.id)["state"], "damaged");
    }
    // A record that is cut or lost is made again by the next check.
    for broken in ["", "{\"v\":1,\"lay", "[]"] {
        fs::write(device.path(DAMAGE), broken).unwrap();
        device.good(&["edge-docker", "check-layers"]);
        assert_eq!(device.json(DAMAGE)["v"], 1);
        let (_, told) = device.bad(&["edge-docker", "start", "foo"]);
        assert!(told.contains("is damaged"), "{told}");
    }
}
