//! Release numbers on a real engine: what raises the floor, and what may start below it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "device/mod.rs"]
mod device;

use std::fs;

use device::Device;

const GOOD: [&str; 2] = ["sleep", "1000"];
const BAD: [&str; 3] = ["sh", "-c", "exit 7"];

fn start() -> Device {
    let mut device = Device::start();
    device.start_engine();
    device
}

fn replace(device: &Device, image: &str) -> (i32, String) {
    let words = "edge-docker replace foo --timeout 2 --restart always --stop-signal KILL";
    let words: Vec<_> = words
        .split(' ')
        .chain(["--network", "none", image])
        .collect();
    let output = device.run(&words);
    (output.status.code().unwrap(), device::output_text(&output))
}

fn run<'a>(name: &'a str, image: &'a str) -> Vec<&'a str> {
    let words = "edge-docker run -d --restart always --network none --stop-signal KILL --name";
    words.split(' ').chain([name, image]).collect()
}

fn refused(device: &Device, words: &[&str], why: &str) {
    let (code, said) = device.bad(words);
    assert!(
        code == 125 && said.contains(why),
        "{words:?}: {code} {said}"
    );
}

/// Restarts the engine with the boot audit, and waits until these containers run.
fn boot(device: &mut Device, running: &[&str]) {
    device.stop_engine();
    device.start_engine();
    device::until("the containers", || {
        (device.running() == running).then_some(())
    });
}

#[test]
fn a_failed_version_leaves_the_floor() {
    let mut device = start();
    let images: Vec<_> = [(1, &GOOD[..]), (2, &BAD), (3, &GOOD)]
        .map(|(number, command)| device.release("foo", number, command, 0).name)
        .into();
    assert_eq!(replace(&device, &images[0]).0, 0);
    let (code, said) = replace(&device, &images[1]);
    assert!(code == 123 && said.contains("exit code 7"), "{said}");
    let floor =
        |device: &Device| device.json("/data/config/edge-docker/serials/foo")["highest"].clone();
    assert_eq!(floor(&device), 1);
    for _ in 0..3 {
        boot(&mut device, &["foo"]);
    }
    assert_eq!(floor(&device), 1);
    device.good(&["edge-docker", "restart", "foo"]);

    // The previous version is below the floor, and the record names it.
    let (code, said) = replace(&device, &images[2]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(floor(&device), 3);
    refused(
        &device,
        &run("other", &images[0]),
        "accepted release number 3",
    );
    boot(&mut device, &["foo"]);
    device.good(&["edge-docker", "rollback", "foo", "--timeout", "2"]);
    boot(&mut device, &["foo"]);
    let version = device.good(&[
        "docker",
        "inspect",
        "-f",
        "{{index .Config.Labels \"edge.version\"}}",
        "foo",
    ]);
    assert_eq!((version.as_str(), floor(&device)), ("v1", 3.into()));
    device.good(&["edge-docker", "restart", "foo"]);
    device.good(&["edge-docker", "exec", "foo", "ls"]);
    refused(
        &device,
        &run("other", &images[0]),
        "accepted release number 3",
    );
}

#[test]
fn every_start_and_exec_checks_the_number_and_the_key() {
    let mut device = start();
    let [one, two] = [1, 2].map(|number| device.release("foo", number, &GOOD, 0).name);
    device.good(&run("aa", &one));
    device.good(&run("bb", &two));
    device.good(&["edge-docker", "exec", "bb", "ls"]);
    device.good(&["edge-docker", "pause", "aa"]);
    for words in [
        &["unpause", "aa"][..],
        &["restart", "aa"],
        &["exec", "aa", "ls"],
    ] {
        refused(
            &device,
            &[&["edge-docker"], words].concat(),
            "accepted release number 2",
        );
    }
    device.good(&["edge-docker", "kill", "aa"]);
    refused(
        &device,
        &["edge-docker", "start", "aa"],
        "accepted release number 2",
    );
    // A candidate that was only created raises nothing.
    let three = device.release("foo", 3, &GOOD, 0).name;
    device.good(&[
        "edge-docker",
        "create",
        "--name",
        "cc",
        "--network",
        "none",
        &three,
    ]);
    device.good(&["edge-docker", "restart", "bb"]);
    device.good(&["edge-docker", "start", "cc"]);
    refused(
        &device,
        &["edge-docker", "restart", "bb"],
        "accepted release number 3",
    );
    boot(&mut device, &[]);
    let names = device.good(&["docker", "ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names, "cc", "aa and bb are in quarantine");
}

#[test]
fn exec_checks_key_and_sandbox_policy_again() {
    let device = start();
    let image = device.release("foo", 1, &GOOD, 0).name;
    device.good(&run("cc", &image));
    device.good(&["edge-docker", "exec", "cc", "ls"]);
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "ss",
        "--network",
        "none",
        "sandbox/foo:base",
    ]);
    device.good(&["edge-docker", "exec", "ss", "ls"]);
    let anchors = "/etc/edge-ai/container-config";
    let other = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1);
    let other = openssl::ec::EcKey::generate(&other.unwrap()).unwrap();
    let public = other.public_key_to_pem().unwrap();
    device.write(&format!("{anchors}/container-signing.pub"), &public);
    refused(&device, &["edge-docker", "exec", "cc", "ls"], "is invalid");
    let policy = br#"{"sandbox":false,"run":"any","engineer":"debug"}"#;
    device.write(&format!("{anchors}/policy.json"), policy);
    refused(
        &device,
        &["edge-docker", "exec", "ss", "ls"],
        "signed containers only",
    );
}

