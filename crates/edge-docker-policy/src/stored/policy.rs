//! The policy over a container at rest: what it may be, given who its image is
//! and what its signer grants. The same rule as for `run`, from the other side.

use edge_common::contract::label;
use serde_json::Value;

use crate::grants::Granted;
use crate::identity::Identity;
use crate::mounts::{self, CloneRecord};
use crate::stored::compare::{parts, short, strings, zero};
use crate::stored::host_config::{capabilities, network};

/// Judges what was asked for, which is what is stored.
///
/// # Errors
/// What is not permitted.
pub fn check(
    asked: &Value,
    subject: &Identity,
    granted: &Granted,
    pinned: Option<&CloneRecord>,
) -> Result<(), String> {
    let host = &asked["HostConfig"];
    let labels = &asked["Labels"];
    let named = match subject {
        Identity::Signed { app, .. } => labels[label::APP] == app.as_str(),
        Identity::Sandbox { app } => labels[label::SANDBOX] == app.as_str(),
    };
    if !named {
        return Err("its labels name another app".into());
    }
    let mode = network(&host["NetworkMode"]);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let runtime = host["Runtime"].as_str().unwrap_or_default();
    let good = [
        (
            "SecurityOpt",
            strings(&host["SecurityOpt"]) == ["no-new-privileges"],
        ),
        (
            "CapAdd",
            capabilities(&host["CapAdd"])
                .iter()
                .all(|c| granted.capability(c)),
        ),
        (
            "Devices",
            list(&host["Devices"]).iter().all(|d| device(d, granted)),
        ),
        (
            "DeviceRequests",
            list(&host["DeviceRequests"])
                .iter()
                .all(|r| request(r, granted)),
        ),
        ("Runtime", runtime.is_empty() || granted.runtime(runtime)),
        (
            "NetworkMode",
            mode.chars().all(plain) && (mode != "host" || granted.host_network()),
        ),
        ("Sysctls", sysctls(&host["Sysctls"], granted)),
        ("GroupAdd", zero(&host["GroupAdd"])),
        (
            "OomScoreAdj",
            host["OomScoreAdj"].as_i64().unwrap_or(0) >= 0,
        ),
        (
            "PidsLimit",
            host["PidsLimit"].as_i64().is_some_and(|n| n > 0),
        ),
        ("LogConfig", log(&host["LogConfig"]["Type"])),
        ("Ulimits", list(&host["Ulimits"]).iter().all(ulimit)),
    ];
    if let Some((name, _)) = good.iter().find(|(_, good)| !good) {
        return Err(format!("HostConfig.{name} is {}", short(&host[*name])));
    }
    for one in list(&host["Mounts"]) {
        mount(one, subject, granted, pinned, &labels[label::MOUNTS])
            .map_err(|why| format!("the mount {}: {why}", short(one)))?;
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn device(device: &Value, granted: &Granted) -> bool {
    let path = device["PathOnHost"].as_str().unwrap_or_default();
    let rights = device["CgroupPermissions"].as_str().unwrap_or_default();
    granted.device(path) && rights.chars().all(|r| "rwm".contains(r))
}

fn request(request: &Value, granted: &Granted) -> bool {
    let names = strings(&request["DeviceIDs"]);
    let plain = zero(&request["Options"]);
    match request["Driver"].as_str().unwrap_or_default() {
        "cdi" => plain && !names.is_empty() && names.iter().all(|n| granted.cdi(n)),
        "" => {
            let gpu = request["Capabilities"] == serde_json::json!([["gpu"]]);
            plain && gpu && granted.runtime("nvidia")
        }
        _ => false,
    }
}

fn sysctls(value: &Value, granted: &Granted) -> bool {
    let mut entries = value.as_object().into_iter().flatten();
    entries.all(|(name, value)| value.as_str().is_some_and(|v| granted.sysctl(name, v)))
}

fn log(kind: &Value) -> bool {
    let known = ["json-file", "local", "journald", "none"];
    zero(kind) || kind.as_str().is_some_and(|k| known.contains(&k))
}

fn ulimit(limit: &Value) -> bool {
    let known = ["nofile", "nproc", "core", "stack"];
    limit["Name"]
        .as_str()
        .is_some_and(|name| known.contains(&name))
}

/// A pin of the app's directory, or a path of the device that a grant opens.
fn mount(
    mount: &Value,
    subject: &Identity,
    granted: &Granted,
    pinned: Option<&CloneRecord>,
    key: &Value,
) -> Result<(), String> {
    let source = mount["Source"].as_str().unwrap_or_default();
    let target = mount["Target"].as_str().unwrap_or_default();
    let read_only = mount["ReadOnly"] == true;
    let as_made = parts(&serde_json::json!({
        "Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only,
        "BindOptions": { "Propagation": "rprivate", "NonRecursive": true },
    }));
    if parts(mount) != as_made {
        return Err("not of the form that edge-docker makes".into());
    }
    if let Some(open) = granted.mount(source) {
        return match open.read_only && !read_only {
            true => Err("it is granted read-only".into()),
            false => Ok(()),
        };
    }
    let record = pinned.ok_or("it has no pins")?;
    if record.directory != subject.directory() {
        return Err(format!("its pins are of {}", record.directory));
    }
    let key = key.as_str().unwrap_or_default();
    let numbers = 0..record.below.len();
    match numbers
        .into_iter()
        .any(|n| mounts::clone_path(key, n) == source)
    {
        true => Ok(()),
        false => Err("its source is no pin of its own".into()),
    }
}
