//! Independent checker of decisions: it judges whether a create body, a stored container
//! or a request to the engine is harmless.
//!
//! Written from the rules (docs/security.md) with none of the policy's code, so that a
//! mistake has to be made twice: every field is known and has a value that the app may
//! have, else it is harmful. Shared by the tests of edge-docker, the fuzz target
//! `decision` and the example `verdicts`.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

pub mod api;
pub mod board;
pub mod stored;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::board::{Permissions, SANDBOX, permissions};

/// Capabilities that need no grant.
pub const ORDINARY_CAPABILITIES: &str = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL \
    NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT";

/// Checks a create body; the error says what is harmful. `image_id` returns the ID of the
/// image of an app, signed or a sandbox.
pub fn create_body(body: &[u8], image_id: impl Fn(&str, bool) -> String) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if value.to_string().len() != text.len() {
        return Err("a field stands there twice, or the text is not plain".into());
    }
    let top = object(&value, "body")?;
    let labels = object(&top["Labels"], "Labels")?;
    for label in [
        "app", "version", "digest", "signer", "sandbox", "image", "run", "pins",
    ] {
        if !labels
            .get(&format!("edge.{label}"))
            .is_some_and(Value::is_string)
        {
            return Err(format!("a label of the image could stand for edge.{label}"));
        }
    }
    let label = |name: &str| labels.get(name).and_then(Value::as_str).unwrap_or_default();
    let (signed, sandboxed) = (label("edge.app"), label("edge.sandbox"));
    let (app, sandbox) = match (signed, sandboxed) {
        ("", "") => return Err("no label says whose it is".into()),
        (app, "") => (app, false),
        ("", app) => (app, true),
        _ => return Err("signed and sandbox at once".into()),
    };
    if sandbox
        && ["version", "digest", "signer"]
            .iter()
            .any(|l| !label(&format!("edge.{l}")).is_empty())
    {
        return Err("a sandbox with labels of a signature".into());
    }
    for (field, value) in top {
        top_field(field, value, &image_id(app, sandbox)).map_err(|e| format!("{field}: {e}"))?;
    }
    let host = object(&top["HostConfig"], "HostConfig")?;
    let may = permissions(if sandbox { SANDBOX } else { app });
    for (field, value) in host {
        host_field(field, value, &may).map_err(|e| format!("HostConfig.{field}: {e}"))?;
    }
    if host.get("SecurityOpt") != Some(&serde_json::json!(["no-new-privileges"])) {
        return Err("no-new-privileges is not imposed".into());
    }
    match host.get("PidsLimit").and_then(Value::as_i64) {
        Some(1..=32_768) => Ok(()),
        _ => Err("no limit of processes".into()),
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or(format!("{what} is no object"))
}

fn top_field(field: &str, value: &Value, image_id: &str) -> Result<(), String> {
    match field {
        "Image" => (value == image_id)
            .then_some(())
            .ok_or("not the ID of the app's image".into()),
        "Cmd" | "Entrypoint" | "Env" | "Labels" | "Hostname" | "User" | "WorkingDir" | "Tty"
        | "OpenStdin" | "StdinOnce" | "AttachStdin" | "AttachStdout" | "AttachStderr"
        | "ExposedPorts" | "Healthcheck" | "StopSignal" | "StopTimeout" | "HostConfig" => Ok(()),
        "NetworkingConfig" => {
            let networks = object(&value["EndpointsConfig"], "EndpointsConfig")?;
            let only = |o: &Value| {
                o.as_object()
                    .is_some_and(|o| o.keys().all(|k| k == "Aliases"))
            };
            let good = networks.iter().all(|(n, o)| n != "host" && only(o));
            good.then_some(()).ok_or("more than aliases".into())
        }
        _ => Err("not known".into()),
    }
}

fn strings(value: &Value) -> Result<Vec<&str>, String> {
    let list = value.as_array().ok_or("no list")?;
    list.iter()
        .map(|v| v.as_str().ok_or("no text".into()))
        .collect()
}

fn all(value: &Value, good: impl Fn(&Value) -> bool) -> Result<(), String> {
    let list = value.as_array().ok_or("no list")?;
    match list.iter().find(|v| !good(v)) {
        Some(bad) => Err(format!("{bad} is not the app's")),
        None => Ok(()),
    }
}

