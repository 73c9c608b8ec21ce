//! Rules for `config.v2.json`, in which the engine stores the program, image, networks
//! and mount points of a container.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::users::is_login_user;
use crate::stored::compare::Rule::{self, Elsewhere, Filled, Same, Zero};
use crate::stored::compare::{compare, parts, same, short, strings, zero};
use crate::stored::container::{Stored, is_hex};
use crate::stored::host_config::network;

/// Length of the hostname that the engine gives a container: the beginning of its ID.
const ENGINE_HOSTNAME_CHARS: usize = 12;

/// Rules for the top-level fields of `config.v2.json`.
const FIELDS: &[(&str, Rule)] = &[
    ("StreamConfig", Zero),
    ("State", Elsewhere),
    ("ID", Elsewhere),
    ("Created", Elsewhere),
    ("Managed", Zero),
    ("Path", Elsewhere),
    ("Args", Elsewhere),
    ("Config", Elsewhere),
    ("Image", Same),
    ("ImageManifest", Zero),
    ("ImagePlatform", Elsewhere),
    ("NetworkSettings", Elsewhere),
    ("LogPath", Elsewhere),
    ("Name", Elsewhere),
    ("Driver", Filled(&["overlay2"])),
    ("OS", Filled(&["linux"])),
    ("Platform", Filled(&["linux"])),
    ("MountLabel", Zero),
    ("ProcessLabel", Zero),
    ("RestartCount", Elsewhere),
    ("HasBeenStartedBefore", Elsewhere),
    ("HasBeenManuallyStopped", Elsewhere),
    ("HasBeenManuallyRestarted", Elsewhere),
    ("MountPoints", Elsewhere),
    ("SecretReferences", Zero),
    ("ConfigReferences", Zero),
    ("AppArmorProfile", Filled(&["docker-default"])),
    ("HostnamePath", Elsewhere),
    ("HostsPath", Elsewhere),
    ("ShmPath", Elsewhere),
    ("ResolvConfPath", Elsewhere),
    ("SeccompProfile", Zero),
    ("NoNewPrivileges", Elsewhere),
    ("WritableCgroups", Zero),
    ("LocalLogCacheMeta", Elsewhere),
    ("SecurityOptions", Zero),
    ("Snapshotter", Zero),
];

/// Rules for `State`, most of which changes while the container runs.
const STATE: &[(&str, Rule)] = &[
    ("Running", Elsewhere),
    ("Paused", Elsewhere),
    ("Restarting", Elsewhere),
    ("OOMKilled", Elsewhere),
    ("RemovalInProgress", Elsewhere),
    ("Dead", Elsewhere),
    ("Pid", Elsewhere),
    ("ExitCode", Elsewhere),
    ("Error", Elsewhere),
    ("StartedAt", Elsewhere),
    ("FinishedAt", Elsewhere),
    ("Health", Elsewhere),
    ("Removed", Zero),
];

/// Rules for `Config`, which the engine has merged from the request and the configuration
/// of the container image.
const CONFIG: &[(&str, Rule)] = &[
    ("Hostname", Elsewhere),
    ("Domainname", Same),
    ("User", Same),
    ("AttachStdin", Same),
    ("AttachStdout", Same),
    ("AttachStderr", Same),
    ("ExposedPorts", Same),
    ("Tty", Same),
    ("OpenStdin", Same),
    ("StdinOnce", Same),
    ("Env", Same),
    ("Cmd", Same),
    ("Healthcheck", Rule::Parts),
    ("ArgsEscaped", Zero),
    ("Image", Same),
    ("Volumes", Same),
    ("WorkingDir", Same),
    ("Entrypoint", Same),
    ("NetworkDisabled", Zero),
    ("MacAddress", Zero),
    ("OnBuild", Zero),
    ("Labels", Same),
    ("StopSignal", Filled(&["SIGTERM"])),
    ("StopTimeout", Same),
    ("Shell", Zero),
    ("PublishService", Zero),
    ("VolumeDriver", Zero),
];

/// Rules for `NetworkSettings`, apart from the networks that are joined.
const NETWORK: &[(&str, Rule)] = &[
    ("Bridge", Elsewhere),
    ("SandboxID", Elsewhere),
    ("HairpinMode", Zero),
    ("LinkLocalIPv6Address", Elsewhere),
    ("LinkLocalIPv6PrefixLen", Elsewhere),
    ("Networks", Elsewhere),
    ("Service", Zero),
    ("Ports", Elsewhere),
    ("SandboxKey", Elsewhere),
    ("SecondaryIPAddresses", Zero),
    ("SecondaryIPv6Addresses", Zero),
    ("IsAnonymousEndpoint", Elsewhere),
    ("HasSwarmEndpoint", Zero),
];

