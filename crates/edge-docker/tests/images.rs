//! Removal of images by name and by ID, with the real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::collections::BTreeMap;

use device::Device;

/// Returns the names of an image; empty if it is gone.
fn names(device: &Device, id: &str) -> Vec<String> {
    let form = "{{join .RepoTags \" \"}}";
    let output = device.run(&["docker", "inspect", "--type=image", "-f", form, id]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text.split_whitespace().map(String::from).collect();
    names.sort();
    names
}

fn is_there(device: &Device, id: &str) -> bool {
    let inspect = ["docker", "inspect", "--type=image", id];
    device.run(&inspect).status.success()
}

#[test]
fn an_image_goes_by_its_id_alone_and_not_with_another_app() {
    let mut device = Device::start();
    device.start_engine();
    let id = device.image("foo", 0).id;
    let hex = id.strip_prefix("sha256:").unwrap().to_string();
    let both = ["sandbox/bar:base", "sandbox/foo:base"];
    device.good(&["edge-docker", "tag", both[1], both[0]]);
    // A tag of another app names the same image.
    for name in [&id[..], &hex, &hex[..12], &id[..20]] {
        let (code, text) = device.bad(&["edge-docker", "rmi", name]);
        assert!(code != 0 && text.contains("conflict"), "{name}: {text}");
        assert_eq!(names(&device, &id), both, "{name}");
    }
    device.good(&["edge-docker", "rmi", both[1]]);
    assert_eq!(names(&device, &id), both[..1], "the other name stays");

    // In use, with force or without, by each of its names.
    let run = [
        "edge-docker",
        "run",
        "-d",
        "--name=bar",
        both[0],
        "sleep",
        "1000",
    ];
    device.good(&run);
    for name in [&id[..], &hex[..12], both[0]] {
        for force in [&["rmi"][..], &["rmi", "-f"]] {
            let command = [&["edge-docker"], force, &[name]].concat();
            device.bad(&command);
            assert_eq!(names(&device, &id), both[..1], "{command:?}");
            assert_eq!(device.running(), ["bar"], "{command:?}");
        }
    }
    device.good(&["edge-docker", "rm", "-f", "bar"]);
    device.good(&["edge-docker", "rmi", &hex[..12]]);
    assert!(!is_there(&device, &id));
    let (code, text) = device.bad(&["edge-docker", "rmi", &hex[..12]]);
    assert!(code == 1 && text.contains("No such image"), "{text}");
}

#[test]
fn an_ambiguous_start_of_an_id_removes_nothing() {
    let mut device = Device::start();
    device.start_engine();
    // Of 17 images, two begin with the same digit.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let found = (0..17).find_map(|number| {
        let id = device.image(&format!("app{number}"), 8 * number).id;
        let digit = id[7..8].to_string();
        let other = seen.insert(digit.clone(), id.clone())?;
        Some((digit, [id, other]))
    });
    let (digit, ids) = found.unwrap();
    for name in [digit.clone(), format!("sha256:{digit}")] {
        for force in [&["rmi"][..], &["rmi", "-f"]] {
            let command = [&["edge-docker"], force, &[&name]].concat();
            // With force, docker's client ends with 0 whatever it has not found.
            let text = device::output_text(&device.run(&command));
            assert!(text.contains("No such image"), "{command:?}: {text}");
            assert!(ids.iter().all(|id| is_there(&device, id)), "{command:?}");
        }
    }
    // Several at once: what is wrong with one is said, and the other is the one judged.
    let whole = &ids[0][7..];
    let (_, text) = device.bad(&["edge-docker", "rmi", &digit, whole]);
    assert!(text.contains("No such image"), "{text}");
    assert!(is_there(&device, &ids[1]));
}
