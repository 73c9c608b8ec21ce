//! Body of `POST /containers/create`: the only form in which edge-docker requests a
//! container from the engine.
//!
//! The type can hold only options that the policy can permit. A bug in the parser can
//! therefore produce a wrong value, but not a privilege: the type has no field for
//! `--privileged`, for PID, IPC, UTS or user namespaces, for binds or for masked paths.
//! The body is serialized from this type and never copied from the caller's text, so that
//! no second parser reads what the first one has accepted. Fields:
//! <https://docs.docker.com/reference/api/engine/version/v1.41/>.

#![expect(missing_docs, reason = "fields are documented by the engine's API")]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::{GPU_RUNTIME, MAX_LIST, MOUNT_NON_RECURSIVE, MOUNT_PROPAGATION};

/// Body of `POST /containers/create`. Fields that only some containers need are omitted
/// when empty, which keeps the body that `edge-docker explain` prints short.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    /// Image ID (`sha256:…`), never a name, which could be moved to another image.
    pub(crate) image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cmd: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) working_dir: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Health>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_timeout: Option<i64>,
    pub host_config: HostConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) networking_config: Option<Networking>,
}

/// Networks that the container joins with additional host names (`--network-alias`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Networking {
    pub(crate) endpoints_config: BTreeMap<String, Endpoint>,
}

/// Additional host names of the container in one user-defined network.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoint {
    pub(crate) aliases: Vec<String>,
}

/// Empty object `{}`: value of each member of a set in Go's JSON, for example in
/// `ExposedPorts`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Empty {}

/// Health check of a container; durations in nanoseconds, where 0 keeps the value of the
/// container image.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) test: Vec<String>,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) start_period: i64,
    /// Interval during the start period; engines before API version 1.44 ignore it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) start_interval: i64,
    pub(crate) retries: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Create {
    /// Returns whether the health check has an interval of its own while the container
    /// starts, which not every engine knows.
    pub fn has_start_interval(&self) -> bool {
        self.healthcheck
            .as_ref()
            .is_some_and(|h| h.start_interval != 0)
    }
}

/// Configuration of the container that depends on the host. Devices, capabilities beyond
/// docker's default, sysctls and a runtime come only from a grant; there is no field for `Privileged`, for
/// PID, IPC, UTS or user namespaces, for binds or for masked paths.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    pub auto_remove: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) cpu_shares: i64,
    pub(crate) cpuset_cpus: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) devices: Vec<Device>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) device_requests: Vec<DeviceRequest>,
    pub(crate) dns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) group_add: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_config: Option<LogConfig>,
    pub(crate) memory: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) memory_swap: i64,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) nano_cpus: i64,
    pub(crate) network_mode: String,
    pub(crate) pids_limit: i64,
    pub(crate) port_bindings: BTreeMap<String, Vec<PortBinding>>,
    pub(crate) readonly_rootfs: bool,
    pub restart_policy: Restart,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) runtime: String,
    pub(crate) security_opt: Vec<&'static str>,
    pub(crate) shm_size: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) tmpfs: BTreeMap<String, String>,
    pub(crate) ulimits: Vec<Ulimit>,
}

impl HostConfig {
    /// Returns the paths of the granted device nodes.
    pub fn device_paths(&self) -> Vec<String> {
        let paths = self.devices.iter().map(|device| &device.path_on_host);
        paths.cloned().collect()
    }

    /// Returns whether the container gets a GPU, whose device nodes the engine adds.
    pub fn has_gpu(&self) -> bool {
        self.runtime == GPU_RUNTIME || !self.device_requests.is_empty()
    }

    /// Adds the group of a granted device node to those of the container's processes.
    /// Root can open the node without it.
    pub fn add_device_group(&mut self, group: u32) {
        let group = group.to_string();
        if group != "0" && !self.group_add.contains(&group) && self.group_add.len() < MAX_LIST {
            self.group_add.push(group);
        }
    }
}

/// Device node of the host that the container may open, with its cgroup permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Device {
    pub(crate) path_on_host: String,
    pub(crate) path_in_container: String,
    pub(crate) cgroup_permissions: String,
}

/// Devices that a driver of the engine adds: GPUs by their count, devices of the
/// Container Device Interface by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeviceRequest {
    pub(crate) driver: String,
    /// Number of GPUs; -1 requests all of them, 0 none (CDI devices are requested by
    /// name).
    pub(crate) count: i64,
    #[serde(rename = "DeviceIDs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) device_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) capabilities: Vec<Vec<String>>,
}

/// Log driver, for example `json-file`, and its options (`--log-opt`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogConfig {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) config: BTreeMap<String, String>,
}

/// Address and port of the host on which a container port is published; an empty address
/// means all addresses, an empty port one that the engine chooses.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortBinding {
    pub(crate) host_ip: String,
    pub(crate) host_port: String,
}

/// Restart policy (`--restart`); only `on-failure` uses the retry count.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Restart {
    pub name: String,
    pub(crate) maximum_retry_count: i64,
}

/// Resource limit of the container's processes (`--ulimit`); -1 is unlimited.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// Bind mount as an entry of `Mounts`. As an entry of `Binds`, the engine would create a
/// missing source as root.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Mount {
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) bind_options: BindOptions,
}

/// Options of a bind mount, equal for all mounts: private propagation, and not recursive,
/// so that mounts below the source stay out of the container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BindOptions {
    pub(crate) propagation: &'static str,
    pub(crate) non_recursive: bool,
}

impl Mount {
    /// Returns a bind mount of `source` at `target` with the fixed [`BindOptions`].
    pub(crate) fn bind(source: String, target: String, read_only: bool) -> Self {
        let bind_options = BindOptions {
            propagation: MOUNT_PROPAGATION,
            non_recursive: MOUNT_NON_RECURSIVE,
        };
        Self {
            kind: "bind",
            source,
            target,
            read_only,
            bind_options,
        }
    }
}
