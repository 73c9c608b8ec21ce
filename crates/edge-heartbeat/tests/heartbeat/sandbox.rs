//! Reports from the sandbox of `edge-heartbeat.service`, on a device in namespaces. The
//! sandbox is built from the unit's own properties. Needs root.

use std::fs;
use std::path::Path;

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::{Cloud, DeviceRoot};
use serde_json::{Value, json};

/// File system of `/data`, of which the device has a block device's shape, and the
/// program.
const PREPARE: &str = "mkdir -p /data /keep && cp -a /data/. /keep && \
    mount -t tmpfs tmpfs /data && cp -a /keep/. /data";

/// Applies what systemd does for ProtectSystem=strict, ProtectProc=invisible and
/// ReadWritePaths=, and runs edge-heartbeat with the unit's capabilities.
const SANDBOX: &str = r#"set -eu
mount --make-rprivate /
awk '{print $5}' /proc/self/mountinfo | while read -r mount; do
	case $mount in /dev|/dev/*|/proc|/proc/*|/sys|/sys/*) continue ;; esac
	mount -o remount,bind,ro "$mount"
done
for path in $1; do
	[ -e "$path" ] || continue
	mount --bind "$path" "$path"
	mount -o remount,bind,rw "$path"
done
mount -t proc -o hidepid=invisible proc /proc
! touch /data/probe 2>/dev/null || { echo "the sandbox lets /data be written"; exit 9; }
exec setpriv --no-new-privs --bounding-set="$2" /keep/edge-heartbeat --once
"#;

/// Returns the value of a property of the unit.
fn property(name: &str) -> String {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/edge-heartbeat.service");
    let unit = fs::read_to_string(unit).unwrap();
    let mut lines = unit
        .lines()
        .filter_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    lines.next().unwrap_or_else(|| panic!("no {name}=")).into()
}

struct Sandboxed {
    device: Device,
    cloud: Cloud,
    _directory: tempfile::TempDir,
}

impl Sandboxed {
    fn new() -> Self {
        let cloud = Cloud::up();
        let identity = DeviceRoot::allowed(&cloud, "s1");
        identity.provisioned(&[]);
        let directory = tempfile::tempdir().unwrap();
        let port = cloud.value("iot_port").parse().unwrap();
        let settings = Settings {
            engine: false,
            ssh: false,
            ports: &[port],
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        for path in ["etc/edge-ai/ca", "data/config/aws-iot"] {
            fs::create_dir_all(device.path(path)).unwrap();
            for entry in fs::read_dir(identity.path(path)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), device.path(path).join(entry.file_name())).unwrap();
            }
        }
        fs::create_dir_all(device.path("data/config/vpn")).unwrap();
        let sandboxed = Self {
            device,
            cloud,
            _directory: directory,
        };
        sandboxed.sh(PREPARE);
        let program = sandboxed.device.inside("/keep/edge-heartbeat");
        fs::copy(env!("CARGO_BIN_EXE_edge-heartbeat"), program).unwrap();
        sandboxed
    }

    fn sh(&self, script: &str) {
        let output = self
            .device
            .command("/bin/sh")
            .args(["-ec", script])
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// Reports once from the sandbox; returns the reported state.
    fn report(&self) -> Value {
        assert_eq!(property("ProtectSystem"), "strict");
        assert_eq!(property("ProtectProc"), "invisible");
        let paths = property("ReadWritePaths");
        let paths: Vec<_> = paths
            .split(' ')
            .map(|p| p.trim_start_matches('-'))
            .collect();
        let capabilities = property("CapabilityBoundingSet").to_lowercase();
        let capabilities = capabilities.replace("cap_", "+").replace(' ', ",");
        let mut command = self.device.command("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", SANDBOX, "sh", &paths.join(" ")]);
        let output = command
            .arg(format!("-all,{capabilities}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        self.cloud.shadow("edge-ai-s1")["state"]["reported"].clone()
    }
}

#[test]
fn a_healthy_disk_is_not_reported_read_only_from_the_sandbox() {
    let device = Sandboxed::new();
    let reported = device.report();
    assert_eq!(reported["disk"]["read_only"], json!(false), "{reported}");
    assert!(reported["uptime_seconds"].is_u64() && reported["memory"].is_object());
    // As the kernel does after an error, with errors=remount-ro.
    device.sh("mount -o remount,ro /data");
    assert_eq!(device.report()["disk"]["read_only"], json!(true));
    device.sh("mount -o remount,rw /data");
    assert_eq!(device.report()["disk"]["read_only"], json!(false));
}
