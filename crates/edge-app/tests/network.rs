//! Network settings on the laptop: files that are refused before a device is asked.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs `edge-app network`; returns exit code and output.
fn network(directory: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
    let output = command
        .arg("network")
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

const OFFICE: &str = "\
interfaces:
  - name: wlan0
    type: wifi
    wifi: {ssid: Barn, security: wpa-psk, password: 'hunter2-hunter2'}
    ipv4: {method: manual, addresses: [192.168.1.5/24], gateway: 192.168.1.1}
proxy: http://proxy.example:3128
ntp: [ntp.example.com]
";

#[test]
fn a_file_is_checked_and_its_values_are_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("edge-app.yaml"), "registry: r.io/edge-ai\n").unwrap();
    let file = directory.join("office.yaml");
    fs::write(&file, OFFICE).unwrap();
    let (code, text) = network(directory, &["check", "office.yaml"]);
    assert_eq!(
        (code, text.as_str()),
        (0, "office.yaml: valid network settings\n")
    );
    for (from, to, part) in [
        (
            "192.168.1.1}",
            "192.168.2.1}",
            "gateway: 192.168.2.1 is in the network of none",
        ),
        ("192.168.1.5/24", "192.168.1.5", "office.yaml:5:"),
        (
            "'hunter2-hunter2'",
            "hunter2",
            "password: must have 8 to 63",
        ),
        ("'hunter2-hunter2'", "[hunter2]", "documented form"),
        ("password:", "psk:", "unknown field `psk`"),
        ("wpa-psk", "wep", "unknown variant"),
        (
            "proxy: http://",
            "proxy: http://me:hunter2@",
            "http://HOST:PORT",
        ),
        ("ntp: [", "ntp: ['a b', ", "neither a host name"),
        (
            "interfaces:",
            "interfaces: hunter2\nother:",
            "documented form",
        ),
        ("ntp: [", "ntp: [a]\nntp: [", "duplicate field"),
        (OFFICE, "- a\n", "office.yaml"),
        (OFFICE, "{", "office.yaml"),
    ] {
        fs::write(&file, OFFICE.replace(from, to)).unwrap();
        // The device is not asked: no host has this name.
        for args in [
            &["check", "office.yaml"][..],
            &["set", "nowhere.invalid", "office.yaml"],
        ] {
            let (code, text) = network(directory, args);
            assert!(code == 3 && text.contains(part), "{to}: {code} {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    let (code, text) = network(directory, &["check", "absent.yaml"]);
    assert!(code == 3 && text.contains("absent.yaml"), "{text}");
    fs::write(&file, "#".repeat(100_000)).unwrap();
    assert_eq!(network(directory, &["check", "office.yaml"]).0, 3);
    fs::write(&file, OFFICE).unwrap();
    let (code, text) = network(directory, &["set", "nowhere.invalid", "office.yaml"]);
    assert!(code == 5 && text.contains("unreachable"), "{code} {text}");
}
