//! Board of the tests: its table of grants, and what that means for each app.

use serde_json::{Value, json};

/// Permissions of one app.
#[derive(Default)]
pub struct Permissions {
    pub devices: &'static [&'static str],
    pub cdi: &'static [&'static str],
    pub capabilities: &'static [&'static str],
    pub sysctls: &'static [(&'static str, &'static str)],
    pub paths: &'static [&'static str],
    pub nvidia: bool,
    pub host_network: bool,
}

/// Sandbox app of the tests. All sandboxes have the permissions of the table's list.
pub const SANDBOX: &str = "toy";

/// Returns the permissions of an app, written by hand from [`table`] and [`GRANTS`].
pub fn permissions(app: &str) -> Permissions {
    match app {
        "vision" => Permissions {
            devices: &["/dev/video0", "/dev/i2c-7"],
            cdi: &["nvidia.com/gpu=all"],
            nvidia: true,
            ..Permissions::default()
        },
        "net" => Permissions {
            devices: &["/dev/net/tun"],
            capabilities: &["NET_ADMIN"],
            sysctls: &[("net.core.somaxconn", "1024")],
            paths: &["/run/edge-bus/net"],
            host_network: true,
            ..Permissions::default()
        },
        SANDBOX => Permissions {
            devices: &["/dev/video0", "/dev/i2c-7", "/dev/net/tun"],
            cdi: &["nvidia.com/gpu=all"],
            capabilities: &["NET_ADMIN"],
            sysctls: &[("net.core.somaxconn", "1024")],
            paths: &["/run/edge-bus/net"],
            nvidia: true,
            host_network: true,
        },
        _ => Permissions::default(),
    }
}

/// Signed apps with their grants; the sandbox `toy` has those of the table.
pub const GRANTS: [(&str, &[&str]); 3] = [
    ("hello", &[]),
    // The board does not know `lidar`.
    ("vision", &["gpu", "camera", "i2c:7", "lidar"]),
    ("net", &["vpn", "bus", "dbus", "tuned"]),
];

/// Returns the table of grants, as `/etc/edge-ai/devices.json` holds it.
pub fn table() -> Value {
    json!({
        "grants": {
            "gpu": { "runtime": "nvidia", "cdi": ["nvidia.com/gpu=all"] },
            "camera": { "devices": ["/dev/video0"] },
            "i2c": { "devices": ["/dev/i2c-{arg}"], "arg": ["1", "7"] },
            "vpn": { "capabilities": ["NET_ADMIN"], "devices": ["/dev/net/tun"], "network": "host" },
            "bus": { "mounts": [{ "source": "/run/edge-bus/net", "target": "/run/edge-bus/net" }] },
            // Nobody has signed for it, so neither `net` nor the sandbox gets it.
            "dbus": { "mounts": [{ "source": "/run/dbus/system_bus_socket", "target": "/run/dbus/system_bus_socket" }], "root": true },
            "tuned": { "sysctls": { "net.core.somaxconn": "1024" } },
            "disk": { "devices": ["/dev/sda"], "capabilities": ["SYS_ADMIN"], "root": true }
        },
        "sandbox": ["gpu", "camera", "i2c:7", "vpn", "bus", "dbus", "tuned"]
    })
}