/// Rules for an entry of `MountPoints`, a bind mount or a volume.
const MOUNT: &[(&str, Rule)] = &[
    ("Source", Elsewhere),
    ("Destination", Same),
    ("RW", Same),
    ("Name", Elsewhere),
    ("Driver", Elsewhere),
    ("Relabel", Zero),
    ("Propagation", Same),
    ("Type", Same),
    ("ID", Elsewhere),
    ("Mode", Zero),
    ("Named", Zero),
    ("Spec", Elsewhere),
    ("SkipMountpointCreation", Elsewhere),
];

/// Compares `config.v2.json` with the create request of edge-docker, merged with the
/// configuration of the container image.
///
/// # Errors
/// Text that names the field that differs.
pub(crate) fn check(
    stored: &Stored,
    requested: &Value,
    image: &Value,
    volumes: &Path,
) -> Result<(), String> {
    let all = &stored.config;
    compare(FIELDS, all, requested, "container")?;
    compare(STATE, &all["State"], &Value::Null, "State")?;
    let mut wanted = merge(requested, image);
    // An engine before API version 1.44 does not keep it.
    if zero(&all["Config"]["Healthcheck"]["StartInterval"])
        && let Some(health) = wanted["Healthcheck"].as_object_mut()
    {
        health.remove("StartInterval");
    }
    compare(CONFIG, &all["Config"], &wanted, "Config")?;
    let user = &all["Config"]["User"];
    if user.as_str().is_some_and(is_login_user) {
        return Err(format!(
            "Config.User is {}, the device's login user",
            short(user)
        ));
    }
    program(all, &wanted)?;
    own_files(stored)?;
    networks(stored, requested)?;
    if all["ID"] != stored.id.as_str() || all["NoNewPrivileges"] != true {
        return Err("ID or NoNewPrivileges is another".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let hostname = all["Config"]["Hostname"].as_str().unwrap_or_default();
    let requested_name = requested["Hostname"].as_str().unwrap_or_default();
    let named = match requested_name {
        // That of the device in its own network.
        "" if requested["HostConfig"]["NetworkMode"] == "host" => true,
        "" => stored.id.starts_with(hostname) && hostname.len() == ENGINE_HOSTNAME_CHARS,
        name => name == hostname,
    };
    if !named || !hostname.chars().all(plain) || !stored.name().chars().all(plain) {
        return Err(format!(
            "Hostname is {hostname:?}, Name is {:?}",
            stored.name()
        ));
    }
    mounts(&all["MountPoints"], requested, &wanted, volumes)
}

/// Merges a create request with the configuration of the container image, as the engine
/// does when it creates a container.
fn merge(requested: &Value, image: &Value) -> Value {
    let mut wanted = requested.clone();
    let or_image = |name: &str| {
        if zero(&requested[name]) {
            &image[name]
        } else {
            &requested[name]
        }
    };
    for name in ["User", "WorkingDir", "StopSignal"] {
        wanted[name] = or_image(name).clone();
    }
    if let Some(directory) = wanted["WorkingDir"].as_str().filter(|f| f.len() > 1) {
        wanted["WorkingDir"] = directory.trim_end_matches('/').into();
    }
    for name in ["ExposedPorts", "Labels", "Volumes"] {
        let of = |value: &Value| value[name].as_object().cloned().unwrap_or_default();
        let mut both: Map<_, _> = of(image);
        both.extend(of(requested));
        wanted[name] = both.into();
    }
    wanted["Env"] = environment(requested, image);
    if zero(&requested["Entrypoint"]) {
        if zero(&requested["Cmd"]) {
            wanted["Cmd"] = image["Cmd"].clone();
        }
        if requested["Entrypoint"].is_null() {
            wanted["Entrypoint"] = image["Entrypoint"].clone();
        }
    }
    // An empty entry point resets that of the image, after it has kept the image's command
    // away.
    if wanted["Entrypoint"] == serde_json::json!([""]) {
        wanted["Entrypoint"] = Value::Null;
    }
    let mut health = parts(&image["Healthcheck"]);
    match (health.as_object_mut(), parts(&requested["Healthcheck"])) {
        (Some(health), Value::Object(own)) => health.extend(own),
        (None, own) => health = own,
        _ => {}
    }
    wanted["Healthcheck"] = health;
    wanted
}

fn environment(requested: &Value, image: &Value) -> Value {
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_string();
    let own = strings(&requested["Env"]);
    let keys: Vec<_> = own.iter().map(|line| key(line)).collect();
    let theirs = strings(&image["Env"]).into_iter();
    own.into_iter()
        .chain(theirs.filter(|line| !keys.contains(&key(line))))
        .map(Value::from)
        .collect()
}

/// Checks that `Path` and `Args`, which the engine runs, are the requested entry point
/// and command.
fn program(all: &Value, wanted: &Value) -> Result<(), String> {
    let mut command = strings(&wanted["Entrypoint"]);
    command.extend(strings(&wanted["Cmd"]));
    let mut stored = vec![all["Path"].as_str().unwrap_or_default()];
    stored.extend(strings(&all["Args"]));
    if stored == command {
        return Ok(());
    }
    Err(format!(
        "Path and Args are {}",
        short(&stored.into_iter().collect())
    ))
}

/// Checks that the files which the engine creates and mounts (hostname, hosts,
/// resolv.conf, shm, log) are those in the container's own directory.
fn own_files(stored: &Stored) -> Result<(), String> {
    let directory = stored.directory.display();
    let own = [
        ("HostnamePath", "hostname"),
        ("HostsPath", "hosts"),
        ("ResolvConfPath", "resolv.conf"),
        ("ShmPath", "mounts/shm"),
        ("LogPath", &format!("{}-json.log", stored.id)),
    ];
    for (field, name) in own {
        let path = &stored.config[field];
        if !zero(path) && *path != format!("{directory}/{name}") {
            return Err(format!("{field} is {}", short(path)));
        }
    }
    Ok(())
}

/// Checks that the container joins only the requested network, without links or options.
fn networks(stored: &Stored, requested: &Value) -> Result<(), String> {
    let settings = &stored.config["NetworkSettings"];
    compare(NETWORK, settings, &Value::Null, "NetworkSettings")?;
    let mode = network(&requested["HostConfig"]["NetworkMode"]);
    let more = &requested["NetworkingConfig"]["EndpointsConfig"];
    let joined = settings["Networks"].as_object();
    for (name, end) in joined.into_iter().flatten() {
        if network(&name.as_str().into()) != mode && more[name].is_null() {
            return Err(format!("NetworkSettings.Networks has {name:?}"));
        }
        if !zero(&end["Links"]) || !zero(&end["DriverOpts"]) {
            return Err(format!(
                "NetworkSettings.Networks.{name} has links or options"
            ));
        }
    }
    Ok(())
}

/// Checks that the mount points are all requested mounts and, beyond these, only volumes
/// that the container image declares.
fn mounts(points: &Value, requested: &Value, wanted: &Value, volumes: &Path) -> Result<(), String> {
    let list = requested["HostConfig"]["Mounts"].as_array();
    let list = list.map_or(&[][..], Vec::as_slice);
    let mut count = 0;
    for (target, point) in points.as_object().into_iter().flatten() {
        let mount = list.iter().find(|m| m["Target"] == target.as_str());
        let error = |why: &str| format!("MountPoints {target:?}: {why}");
        let Some(mount) = mount else {
            volume(target, point, wanted, volumes).map_err(|why| error(&why))?;
            continue;
        };
        count += 1;
        let spec = serde_json::json!({
            "Destination": target, "RW": mount["ReadOnly"] != true, "Type": mount["Type"],
            "Propagation": mount["BindOptions"]["Propagation"],
        });
        compare(MOUNT, point, &spec, "it").map_err(|why| error(&why))?;
        let named = ["Name", "Driver", "ID"].iter().any(|f| !zero(&point[*f]));
        if named || !same(&point["Source"], &mount["Source"]) {
            return Err(error("another source"));
        }
        if parts(&point["Spec"]) != parts(mount) {
            return Err(error("another Spec"));
        }
    }
    if count != list.len() {
        return Err("MountPoints lacks a mount".into());
    }
    Ok(())
}

/// Checks that a mount point is an unnamed local volume, at a path where the container
/// image declares a volume.
fn volume(target: &str, point: &Value, wanted: &Value, volumes: &Path) -> Result<(), String> {
    if wanted["Volumes"][target].is_null() {
        return Err("volume declared neither by the image nor by the request".into());
    }
    let spec = serde_json::json!({ "Destination": target, "RW": true, "Type": "volume" });
    compare(MOUNT, point, &spec, "it")?;
    let name = point["Name"].as_str().unwrap_or_default();
    let place = volumes.join(name).join("_data");
    let source = &point["Source"];
    if !is_hex(name) || point["Driver"] != "local" {
        return Err("not an unnamed local volume".into());
    }
    if !zero(source) && source.as_str().map(Path::new) != Some(&place) {
        return Err(format!("its source is {}", short(source)));
    }
    let table = [
        ("Type", Filled(&["volume"])),
        ("Target", Same),
        ("Source", Filled(&[])),
    ];
    let spec = &parts(&point["Spec"]);
    let requested = serde_json::json!({ "Target": target, "Source": name });
    let requested = if zero(&spec["Source"]) {
        serde_json::json!({ "Target": target })
    } else {
        requested
    };
    if !zero(spec) {
        compare(&table, spec, &requested, "Spec")?;
    }
    Ok(())
}