#[test]
fn a_removed_record_is_noticed() {
    let mut device = start();
    let [one, two] = [1, 2].map(|number| device.release("foo", number, &GOOD, 0).name);
    let bar = [1, 2].map(|number| device.release("bar", number, &GOOD, 0).name);
    // From a container's image nothing is removed.
    for (name, image) in [("kept-foo", &one), ("kept-bar", &bar[0])] {
        device.good(&["edge-docker", "create", "--name", name, image]);
    }
    assert_eq!(replace(&device, &two).0, 0);
    device.good(&run("bar", &bar[1]));
    let remove = |device: &Device, names: &[&str]| {
        for name in names {
            fs::remove_dir_all(device.path(&format!("/data/config/edge-docker/{name}"))).unwrap();
        }
    };
    for names in [
        &["serials"][..],
        &["serials-copy"],
        &["serials", "serials-copy"],
    ] {
        remove(&device, names);
        refused(&device, &run("other", &one), "repaired");
        refused(&device, &run("other", &one), "accepted release number 2");
    }
    // An app that was never deployed: the boot audit finds what has run.
    device.stop_engine();
    let output = device.run(&[
        "sh",
        "-c",
        "rm -r /data/config/edge-docker/serials*; edge-docker audit-stored",
    ]);
    assert!(output.status.success(), "{}", device::output_text(&output));
    device.start_engine();
    refused(&device, &run("other", &bar[0]), "accepted release number 2");
}

#[test]
fn the_read_only_root_brings_its_own_version() {
    let mut device = start();
    let [one, two] = [1, 2].map(|number| device.release("nordvpn", number, &GOOD, 0).name);
    device.good(&run("nordvpn", &two));
    refused(&device, &run("other", &one), "accepted release number 2");
    let digest = one.split_once('@').unwrap().1;
    for image in ["nordvpn-v1", digest] {
        let vpn = format!(r#"{{"provider":"nordvpn","image":"{image}"}}"#);
        device.write("/etc/edge-ai/vpn.json", vpn.as_bytes());
        device.good(&["edge-docker", "rm", "-f", "nordvpn"]);
        device.good(&run("nordvpn", &one));
        boot(&mut device, &["nordvpn"]);
    }
    for vpn in [
        "{",
        r#"{"provider":"nordvpn","image":"nordvpn-v1","app":"other"}"#,
    ] {
        device.write("/etc/edge-ai/vpn.json", vpn.as_bytes());
        refused(
            &device,
            &["edge-docker", "restart", "nordvpn"],
            "accepted release number 2",
        );
    }
}

#[test]
fn old_images_go_and_what_a_deployment_needs_stays() {
    let device = start();
    let ids = |device: &Device| {
        let list = device.good(&["docker", "images", "--no-trunc", "--format", "{{.ID}}"]);
        let mut ids: Vec<_> = list.lines().map(String::from).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let mut released = Vec::new();
    for number in 1..=5 {
        let image = device.release("foo", number, &GOOD, 0);
        let (code, said) = replace(&device, &image.name);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said.contains("removed the old image"), number > 2, "{said}");
        released.push(image.id);
    }
    let mut two = released[3..].to_vec();
    two.sort();
    assert_eq!(ids(&device), two);

    // An old version that was pulled again goes by hand, one for later only with --all.
    device.release("foo", 2, &GOOD, 0);
    let later = device.release("foo", 9, &GOOD, 0).id;
    let said = device.good(&["edge-docker", "image", "prune", "-f"]);
    assert!(
        said.contains("sandbox/foo:v2 (") && said.contains("reclaimed space: "),
        "{said}"
    );
    assert!(ids(&device).contains(&later) && ids(&device).len() == 3);
    for words in [["image", "prune", "-af"], ["system", "prune", "-af"]] {
        device.good(&[&["edge-docker"], &words[..]].concat());
        assert_eq!(ids(&device), two);
    }
    let names = device.good(&["docker", "ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names, "foo\nfoo-previous");
    let image = device.good(&["docker", "inspect", "-f", "{{.Image}}", "foo-previous"]);
    refused(
        &device,
        &["edge-docker", "rmi", "-f", &image],
        "of foo needs it",
    );
    device.good(&["edge-docker", "rm", "foo-previous"]);
    device.good(&["edge-docker", "rmi", "-f", &image]);
    device.good(&["edge-docker", "rm", "-f", "foo"]);
    assert!(
        !device
            .path("/data/config/edge-docker/switches/foo.json")
            .exists()
    );
}
