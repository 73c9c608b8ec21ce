//! What is known of the device. What cannot be read is left out.

use std::fs;
use std::net::UdpSocket;

use edge_common::{Root, boot, file};
use serde_json::{Map, Value, json};

use crate::{containers, disk, heat, vpn};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// All facts, for the shadow.
pub fn gather(root: &Root) -> Map<String, Value> {
    let (containers, apps) = containers::report(root);
    let all = [
        ("uptime_seconds", uptime(root)),
        ("load", load(root)),
        ("memory", memory(root)),
        ("disk", disk::report(root)),
        ("temperature_celsius", heat::temperatures(root)),
        ("throttling", heat::throttling(root)),
        ("over_current_events", heat::over_current(root)),
        ("containers", containers),
        ("apps", apps),
        ("apps_omitted", None),
        ("address", address()),
        ("software", software(root)),
        ("vpn_hostname", vpn::hostname(root)),
        ("vpn", vpn::report(root)),
        ("boot", boot_chain(root)),
    ];
    // A null removes what an earlier report said.
    all.into_iter()
        .map(|(key, value)| (key.to_string(), value.unwrap_or_default()))
        .collect()
}

/// What became of each step of the boot.
fn boot_chain(root: &Root) -> Option<Value> {
    let step = |record: boot::Record| {
        let ok = record.code.map(|code| code == 0);
        let message = record.message.chars().take(200).collect::<String>();
        let message = (!message.is_empty()).then_some(message);
        let facts =
            json!({ "ok": ok, "code": record.code, "message": message, "time": record.time });
        (record.tool, facts)
    };
    let steps: Map<_, _> = boot::records(root).into_iter().map(step).collect();
    (!steps.is_empty()).then_some(Value::Object(steps))
}

/// Reads a file of `/proc` or `/sys`.
pub fn text(root: &Root, path: &str) -> Option<String> {
    // Files of /proc say that they are empty: read them until their end.
    use std::io::Read;
    let mut text = String::new();
    let opened = fs::File::open(root.path(path)).ok()?;
    opened.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The one line of a small file.
pub fn line(root: &Root, path: &str) -> Option<String> {
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
pub mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    /// A root that holds these files.
    pub fn root_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        for (path, text) in files {
            let path = root.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn what_is_there_is_reported_and_the_rest_is_null() {
        let (_directory, root) = root_with(&[]);
        assert_eq!(gather(&root)["uptime_seconds"], Value::Null);
        let (_directory, root) = root_with(&[
            ("/proc/uptime", "77.25 12.1\n"),
            ("/proc/loadavg", "0.1 0.2 0.3 1/2 3\n"),
            (
                "/proc/meminfo",
                "MemTotal:  1000 kB\nMemAvailable:   400 kB\n",
            ),
            ("/etc/os-release", "ID=edge-ai\nVERSION_ID=\"1.2\"\n"),
            ("/data/config/nordvpn/meshnet-hostname", "a.nord\n"),
        ]);
        let facts = gather(&root);
        assert_eq!(facts["uptime_seconds"], 77);
        assert_eq!(facts["load"], json!([0.1, 0.2, 0.3]));
        assert_eq!(facts["memory"]["available_kb"], 400);
        assert_eq!(facts["software"]["version"], "1.2");
        assert_eq!(facts["vpn_hostname"], "a.nord");
        assert!(facts["disk"]["total_mb"].is_u64());
    }

    #[test]
    fn the_boot_chain_names_the_step_that_failed() {
        let (_directory, root) = root_with(&[("/data/log/x", "")]);
        boot::recorded(&root, "edge-partition", || Ok(())).unwrap();
        boot::recorded(&root, "edge-vpn", || anyhow::bail!("token refused")).unwrap_err();
        let chain = &gather(&root)["boot"];
        assert_eq!(chain["edge-partition"]["ok"], true);
        assert_eq!(chain["edge-vpn"]["code"], 1);
        assert_eq!(chain["edge-vpn"]["message"], "token refused");
    }

    #[test]
    fn garbage_is_left_out() {
        let (_directory, root) = root_with(&[
            ("/proc/uptime", "soon"),
            ("/proc/loadavg", "0.1"),
            ("/proc/meminfo", "MemTotal: x kB"),
            ("/data/config/nordvpn/meshnet-hostname", "a\u{1b}[2J"),
        ]);
        let facts = gather(&root);
        for key in ["uptime_seconds", "load", "memory", "vpn_hostname"] {
            assert_eq!(facts[key], Value::Null, "{key}");
        }
    }
}
