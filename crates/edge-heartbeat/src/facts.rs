//! What is known of the device. What cannot be read is left out.

use std::fs;
use std::net::UdpSocket;

use edge_common::{Root, file};
use serde_json::{Map, Value, json};

use crate::containers;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// All facts, for the shadow.
pub fn gather(root: &Root) -> Map<String, Value> {
    let all = [
        ("uptime_seconds", uptime(root)),
        ("load", load(root)),
        ("memory", memory(root)),
        ("disk", disk(root)),
        ("temperature_celsius", temperatures(root)),
        ("throttled", throttled(root)),
        ("containers", containers::by_state(root)),
        ("address", address()),
        ("software", software(root)),
        (
            "vpn_hostname",
            line(root, "/data/config/nordvpn/meshnet-hostname").map(Value::from),
        ),
    ];
    // A null removes what an earlier report said.
    all.into_iter()
        .map(|(key, value)| (key.to_string(), value.unwrap_or_default()))
        .collect()
}

fn text(root: &Root, path: &str) -> Option<String> {
    // Files of /proc say that they are empty: read them until their end.
    use std::io::Read;
    let mut text = String::new();
    let opened = fs::File::open(root.path(path)).ok()?;
    opened.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn line(root: &Root, path: &str) -> Option<String> {
    let text = file::read_text(&root.path(path), 256).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty() && !line.contains(char::is_control)).then(|| line.to_string())
}

fn uptime(root: &Root) -> Option<Value> {
    let text = text(root, "/proc/uptime")?;
    text.split('.').next()?.parse::<u64>().ok().map(Value::from)
}

fn load(root: &Root) -> Option<Value> {
    let text = text(root, "/proc/loadavg")?;
    let numbers: Vec<f64> = text
        .split(' ')
        .take(3)
        .map_while(|n| n.parse().ok())
        .collect();
    (numbers.len() == 3).then(|| json!(numbers))
}

/// Kilobytes in all and available.
fn memory(root: &Root) -> Option<Value> {
    let text = text(root, "/proc/meminfo")?;
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    Some(json!({ "total_kb": value("MemTotal")?, "available_kb": value("MemAvailable")? }))
}

/// Megabytes of `/data` in all and available.
fn disk(root: &Root) -> Option<Value> {
    let stat = rustix::fs::statvfs(root.path("/data")).ok()?;
    let megabytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / 1_000_000;
    Some(json!({ "total_mb": megabytes(stat.f_blocks), "available_mb": megabytes(stat.f_bavail) }))
}

/// Degrees by thermal zone, as Linux and Tegra name them.
fn temperatures(root: &Root) -> Option<Value> {
    let mut zones = Map::new();
    for entry in fs::read_dir(root.path("/sys/class/thermal"))
        .ok()?
        .flatten()
        .take(64)
    {
        let folder = format!("/sys/class/thermal/{}", entry.file_name().to_string_lossy());
        let kind = text(root, &format!("{folder}/type"));
        let degrees = text(root, &format!("{folder}/temp"));
        if let (Some(kind), Some(Ok(milli))) = (kind, degrees.map(|d| d.trim().parse::<i32>())) {
            zones.insert(
                kind.trim().chars().take(32).collect(),
                json!(f64::from(milli) / 1000.0),
            );
        }
    }
    (!zones.is_empty()).then_some(Value::Object(zones))
}

/// Is any cooling device at work?
fn throttled(root: &Root) -> Option<Value> {
    let entries = fs::read_dir(root.path("/sys/class/thermal"))
        .ok()?
        .flatten()
        .take(256);
    let states = entries.filter_map(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        let state = text(root, &format!("/sys/class/thermal/{name}/cur_state"))?;
        let kind = text(root, &format!("/sys/class/thermal/{name}/type"))?;
        let slows = !kind.contains("fan");
        slows.then(|| state.trim().parse::<u32>().ok()).flatten()
    });
    let states: Vec<_> = states.collect();
    (!states.is_empty()).then(|| json!(states.iter().any(|s| *s > 0)))
}

/// The address from which this device reaches others; nothing is sent.
fn address() -> Option<Value> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    Some(json!(address.to_string()))
}

/// The image's name and version.
fn software(root: &Root) -> Option<Value> {
    let text = text(root, "/etc/os-release")?;
    let value = |key: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        line.map(|l| l.trim_matches('"').to_string())
    };
    let version = value("IMAGE_VERSION").or(value("VERSION_ID"))?;
    Some(json!({ "image": value("ID"), "version": version, "edge": env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    fn put(root: &Root, path: &str, text: &str) {
        let path = root.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_is_there_is_reported_and_the_rest_is_null() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(gather(&root)["uptime_seconds"], Value::Null);
        put(&root, "/proc/uptime", "77.25 12.1\n");
        put(&root, "/proc/loadavg", "0.1 0.2 0.3 1/2 3\n");
        put(
            &root,
            "/proc/meminfo",
            "MemTotal:  1000 kB\nMemAvailable:   400 kB\n",
        );
        put(
            &root,
            "/sys/class/thermal/thermal_zone0/type",
            "cpu-thermal\n",
        );
        put(&root, "/sys/class/thermal/thermal_zone0/temp", "47500\n");
        put(
            &root,
            "/sys/class/thermal/cooling_device0/type",
            "pwm-fan\n",
        );
        put(&root, "/sys/class/thermal/cooling_device0/cur_state", "3\n");
        put(
            &root,
            "/sys/class/thermal/cooling_device1/type",
            "cpufreq-cpu0\n",
        );
        put(&root, "/sys/class/thermal/cooling_device1/cur_state", "0\n");
        put(&root, "/etc/os-release", "ID=edge-ai\nVERSION_ID=\"1.2\"\n");
        put(&root, "/data/config/nordvpn/meshnet-hostname", "a.nord\n");
        let facts = gather(&root);
        assert_eq!(facts["uptime_seconds"], 77);
        assert_eq!(facts["load"], json!([0.1, 0.2, 0.3]));
        assert_eq!(facts["memory"]["available_kb"], 400);
        assert_eq!(facts["temperature_celsius"], json!({ "cpu-thermal": 47.5 }));
        assert_eq!(facts["throttled"], false);
        assert_eq!(facts["software"]["version"], "1.2");
        assert_eq!(facts["vpn_hostname"], "a.nord");
        assert!(facts["disk"]["total_mb"].is_u64());
    }

    #[test]
    fn garbage_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        put(&root, "/proc/uptime", "soon");
        put(&root, "/proc/loadavg", "0.1");
        put(&root, "/proc/meminfo", "MemTotal: x kB");
        put(&root, "/data/config/nordvpn/meshnet-hostname", "a\u{1b}[2J");
        let facts = gather(&root);
        for key in ["uptime_seconds", "load", "memory", "vpn_hostname"] {
            assert_eq!(facts[key], Value::Null, "{key}");
        }
    }
}
