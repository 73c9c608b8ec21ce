//! Types of the run specification. The fields are in alphabetical order, in which serde
//! writes them, and each is omitted at its default: both make the form canonical.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Settings of an app's container, with the key names of compose files. Sizes are in
/// bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// Name of the app, which must be the one in the annotation `edge.app`.
    pub app: String,
    /// Capabilities beyond those that `cap_drop` leaves, without `CAP_`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities that the container does not get, without `CAP_`; `ALL` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Arguments in place of the image's `CMD`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Commands that an engineer may run in the container, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, SignedCommand>,
    /// Processor limit in billionths of a processor; 0 is no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: i64,
    /// Processors that the container may use, for example `0-2,4`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpuset: String,
    /// Addresses of DNS servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Program in place of the image's `ENTRYPOINT`; an empty list resets it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables. `{thing}` and `{serial}` in a value are replaced by the
    /// names of the device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Ports of the container for other containers, `PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Additional entries of `/etc/hosts`, `NAME:ADDRESS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Names of requested grants, a subset of the annotation `edge.grants`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Additional groups of the container's processes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Health check; `None` keeps the one of the image.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub healthcheck: Option<Healthcheck>,
    /// Host name in the container, with the placeholders of `environment`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Init process that reaps zombies.
    #[serde(skip_serializing_if = "is_default")]
    pub init: bool,
    /// Labels of the container, for programs that read them at the engine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Log driver and its options.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub logging: Option<Logging>,
    /// Memory limit; 0 is no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_limit: i64,
    /// Network: `bridge`, `none`, or with a grant that permits it `host`; empty is the
    /// default of the engine, `bridge`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
    /// Process limit; 0 is the default of edge-docker.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_limit: i64,
    /// Published ports, `[ADDRESS:]PORT:PORT/PROTOCOL`, also ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Read-only root file system of the container.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Requirements that the device must meet.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub requires: Option<Requires>,
    /// Restart policy, for example `unless-stopped` or `on-failure:3`; empty is `no`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restart: String,
    /// Grants that the signer accepts although they amount to root on the device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root: Vec<String>,
    /// Size of `/dev/shm`; 0 is the default of the engine.
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size: i64,
    /// Seconds between the stop signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub stop_grace_period: Option<i64>,
    /// Signal that stops the container, for example `SIGINT`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Limit of the app's data on disk; 0 is the default of the device.
    #[serde(skip_serializing_if = "is_default")]
    pub storage: i64,
    /// Owner of what is below the app's mounts.
    #[serde(skip_serializing_if = "is_default")]
    pub storage_owner: StorageOwner,
    /// Kernel parameters that a grant permits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// File systems in memory: options by path in the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Pseudo-terminal as standard output and error of the app.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Resource limits of processes, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, UlimitPair>,
    /// Settings of the systemd unit that starts the app.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub unit: Option<Unit>,
    /// User and group in the container, `USER[:GROUP]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Version of the format.
    pub v: u32,
    /// Directories of the app's data that are mounted into the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<SpecVolume>,
    /// Working directory in the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
}

/// Owner of the files below the mounts of an app.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageOwner {
    /// Each file keeps its owner. Not part of the format, which omits defaults.
    #[default]
    #[serde(skip)]
    Kept,
    /// The user of the container, to whom the files are given when it changes.
    App,
}

/// Command that an engineer may run in the container by its name.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignedCommand {
    /// Number of arguments that the engineer adds, exactly.
    #[serde(skip_serializing_if = "is_default")]
    pub args: u32,
    /// Program and its arguments.
    pub run: Vec<String>,
    /// Forwarding of standard input to the program.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: bool,
    /// User in the container; empty is the user of the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}

/// Health check of a container; durations in milliseconds, 0 keeps the image's value.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Healthcheck {
    #[serde(skip_serializing_if = "is_default")]
    /// Time between two checks.
    pub interval: i64,
    /// Number of failed checks after which the container is unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: i64,
    /// Time between two checks during the start period.
    #[serde(skip_serializing_if = "is_default")]
    pub start_interval: i64,
    /// Time after the start in which failed checks do not count.
    #[serde(skip_serializing_if = "is_default")]
    pub start_period: i64,
    /// `["NONE"]`, `["CMD", PROGRAM, …]` or `["CMD-SHELL", COMMAND]`; empty keeps the
    /// check of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time after which a running check counts as failed.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: i64,
}

/// Log driver of a container and its options.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// Name of the driver; empty is the default driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Options of the driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Requirements that a device must meet to run the app.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// Architecture as OCI names it, for example `arm64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Free space in bytes on the data partition.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: i64,
    /// Lowest version of the device image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Lowest version of L4T, for example `36.4`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l4t: String,
    /// Memory of the device in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: i64,
}

/// Soft and hard value of a resource limit; -1 is unlimited.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UlimitPair {
    /// Value that processes may raise themselves.
    pub hard: i64,
    /// Value that applies at the start.
    pub soft: i64,
}

/// Settings of the systemd unit that starts the app.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unit {
    /// Units that must be started before the app.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Calendar expression of systemd at which the app runs, for example `daily`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timer: String,
    /// Units that are started together with the app.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<String>,
}

/// Directory of the app's data and its path in the container.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecVolume {
    /// Read-only mount.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Path below the app's data directory; empty is the directory itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Deserializes a value that is there: `null` is an error in place of `None`.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
