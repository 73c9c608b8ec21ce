//! `edge-docker-recover.service` with the capabilities and the writable paths that it states:
//! containers whose user is not root come back, with their mounts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::device::{self, Device};
use crate::signed::{ANY, POLICY, PRODUCTION, edit, inspect, record, sign, spec};

/// Applies what systemd does for ProtectSystem=strict and ReadWritePaths=, and recovers with
/// the capabilities of the unit.
const SANDBOX: &str = r#"set -eu
mount --make-rprivate /
awk '{print $5}' /proc/self/mountinfo | while read -r mount; do
	case $mount in /dev|/dev/*|/proc|/proc/*|/sys|/sys/*) continue ;; esac
	mount -o remount,bind,ro "$mount"
done
for path in $1; do
	[ -e "$path" ] || continue
	mount --rbind "$path" "$path"
	mount -o remount,bind,rw "$path"
done
! touch /data/probe 2>/dev/null || { echo "the sandbox lets /data be written"; exit 9; }
exec setpriv --no-new-privs --bounding-set="$2" edge-docker replace --recover
"#;

/// Returns the values of a setting of the unit, in the order of its lines.
fn settings(name: &str) -> Vec<String> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/edge-docker-recover.service");
    let unit = fs::read_to_string(unit).unwrap();
    let lines = unit.lines();
    let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let values: Vec<_> = values.map(String::from).collect();
    assert!(!values.is_empty(), "no {name}=");
    values
}

/// Recovers as the unit does.
fn recover(device: &Device) {
    let paths = settings("ReadWritePaths").join(" ").replace(" -", " ");
    let capabilities = settings("CapabilityBoundingSet").join(" ").to_lowercase();
    let capabilities = capabilities.replace("cap_", "+").replace(' ', ",");
    let bounding = format!("-all,{capabilities}");
    let args = [
        "unshare", "--mount", "sh", "-c", SANDBOX, "sh", &paths, &bounding,
    ];
    device.good(&args);
}

/// Returns owner and group of the mount of the app.
fn owner(device: &Device) -> (u32, u32) {
    let state = fs::metadata(device.path("/data/apps/foo/state")).unwrap();
    (state.uid(), state.gid())
}

/// Waits for the app, which writes to its directory.
fn writes(device: &Device) {
    let written = device.path("/data/apps/foo/state/written");
    device::until("foo", || written.exists().then_some(()));
    assert_eq!(device.running(), ["foo"]);
    fs::remove_file(written).unwrap();
}

#[test]
fn an_app_that_is_not_root_comes_back() {
    let mut device = Device::start();
    device.start_engine();
    device.write(POLICY, ANY);
    let image = device.image("foo", 0);
    device.write(POLICY, PRODUCTION);
    let mut spec = spec("foo");
    spec.user = "1000:1000".into();
    let script = "echo >/state/written && exec sleep 1000";
    spec.command = ["sh", "-c", script].map(String::from).into();
    spec.volumes[0].source = "state".into();
    sign(&device, &image, &spec);
    let mut id = device.good(&["edge-docker", "run", "foo-v1"]);
    writes(&device);
    assert_eq!(owner(&device), (1000, 1000));

    // Recreated, also where the directory has lost its owner, or is gone.
    for number in 0..3 {
        device.stop_engine();
        edit(&record(&device, &id), &[("/Env", json!(["MODE=evil"]))]);
        let directory = device.path("/data/apps/foo/state");
        match number {
            0 => {}
            1 => {
                fs::remove_dir_all(&directory).unwrap();
                fs::create_dir(&directory).unwrap();
                chown(&directory, Some(0), Some(0)).unwrap();
            }
            _ => fs::remove_dir_all(&directory).unwrap(),
        }
        device.start_engine();
        recover(&device);
        writes(&device);
        assert_eq!(owner(&device), (1000, 1000), "{number}");
        let new = inspect(&device, "foo")["Id"].as_str().unwrap().to_string();
        assert_ne!(new, id);
        id = new;
    }

    // The old version returns after a deployment that a power loss interrupted.
    let journal = json!({ "v": 1, "name": "foo", "app": "foo", "phase": "trial", "image": "x",
        "fresh": true, "new": { "id": "a".repeat(64), "running": false,
            "restart": { "Name": "unless-stopped" } },
        "old": { "id": id, "running": true, "restart": { "Name": "unless-stopped" } },
        "older": null });
    device.good(&["edge-docker", "stop", "foo"]);
    let path = "/data/config/edge-docker/switches/foo.json";
    device.write(path, journal.to_string().as_bytes());
    recover(&device);
    writes(&device);
    assert_eq!(device.json(path)["phase"], "back");
}

/// Returns the system calls of a group, with those of the groups in it.
fn group(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", name])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(1).map(str::trim);
    let names = names.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut calls = BTreeSet::new();
    for name in names {
        match name.starts_with('@') {
            true => calls.extend(group(name)),
            false => drop(calls.insert(name.to_string())),
        }
    }
    calls
}

#[test]
fn the_filter_permits_what_recovery_calls() {
    let mut permitted = BTreeSet::new();
    for line in settings("SystemCallFilter") {
        let (is_denied, groups) = match line.strip_prefix('~') {
            Some(groups) => (true, groups),
            None => (false, &*line),
        };
        for calls in groups.split(' ').map(group) {
            match is_denied {
                true => permitted.retain(|call| !calls.contains(call)),
                false => permitted.extend(calls),
            }
        }
    }
    for call in [
        "openat2",
        "fchownat",
        "setxattr",
        "renameat2",
        "statx",
        "mkdirat",
    ] {
        assert!(permitted.contains(call), "{call}");
    }
    for call in ["mount", "umount2", "quotactl_fd", "bpf", "setuid"] {
        assert!(!permitted.contains(call), "{call}");
    }
}
