//! Grants that a container holds, from its configuration in the engine's API.

use serde_json::Value;

use crate::limits::{ADDABLE_CAPABILITIES, DEFAULT_CAPABILITIES};
use crate::mounts;

/// Returns a description of each permission in a `HostConfig` that only a grant gives, in
/// the words of the options of `run`; empty for an ordinary container.
///
/// The configuration may be that of a create request or that which the engine returns.
pub fn held(host: &Value) -> Vec<String> {
    let mut held = Vec::new();
    for (field, option) in [
        ("Devices", "--device"),
        ("DeviceRequests", "--gpus"),
        ("Sysctls", "--sysctl"),
    ] {
        let value = &host[field];
        let is_empty = value.as_array().is_none_or(Vec::is_empty)
            && value.as_object().is_none_or(serde_json::Map::is_empty);
        if !is_empty {
            held.push(option.to_string());
        }
    }
    for capability in texts(&host["CapAdd"]) {
        let name = capability.strip_prefix("CAP_").unwrap_or(capability);
        let ordinary = DEFAULT_CAPABILITIES.contains(&name) || ADDABLE_CAPABILITIES.contains(&name);
        if !ordinary {
            held.push(format!("--cap-add {name}"));
        }
    }
    if host["NetworkMode"] == "host" {
        held.push("--network host".into());
    }
    // The engine adds the name of its default runtime to a container that names none.
    let runtime = host["Runtime"].as_str().unwrap_or_default();
    if !["", "runc", "io.containerd.runc.v2"].contains(&runtime) {
        held.push(format!("--runtime {runtime}"));
    }
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        let source = mount["Source"].as_str().unwrap_or_default();
        let below = source.strip_prefix(mounts::DIRECTORY);
        let is_clone = below.is_some_and(|below| below.starts_with('/'));
        if mount["Type"] == "bind" && !is_clone {
            held.push(format!("-v {source}"));
        }
    }
    held
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ordinary_container_holds_none() {
        for host in [
            json!({}),
            json!({ "Devices": null, "DeviceRequests": [], "Sysctls": {}, "Runtime": "runc",
                "CapAdd": ["CAP_CHOWN", "KILL", "SYS_CHROOT"], "NetworkMode": "default",
                "Mounts": [{ "Type": "bind", "Source": format!("{}/0/0", mounts::DIRECTORY) }] }),
        ] {
            assert_eq!(held(&host), Vec::<String>::new());
        }
    }

    #[test]
    fn each_permission_counts() {
        for (host, option) in [
            (json!({ "Devices": [{}] }), "--device"),
            (json!({ "DeviceRequests": [{}] }), "--gpus"),
            (json!({ "Sysctls": { "a": "1" } }), "--sysctl"),
            (json!({ "CapAdd": ["NET_ADMIN"] }), "--cap-add NET_ADMIN"),
            (json!({ "CapAdd": ["CAP_NET_RAW"] }), "--cap-add NET_RAW"),
            (json!({ "NetworkMode": "host" }), "--network host"),
            (json!({ "Runtime": "nvidia" }), "--runtime nvidia"),
            (
                json!({ "Mounts": [{ "Type": "bind", "Source": "/run/dbus/system_bus_socket" }] }),
                "-v /run/dbus/system_bus_socket",
            ),
        ] {
            assert_eq!(held(&host), [option]);
        }
    }
}
