//! Stored containers that the engine may start.

use serde_json::{Value, json};

use super::board::permissions;

/// Directory of the engine's volumes in the tests.
pub const VOLUMES: &str = "/data/docker/volumes";

/// Checks the files of a container of `app`; the error says what is harmful.
pub fn container(app: &str, host: &Value, config: &Value) -> Result<(), String> {
    let may = permissions(app);
    for field in [
        "Privileged",
        "PublishAllPorts",
        "OomKillDisable",
        "Binds",
        "VolumesFrom",
        "Links",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "CgroupParent",
        "DeviceCgroupRules",
        "Annotations",
        "StorageOpt",
        "VolumeDriver",
    ] {
        if !is_empty(&host[field]) {
            return Err(format!("HostConfig.{field} is {}", host[field]));
        }
    }
    host_fields(host, &may)?;
    for list in ["MaskedPaths", "ReadonlyPaths"] {
        if texts(&host[list]).len() < 4 {
            return Err(format!("HostConfig.{list} is {}", host[list]));
        }
    }
    for (_, option) in host["LogConfig"]["Config"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let text = option.as_str().unwrap_or("{");
        if text.contains('{') && !["{{.Name}}", "{{.ID}}"].contains(&text) {
            return Err(format!("a log option is the program {text:?}"));
        }
    }
    if config["NoNewPrivileges"] != true {
        return Err("processes may gain privileges".into());
    }
    let profile = config["AppArmorProfile"].as_str().unwrap_or_default();
    if !["", "docker-default"].contains(&profile) || !is_empty(&config["SeccompProfile"]) {
        return Err("another security profile".into());
    }
    for point in config["MountPoints"].as_object().into_iter().flatten() {
        let source = point.1["Source"].as_str().unwrap_or_default();
        let volume = source.is_empty() || source.starts_with(&format!("{VOLUMES}/"));
        let bind = json!({
            "Type": "bind", "Source": source, "Target": point.0,
            "ReadOnly": point.1["RW"] == false,
            "BindOptions": { "Propagation": "rprivate", "NonRecursive": true },
        });
        let climbs = source.split('/').any(|part| part == "..");
        if climbs || !(volume || super::mount(&bind, &may)) {
            return Err(format!("MountPoints has {source:?} at {:?}", point.0));
        }
    }
    Ok(())
}

fn host_fields(host: &Value, may: &super::Permissions) -> Result<(), String> {
    let capability = |c: &&str| is_capability(c, may);
    let device = |d: &Value| {
        let path = d["PathOnHost"].as_str().unwrap_or_default();
        may.devices.contains(&path)
    };
    let sysctl = |(name, value): (&String, &Value)| {
        let mut granted = may.sysctls.iter();
        granted.any(|(n, v)| name == n && value == v)
    };
    let namespace = |text: &Value| {
        let text = text.as_str().unwrap_or_default();
        !text.contains(':') && text != "host"
    };
    let network = host["NetworkMode"].as_str().unwrap_or_default();
    let runtime = host["Runtime"].as_str().unwrap_or_default();
    let security = texts(&host["SecurityOpt"]) == ["no-new-privileges"];
    let rules = [
        ("CapAdd", texts(&host["CapAdd"]).iter().all(capability)),
        ("Devices", list(&host["Devices"]).iter().all(device)),
        (
            "Sysctls",
            host["Sysctls"]
                .as_object()
                .into_iter()
                .flatten()
                .all(sysctl),
        ),
        ("IpcMode", namespace(&host["IpcMode"])),
        ("CgroupnsMode", host["CgroupnsMode"] != "host"),
        (
            "NetworkMode",
            !network.contains(':') && (network != "host" || may.host_network),
        ),
        (
            "Runtime",
            ["", "runc", "io.containerd.runc.v2"].contains(&runtime)
                || runtime == "nvidia" && may.nvidia,
        ),
        ("SecurityOpt", security),
        (
            "OomScoreAdj",
            host["OomScoreAdj"].as_i64().unwrap_or(0) >= 0,
        ),
        (
            "PidsLimit",
            host["PidsLimit"].as_i64().is_some_and(|n| n > 0),
        ),
        (
            "Mounts",
            list(&host["Mounts"]).iter().all(|m| is_mount(m, may)),
        ),
    ];
    match rules.iter().find(|(_, harmless)| !harmless) {
        Some((field, _)) => Err(format!("HostConfig.{field} is {}", host[*field])),
        None => Ok(()),
    }
}

fn is_capability(name: &str, may: &super::Permissions) -> bool {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let mut ordinary = super::ORDINARY_CAPABILITIES.split(' ');
    may.capabilities.contains(&name) || ordinary.any(|other| other == name)
}

/// The engine leaves out fields that hold nothing.
fn is_mount(mount: &Value, may: &super::Permissions) -> bool {
    let mut mount = mount.clone();
    let read_only = mount["ReadOnly"] == true;
    mount["ReadOnly"] = read_only.into();
    super::mount(&mount, may)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}
