//! Rules for `hostconfig.json` of a stored container. They cover all fields that docker
//! 20.10 to 28 writes, see `HostConfig` of
//! <https://docs.docker.com/reference/api/engine/>.

use serde_json::{Map, Value};

use crate::cli::log_options;
use crate::limits::{DEFAULT_LOG_DRIVER, LOG_DRIVERS};
use crate::stored::compare::Rule::{self, Elsewhere, Filled, HeldBack, Parts, Same, Zero};
use crate::stored::compare::{compare, same, short, strings, zero};

/// Rules for all fields of `hostconfig.json`.
const FIELDS: &[(&str, Rule)] = &[
    ("Annotations", Zero),
    ("AutoRemove", Same),
    ("Binds", Zero),
    ("BlkioDeviceReadBps", Zero),
    ("BlkioDeviceReadIOps", Zero),
    ("BlkioDeviceWriteBps", Zero),
    ("BlkioDeviceWriteIOps", Zero),
    ("BlkioWeight", Zero),
    ("BlkioWeightDevice", Zero),
    ("CapAdd", Elsewhere),
    ("CapDrop", Elsewhere),
    ("Cgroup", Zero),
    ("CgroupParent", Zero),
    ("CgroupnsMode", Filled(&["host", "private"])),
    ("ConsoleSize", Elsewhere),
    ("ContainerIDFile", Zero),
    ("CpuCount", Zero),
    ("CpuPercent", Zero),
    ("CpuPeriod", Same),
    ("CpuQuota", Same),
    ("CpuRealtimePeriod", Zero),
    ("CpuRealtimeRuntime", Zero),
    ("CpuShares", Same),
    ("CpusetCpus", Same),
    ("CpusetMems", Same),
    ("DeviceCgroupRules", Zero),
    ("DeviceRequests", Parts),
    ("Devices", Parts),
    ("Dns", Same),
    ("DnsOptions", Same),
    ("DnsSearch", Same),
    ("ExtraHosts", Same),
    ("GroupAdd", Same),
    ("IOMaximumBandwidth", Zero),
    ("IOMaximumIOps", Zero),
    ("Init", Same),
    ("IpcMode", Filled(&["private", "shareable"])),
    ("Isolation", Filled(&["default"])),
    ("KernelMemory", Zero),
    ("KernelMemoryTCP", Zero),
    ("Links", Zero),
    ("LogConfig", Elsewhere),
    ("MaskedPaths", Elsewhere),
    ("Memory", Same),
    ("MemoryReservation", Same),
    ("MemorySwap", Elsewhere),
    ("MemorySwappiness", Elsewhere),
    ("Mounts", Parts),
    ("NanoCpus", Same),
    ("NetworkMode", Elsewhere),
    ("OomKillDisable", Zero),
    ("OomScoreAdj", Same),
    ("PidMode", Zero),
    ("PidsLimit", Same),
    ("PortBindings", Same),
    ("Privileged", Zero),
    ("PublishAllPorts", Zero),
    ("ReadonlyPaths", Elsewhere),
    ("ReadonlyRootfs", Same),
    ("RestartPolicy", HeldBack),
    ("Runtime", Filled(&["runc", "io.containerd.runc.v2"])),
    ("SecurityOpt", Same),
    ("ShmSize", Elsewhere),
    ("StorageOpt", Zero),
    ("Sysctls", Same),
    ("Tmpfs", Same),
    ("UTSMode", Zero),
    ("Ulimits", Parts),
    ("UsernsMode", Zero),
    ("VolumeDriver", Zero),
    ("VolumesFrom", Zero),
    // Fields of other operating systems and of older engines.
    ("Capabilities", Zero),
    ("CredentialSpec", Zero),
    ("DiskQuota", Zero),
    ("LxcConf", Zero),
    ("NetworkDisabled", Zero),
    ("OomKill", Zero),
    ("PublishService", Zero),
    ("Umask", Zero),
];

/// Paths that every supported engine hides from containers; engines may hide more.
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
/// Paths that every supported engine remounts read-only in containers.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
/// Default size of `/dev/shm` in containers, in bytes.
const SHM: i64 = 64 << 20;