fn host_field(field: &str, value: &Value, may: &Permissions) -> Result<(), String> {
    match field {
        "CapDrop" if *value == serde_json::json!(["ALL"]) => Ok(()),
        "CpusetCpus" | "ExtraHosts" | "GroupAdd" => bounded(field, value),
        "AutoRemove" | "CpuShares" | "Dns" | "Init" | "Memory" | "MemoryReservation"
        | "MemorySwap" | "NanoCpus" | "PidsLimit" | "PortBindings" | "ReadonlyRootfs"
        | "RestartPolicy" | "SecurityOpt" | "ShmSize" => Ok(()),
        "CapAdd" => all(value, |v| {
            let c = v.as_str().unwrap_or_default();
            may.capabilities.contains(&c) || ORDINARY_CAPABILITIES.split(' ').any(|o| o == c)
        }),
        "Devices" => all(value, |v| device(v, may)),
        "DeviceRequests" => all(value, |v| request(v, may)),
        "Runtime" if value == "nvidia" && may.nvidia => Ok(()),
        "Sysctls" => {
            let good = |(k, v): (&String, &Value)| {
                may.sysctls.iter().any(|(name, is)| k == name && v == is)
            };
            let all = object(value, field)?.iter().all(good);
            all.then_some(())
                .ok_or("a parameter that is not granted".into())
        }
        "NetworkMode" => match value.as_str() {
            Some("host") if may.host_network => Ok(()),
            Some("host") | None => Err("the host's".into()),
            Some(name) if name.contains([':', '/', '=']) => Err(format!("{name:?}")),
            Some(_) => Ok(()),
        },
        "LogConfig" => log(value),
        "Mounts" => all(value, |v| mount(v, may)),
        "Tmpfs" => memory(value),
        "Ulimits" => all(value, |v| {
            let name = v["Name"].as_str().unwrap_or_default();
            ["nofile", "nproc", "core", "stack", "memlock"].contains(&name)
        }),
        _ => Err("not known".into()),
    }
}

/// Values of which the engine makes loops, files or memory.
fn bounded(field: &str, value: &Value) -> Result<(), String> {
    match field {
        "CpusetCpus" => {
            let mut numbers = value.as_str().unwrap_or("x").split([',', '-']);
            let small = |n: &str| n.is_empty() || n.parse::<u16>().is_ok_and(|n| n < 1024);
            numbers
                .all(small)
                .then_some(())
                .ok_or("processors that no device has".into())
        }
        "ExtraHosts" => all(value, |v| {
            let text = v.as_str().unwrap_or_default();
            !text.contains(":127.") && !text.contains("::1") && !text.contains(['\n', ' '])
        }),
        _ => all(value, |v| {
            v.as_str().is_some_and(|g| !g.contains([':', '/', ' ']))
        }),
    }
}

fn log(value: &Value) -> Result<(), String> {
    let kinds = ["json-file", "local", "journald", "none"];
    let options: BTreeSet<_> = object(&value["Config"], "Config")?.keys().collect();
    let known = [
        "max-size",
        "max-file",
        "compress",
        "tag",
        "mode",
        "max-buffer-size",
    ];
    let plain = |v: &Value| {
        let text = v.as_str().unwrap_or("{");
        ["{{.Name}}", "{{.ID}}"].contains(&text) || !text.contains(['{', '}', '\n'])
    };
    let config = object(&value["Config"], "Config")?;
    let good = kinds.iter().any(|k| value["Type"] == *k)
        && config.values().all(plain)
        && options.iter().all(|o| known.contains(&o.as_str()));
    good.then_some(())
        .ok_or("a driver or an option that is not local".into())
}

fn memory(value: &Value) -> Result<(), String> {
    let good = |o: &Value| {
        o.as_str()
            .is_some_and(|o| !o.contains("dev") || o.contains("nodev"))
            && !o
                .as_str()
                .unwrap_or_default()
                .split(',')
                .any(|o| o == "suid" || o == "dev")
    };
    object(value, "Tmpfs")?
        .values()
        .all(good)
        .then_some(())
        .ok_or("options".into())
}

fn device(value: &Value, may: &Permissions) -> bool {
    let keys = value.as_object().map(|o| o.len());
    let path = value["PathOnHost"].as_str().unwrap_or_default();
    keys == Some(3) && may.devices.contains(&path)
}

fn request(value: &Value, may: &Permissions) -> bool {
    let ids = strings(&value["DeviceIDs"]).unwrap_or_default();
    match value["Driver"].as_str() {
        Some("cdi") => !ids.is_empty() && ids.iter().all(|i| may.cdi.contains(i)),
        Some("") => {
            may.nvidia && ids.is_empty() && value["Capabilities"] == serde_json::json!([["gpu"]])
        }
        _ => false,
    }
}

/// Permits a mount clone, or a path that a grant opens.
pub(super) fn mount(value: &Value, may: &Permissions) -> bool {
    let source = value["Source"].as_str().unwrap_or_default();
    let target = value["Target"].as_str().unwrap_or_default();
    let parts: Vec<_> = source.split('/').collect();
    let clone = match parts[..] {
        ["", "run", "edge-docker", "pins", key, number] => {
            key.len() == 32
                && key.bytes().all(|b| b.is_ascii_hexdigit())
                && number.parse::<u16>().is_ok()
        }
        _ => false,
    };
    let granted = may.paths.contains(&source) && value["ReadOnly"] == true;
    let options = serde_json::json!({ "Propagation": "rprivate", "NonRecursive": true });
    let keys = value.as_object().map(|o| o.len());
    (clone || granted)
        && keys == Some(5)
        && value["Type"] == "bind"
        && value["BindOptions"] == options
        && target.starts_with('/')
        && !target.split('/').any(|p| p == "..")
}
