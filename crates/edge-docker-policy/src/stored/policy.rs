//! Policy of stored containers: judges the recorded create request by the identity of the
//! image and its grants. The rules are those of `run`, with the lists in `limits`.

use edge_common::contract::label;
use serde_json::Value;

use crate::bounds;
use crate::cli;
use crate::create_body::Mount;
use crate::grants::Granted;
use crate::identity::Identity;
use crate::limits;
use crate::mounts::{self, CloneRecord};
use crate::stored::compare::{parts, short, strings, zero};
use crate::stored::host_config::{capabilities, is_log, network};

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
    // A label that does not apply is empty; containers of earlier versions lack it.
    let named = match identity {
        Identity::Signed { app, .. } => {
            labels[label::APP] == app.as_str() && zero(&labels[label::SANDBOX])
        }
        Identity::Sandbox { app } => {
            labels[label::SANDBOX] == app.as_str() && zero(&labels[label::APP])
        }
    };
    if !named {
        return Err("its labels name another app".into());
    }
    program(requested)?;
    fields(host, granted)?;
    values(host)?;
    let memory = host["Tmpfs"].as_object().map_or(0, |tmpfs| tmpfs.len());
    let texts = labels.as_object().into_iter().flatten();
    let texts = texts.map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
    bounds::check_stored(list(&host["Mounts"]).len() + memory, texts)?;
    for one in list(&host["Mounts"]) {
        mount(one, identity, granted, clones, &labels[label::MOUNTS])
            .map_err(|why| format!("the mount {}: {why}", short(one)))?;
    }
    Ok(())
}

/// Checks the values outside of `HostConfig` that the runtime interprets.
fn program(requested: &Value) -> Result<(), String> {
    let directory = requested["WorkingDir"].as_str().unwrap_or_default();
    if !directory.is_empty() && cli::values::workdir("workdir", directory).is_err() {
        return Err(format!("WorkingDir is {directory:?}"));
    }
    let seconds = &requested["StopTimeout"];
    // -1 is one of earlier versions.
    if seconds
        .as_i64()
        .is_some_and(|s| s > *limits::STOP_SECONDS.end())
    {
        return Err(format!("StopTimeout is {}", short(seconds)));
    }
    let health = &requested["Healthcheck"];
    let is_time = |name: &str| health[name].as_i64().is_none_or(cli::health::is_time);
    if !["Interval", "Timeout", "StartInterval"]
        .into_iter()
        .all(is_time)
    {
        return Err(format!("Healthcheck is {}", short(health)));
    }
    Ok(())
}

/// Checks the values of `HostConfig` that the engine or the kernel interprets.
fn values(host: &Value) -> Result<(), String> {
    let processors = host["CpusetCpus"].as_str().unwrap_or_default();
    let texts = |name: &str, permitted: fn(&str) -> bool| {
        let values = list(&host[name]);
        values.len() <= limits::MAX_LIST && values.iter().all(|v| v.as_str().is_some_and(permitted))
    };
    let ports = host["PortBindings"].as_object().into_iter().flatten();
    let ports: usize = ports.map(|(_, bindings)| list(bindings).len()).sum();
    let mut tmpfs = host["Tmpfs"].as_object().into_iter().flatten();
    let conditions = [
        (
            "CpusetCpus",
            processors.is_empty() || cli::quantities::processors("", processors).is_ok(),
        ),
        (
            "ExtraHosts",
            texts("ExtraHosts", |h| cli::values::extra_host("", h).is_ok()),
        ),
        (
            "GroupAdd",
            texts("GroupAdd", |g| cli::users::account("", g).is_ok()),
        ),
        ("Dns", texts("Dns", |a| cli::values::address("", a).is_ok())),
        ("PortBindings", ports <= limits::MAX_PORTS),
        (
            "ShmSize",
            host["ShmSize"].as_i64().unwrap_or(0) <= limits::MAX_MEMORY_FS_BYTES,
        ),
        (
            "Tmpfs",
            tmpfs.all(|(path, options)| {
                let options = options.as_str().map(cli::memory_fs::tmpfs);
                cli::values::target("", path).is_ok() && options.is_some_and(|o| o.is_ok())
            }),
        ),
        ("LogConfig", is_log(&host["LogConfig"])),
    ];
    first_unmet(&conditions, host)
}

fn first_unmet(conditions: &[(&str, bool)], host: &Value) -> Result<(), String> {
    match conditions.iter().find(|(_, met)| !met) {
        Some((name, _)) => Err(format!("HostConfig.{name} is {}", short(&host[*name]))),
        None => Ok(()),
    }
}

/// Checks the fields of `HostConfig` in the create request that a grant may permit.
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
                .all(|c| limits::needs_no_grant(c) || granted.capability(c)),
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
        ("Ulimits", list(&host["Ulimits"]).iter().all(is_ulimit)),
    ];
    first_unmet(&conditions, host)
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

fn is_ulimit(limit: &Value) -> bool {
    let value = |name: &str| limit[name].as_i64();
    match (limit["Name"].as_str(), value("Soft"), value("Hard")) {
        (Some(name), Some(soft), Some(hard)) => {
            cli::values::ulimit(&format!("{name}={soft}:{hard}")).is_ok()
        }
        _ => false,
    }
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