/// Compares `hostconfig.json` with `HostConfig` of the create request, to which the engine
/// has added `log_options`.
///
/// # Errors
/// Text that names the field that differs.
pub(crate) fn check(host: &Value, requested: &Value, log_options: &Value) -> Result<(), String> {
    compare(FIELDS, host, requested, "HostConfig")?;
    let fits = [
        (
            "CapAdd",
            capabilities(&host["CapAdd"]) == capabilities(&requested["CapAdd"]),
        ),
        (
            "CapDrop",
            capabilities(&host["CapDrop"]) == capabilities(&requested["CapDrop"]),
        ),
        ("MaskedPaths", holds(&host["MaskedPaths"], &MASKED)),
        ("ReadonlyPaths", holds(&host["ReadonlyPaths"], &READ_ONLY)),
        (
            "ShmSize",
            filled(&host["ShmSize"], &requested["ShmSize"], SHM),
        ),
        ("MemorySwap", swap(host, requested)),
        (
            "MemorySwappiness",
            // Not `same`: 0 is a value of its own.
            host["MemorySwappiness"] == requested["MemorySwappiness"]
                || host["MemorySwappiness"] == -1,
        ),
        ("ConsoleSize", console(&host["ConsoleSize"])),
        (
            "NetworkMode",
            network(&host["NetworkMode"]) == network(&requested["NetworkMode"]),
        ),
        (
            "LogConfig",
            log(&host["LogConfig"], &requested["LogConfig"], log_options),
        ),
    ];
    match fits.iter().find(|(_, fits)| !fits) {
        Some((name, _)) => Err(format!("HostConfig.{name} is {}", short(&host[*name]))),
        None => Ok(()),
    }
}

/// Returns the network mode; an unset one and `default` are returned as `bridge`, which
/// is the same network.
pub(crate) fn network(mode: &Value) -> &str {
    match mode.as_str().unwrap_or_default() {
        "" | "default" => "bridge",
        name => name,
    }
}

/// Returns sorted capabilities in capital letters, without `CAP_`, which only newer
/// engines write.
pub(crate) fn capabilities(value: &Value) -> Vec<String> {
    let upper = strings(value).into_iter().map(str::to_ascii_uppercase);
    let mut names: Vec<_> = upper
        .map(|name| name.strip_prefix("CAP_").unwrap_or(&name).to_string())
        .collect();
    names.sort();
    names
}

fn holds(value: &Value, wanted: &[&str]) -> bool {
    let stored = strings(value);
    wanted.iter().all(|path| stored.contains(path))
}

fn filled(value: &Value, requested: &Value, default: i64) -> bool {
    same(value, requested) || zero(requested) && *value == default
}

/// Returns whether `MemorySwap` (memory and swap together) is the requested value or,
/// without a request, a default of the engine: twice the memory, or -1 for unlimited.
fn swap(host: &Value, requested: &Value) -> bool {
    let (swap, memory) = (&host["MemorySwap"], host["Memory"].as_i64().unwrap_or(0));
    let twice = memory > 0 && swap.as_i64() == memory.checked_mul(2);
    same(swap, &requested["MemorySwap"]) || zero(&requested["MemorySwap"]) && (twice || *swap == -1)
}

fn console(value: &Value) -> bool {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    zero(value) || list.len() == 2 && list.iter().all(Value::is_u64)
}

/// Returns whether the log driver is the requested one or the default, with the requested
/// options. The engine has added others, which are permitted, by the names of `added`: an
/// earlier image may have had other values of them.
fn log(stored: &Value, requested: &Value, added: &Value) -> bool {
    let table = [
        ("Type", Filled(&[DEFAULT_LOG_DRIVER])),
        ("Config", Elsewhere),
    ];
    if compare(&table, stored, requested, "LogConfig").is_err() {
        return false;
    }
    let options = stored["Config"].as_object();
    let requested = requested["Config"].as_object();
    let mut names = added.as_object().into_iter().flat_map(Map::keys);
    let is_default = stored["Type"] == DEFAULT_LOG_DRIVER;
    if is_default && !names.all(|name| options.is_some_and(|o| o.contains_key(name))) {
        return false;
    }
    is_log(stored)
        && requested.is_none_or(|a| {
            a.iter()
                .all(|(k, v)| options.is_some_and(|o| o.get(k) == Some(v)))
        })
}

/// Returns whether a log driver and all of its options, with their values, are permitted.
pub(crate) fn is_log(log: &Value) -> bool {
    let mut options = log["Config"].as_object().into_iter().flatten();
    is_log_driver(&log["Type"])
        && options.all(|(key, value)| {
            value
                .as_str()
                .is_some_and(|value| log_options::check(key, value).is_ok())
        })
}

fn is_log_driver(kind: &Value) -> bool {
    zero(kind) || kind.as_str().is_some_and(|k| LOG_DRIVERS.contains(&k))
}
