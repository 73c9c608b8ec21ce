//! Owner of the directories that a container mounts, with a real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};

use device::Device;

const DATA: &str = "/data/sandbox/lamp";

fn device() -> Device {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 10);
    device
}

/// Owner of a path of the device, `UID:GID`.
fn owner(device: &Device, path: &str) -> String {
    let state = fs::metadata(device.path(path)).unwrap();
    format!("{}:{}", state.uid(), state.gid())
}

/// Runs a shell script as `user` in a container that mounts the whole data directory.
fn script(device: &Device, user: &str, image: &str, script: &str) -> String {
    let mut run = vec![
        "edge-docker",
        "run",
        "--rm",
        "-v",
        "/data/sandbox/lamp:/data",
    ];
    if !user.is_empty() {
        run.extend(["-u", user]);
    }
    run.extend([image, "sh", "-c", script]);
    device.good(&run)
}

#[test]
fn a_program_that_is_not_root_writes_to_its_directory() {
    let device = device();
    let lamp = "sandbox/lamp:base";
    // Nothing is there yet.
    script(&device, "1234:1235", lamp, "echo one > /data/one");
    assert_eq!(owner(&device, DATA), "1234:1235");

    // An owner that somebody else sets stays, and content is never touched.
    chown(device.path(DATA), Some(1), Some(2)).unwrap();
    script(&device, "1234:1235", lamp, "true");
    assert_eq!(owner(&device, DATA), "1:2");
    script(&device, "77", lamp, "echo two > /data/two");
    assert_eq!(owner(&device, DATA), "77:77");
    assert_eq!(owner(&device, &format!("{DATA}/one")), "1234:1235");

    // Back to root, also for a root without capabilities.
    let root = [
        "edge-docker",
        "run",
        "--rm",
        "-v",
        "/data/sandbox/lamp:/data",
        "--cap-drop=ALL",
    ];
    device.good(&[&root[..], &[lamp, "sh", "-c", "echo three > /data/three"]].concat());
    assert_eq!(owner(&device, DATA), "0:0");
}

/// A program that starts as root gives its directory to a user of its choice.
#[test]
fn the_choice_of_a_program_that_starts_as_root_stays() {
    let device = device();
    let lamp = "sandbox/lamp:base";
    script(&device, "", lamp, "true");
    // As an entrypoint does from within.
    chown(device.path(DATA), Some(70), Some(70)).unwrap();
    script(&device, "", lamp, "true");
    assert_eq!(owner(&device, DATA), "70:70");
    // The update from root to a user.
    script(&device, "1000:1000", lamp, "echo new > /data/new");
    assert_eq!(owner(&device, DATA), "1000:1000");
}

#[test]
fn a_name_is_looked_up_in_the_image() {
    let device = device();
    let passwd = (
        "passwd",
        "root:x:0:0::/:/bin/sh\nnode:x:1500:1600::/:/bin/sh\n",
    );
    let group = ("group", "root:x:0:\nvideo:x:44:\n");
    device.build_lamp("named", "node", &[passwd, group]);
    script(
        &device,
        "",
        "sandbox/lamp:named",
        "echo named > /data/named",
    );
    assert_eq!(owner(&device, DATA), "1500:1600");
    script(
        &device,
        "node:video",
        "sandbox/lamp:named",
        "echo named > /data/again",
    );
    assert_eq!(owner(&device, DATA), "1500:44");

    // The name of the device's login user is no way to its directory.
    let login = ("passwd", "edge:x:61000:61000::/:/bin/sh\n");
    device.build_lamp("login", "edge", &[login]);
    let run = [
        "edge-docker",
        "create",
        "-v",
        "/data/sandbox/lamp:/data",
        "sandbox/lamp:login",
    ];
    let _ = device.run(&run);
    assert_eq!(owner(&device, DATA), "1500:44");
}

/// The old version finds its directory as it left it.
#[test]
fn the_way_back_restores_the_owner() {
    let device = device();
    let replace = |user: &'static str, command: &'static str| {
        let options = [
            "edge-docker",
            "replace",
            "lamp",
            "-v",
            "/data/sandbox/lamp:/data",
            "-u",
            user,
        ];
        [&options[..], &["sandbox/lamp:base", "sh", "-c", command]].concat()
    };
    device.good(&replace("1001:1001", "echo 1 > /data/one && sleep 1000"));
    assert_eq!(owner(&device, DATA), "1001:1001");
    let (code, printed) = device.bad(&replace("1002:1002", "echo 2 > /data/two; exit 3"));
    assert_eq!(code, 123, "{printed}");
    assert_eq!(owner(&device, &format!("{DATA}/two")), "1002:1002");
    assert_eq!(owner(&device, DATA), "1001:1001");
}
