//! Collection of the state that is reported to the shadow, such as load, memory, disk,
//! containers, software versions and results of the boot steps.

use std::net::UdpSocket;

use edge_common::contract::path;
use edge_common::{Root, boot, log};
use serde_json::{Map, Value, json};

use crate::files::text;
use crate::{containers, disk, layers, release_numbers, temperature, vpn};

/// Length limit of a boot step's error message in a report, in characters.
const MAX_MESSAGE_CHARS: usize = 200;

/// Length of a SHA-256 in hexadecimal digits.
const HASH_DIGITS: usize = 64;

/// Parts of the state that are read from one place, and so hang together if it hangs.
pub(crate) struct Source {
    /// Name in a report whose source did not answer.
    pub name: &'static str,
    /// Keys of the report.
    pub keys: &'static [&'static str],
    /// Function that reads their values, in the order of the keys.
    pub read: fn(&Root) -> Vec<Option<Value>>,
}

/// Sources of all that is reported.
pub(crate) const SOURCES: [Source; 5] = [
    Source {
        name: "system",
        keys: &["uptime_seconds", "load", "memory", "address", "software"],
        read: |root| {
            vec![
                uptime(root),
                load(root),
                memory(root),
                address(),
                software(root),
            ]
        },
    },
    Source {
        name: "disk",
        keys: &["disk"],
        read: |root| vec![disk::report(root)],
    },
    Source {
        name: "sensors",
        keys: &["temperature_celsius", "throttling", "over_current_events"],
        read: |root| {
            vec![
                temperature::temperatures(root),
                temperature::throttling(root),
                temperature::over_current(root),
            ]
        },
    },
    Source {
        name: "engine",
        keys: &["containers", "apps"],
        read: |root| {
            let (containers, apps) = containers::report(root);
            vec![containers, apps]
        },
    },
    Source {
        name: "files",
        keys: &[
            "vpn_hostname",
            "vpn",
            "ledger",
            "release_numbers",
            "layers",
            "break_glass",
            "boot",
        ],
        read: |root| {
            vec![
                vpn::hostname(root),
                vpn::report(root),
                ledger(root),
                release_numbers::report(root),
                layers::report(root),
                break_glass(root),
                boot_chain(root),
            ]
        },
    },
];

/// Returns success, exit code, message and time of each boot step, by the name of the
/// step.
fn boot_chain(root: &Root) -> Option<Value> {
    let step = |record: boot::Record| {
        let ok = record.code.map(|code| code == 0);
        let message = record
            .message
            .chars()
            .take(MAX_MESSAGE_CHARS)
            .collect::<String>();
        let message = (!message.is_empty()).then_some(message);
        let facts =
            json!({ "ok": ok, "code": record.code, "message": message, "time": record.time });
        (record.tool, facts)
    };
    let steps: Map<_, _> = boot::records(root).into_iter().map(step).collect();
    (!steps.is_empty()).then_some(Value::Object(steps))
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

/// Returns counter and hash of the last record of the ledger. Whoever changes the ledger
/// later cannot change what was reported.
fn ledger(root: &Root) -> Option<Value> {
    let head: Value = serde_json::from_str(&text(root, path::LEDGER_HEAD)?).ok()?;
    let counter = head["counter"].as_u64()?;
    let hash = head["hash"].as_str()?;
    let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| json!({ "counter": counter, "hash": hash }))
}

/// Returns the break-glass ticket in effect. The owner of the fleet learns of it although
/// it was signed elsewhere.
fn break_glass(root: &Root) -> Option<Value> {
    let ticket: Value = serde_json::from_str(&text(root, path::BREAK_GLASS)?).ok()?;
    let value = |key: &str| {
        let value = ticket[key].as_str().map(log::printable)?;
        Some(value.chars().take(MAX_MESSAGE_CHARS).collect::<String>())
    };
    Some(json!({
        "id": value("id")?, "app": value("app")?, "level": value("level")?,
        "who": value("who")?, "reason": value("reason")?, "ends": value("ends")?,
    }))
}

/// Returns total and available memory in kilobytes, from `/proc/meminfo`.
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

/// Returns the IPv4 address of this device on its route to the internet.
fn address() -> Option<Value> {
    // Connecting a UDP socket selects a route and a source address without sending a
    // packet. The destination is an address for documentation (RFC 5737).
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    Some(json!(address.to_string()))
}

/// Returns name and version of the device image from `/etc/os-release`, and the version
/// of edge-heartbeat.
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
    use std::time::Duration;

    use super::*;
    use crate::files::root_with;
    use crate::gatherer::Gatherer;

    fn gather(root: &Root) -> Map<String, Value> {
        Gatherer::new(root).gather(Duration::from_secs(30))
    }

    #[test]
    fn readable_facts_are_reported_and_others_are_null() {
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
    fn the_boot_chain_has_the_failed_step() {
        let (_directory, root) = root_with(&[("/data/log/x", "")]);
        boot::recorded(&root, "edge-partition", || Ok(())).unwrap();
        boot::recorded(&root, "edge-vpn", || anyhow::bail!("token refused")).unwrap_err();
        let chain = &gather(&root)["boot"];
        assert_eq!(chain["edge-partition"]["ok"], true);
        assert_eq!(chain["edge-vpn"]["code"], 1);
        assert_eq!(chain["edge-vpn"]["message"], "token refused");
    }

    #[test]
    fn the_head_of_the_ledger_is_reported() {
        let hash = "5a".repeat(32);
        let head = format!(r#"{{"v":1,"counter":7,"hash":"{hash}","later":0}}"#);
        let (_directory, root) = root_with(&[(path::LEDGER_HEAD, &head)]);
        let expected = json!({ "counter": 7, "hash": hash });
        assert_eq!(gather(&root)["ledger"], expected);
        for bad in ["", "{", "{}", r#"{"counter":-1,"hash":"x"}"#, &head[..90]] {
            let (_directory, root) = root_with(&[(path::LEDGER_HEAD, bad)]);
            assert_eq!(gather(&root)["ledger"], Value::Null, "{bad}");
        }
    }

    #[test]
    fn the_ticket_in_effect_is_reported() {
        let ticket = r#"{"v":1,"id":"0a","app":"*","level":"debug","who":"anna",
            "reason":"dark\u001b camera","ends":"2026-11-26T09:00:00Z","ends_ms":7,"boot":"b"}"#;
        let (_directory, root) = root_with(&[(path::BREAK_GLASS, ticket)]);
        let expected = json!({ "id": "0a", "app": "*", "level": "debug", "who": "anna",
            "reason": "dark  camera", "ends": "2026-11-26T09:00:00Z" });
        assert_eq!(gather(&root)["break_glass"], expected);
        for bad in ["", "{}", &ticket[..40], &ticket.replace("\"anna\"", "7")] {
            let (_directory, root) = root_with(&[(path::BREAK_GLASS, bad)]);
            assert_eq!(gather(&root)["break_glass"], Value::Null, "{bad}");
        }
    }

    #[test]
    fn invalid_values_are_null() {
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
