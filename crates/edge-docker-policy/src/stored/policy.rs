//! Policy of stored containers: judges the recorded create request by the identity of the
//! image and its grants. The rules are those of `run`, with the lists in `limits`.

use edge_common::contract::label;
use serde_json::Value;

use crate::create_body::Mount;
use crate::grants::Granted;
use crate::identity::Identity;
use crate::limits;
use crate::mounts::{self, CloneRecord};
use crate::stored::compare::{parts, short, strings, zero};
use crate::stored::host_config::{capabilities, network};

/// Checks that the recorded create request of a stored container complies with the
/// policy.
///
/// # Errors
/// Text that names the label, field or mount that is not permitted.
pub(crate) fn check(
    requested: &Value,
    identity: &Identity,
    granted: &Granted,
    clones: Option<&CloneRecord>,
) -> Result<(), String> {
    let host = &requested["HostConfig"];
    let labels = &requested["Labels"];
    let named = match identity {
        Identity::Signed { app, .. } => labels[label::APP] == app.as_str(),
        Identity::Sandbox { app } => labels[label::SANDBOX] == app.as_str(),
    };
    if !named {
        return Err("its labels name another app".into());
    }
    fields(host, granted)?;
    for one in list(&host["Mounts"]) {
        mount(one, identity, granted, clones, &labels[label::MOUNTS])
            .map_err(|why| format!("the mount {}: {why}", short(one)))?;
    }
    Ok(())
}

/// Checks the fields of `HostConfig` in the create request, apart from mounts.
fn fields(host: &Value, granted: &Granted) -> Result<(), String> {
    let mode = network(&host["NetworkMode"]);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let runtime = host["Runtime"].as_str().unwrap_or_default();
    let conditions = [
        (
            "SecurityOpt",
            strings(&host["SecurityOpt"]) == [limits::SECURITY_OPTION],
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
            host["PidsLimit"]
                .as_i64()
                .is_some_and(|n| limits::PIDS.contains(&n)),
        ),
        ("LogConfig", is_log_driver(&host["LogConfig"]["Type"])),
        ("Ulimits", list(&host["Ulimits"]).iter().all(is_ulimit)),
    ];
    match conditions.iter().find(|(_, met)| !met) {
        Some((name, _)) => Err(format!("HostConfig.{name} is {}", short(&host[*name]))),
        None => Ok(()),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn device(device: &Value, granted: &Granted) -> bool {
    let path = device["PathOnHost"].as_str().unwrap_or_default();
    let rights = device["CgroupPermissions"].as_str().unwrap_or_default();
    granted.device(path) && limits::is_device_rights(rights)
}

fn request(request: &Value, granted: &Granted) -> bool {
    let names = strings(&request["DeviceIDs"]);
    let plain = zero(&request["Options"]);
    match request["Driver"].as_str().unwrap_or_default() {
        "cdi" => plain && !names.is_empty() && names.iter().all(|n| granted.cdi(n)),
        "" => {
            let gpu = request["Capabilities"] == serde_json::json!([["gpu"]]);
            plain && gpu && granted.runtime(limits::GPU_RUNTIME)
        }
        _ => false,
    }
}

fn sysctls(value: &Value, granted: &Granted) -> bool {
    let mut entries = value.as_object().into_iter().flatten();
    entries.all(|(name, value)| value.as_str().is_some_and(|v| granted.sysctl(name, v)))
}

fn is_log_driver(kind: &Value) -> bool {
    zero(kind)
        || kind
            .as_str()
            .is_some_and(|k| limits::LOG_DRIVERS.contains(&k))
}

fn is_ulimit(limit: &Value) -> bool {
    let name = limit["Name"].as_str();
    name.is_some_and(|name| limits::ULIMITS.contains(&name))
}

/// Checks that the source of a mount is a mount clone of this container, or a path of the
/// device that a grant permits.
fn mount(
    mount: &Value,
    identity: &Identity,
    granted: &Granted,
    clones: Option<&CloneRecord>,
    key: &Value,
) -> Result<(), String> {
    let source = mount["Source"].as_str().unwrap_or_default();
    let target = mount["Target"].as_str().unwrap_or_default();
    let read_only = mount["ReadOnly"] == true;
    let created = Mount::bind(source.into(), target.into(), read_only);
    let created = serde_json::to_value(created).unwrap_or_default();
    if parts(mount) != parts(&created) {
        return Err("not of the form that edge-docker makes".into());
    }
    if let Some(open) = granted.mount(source) {
        return match open.read_only && !read_only {
            true => Err("it is granted read-only".into()),
            false => Ok(()),
        };
    }
    let record = clones.ok_or("it has no pins")?;
    if record.directory != identity.directory() {
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
