//! The create body: a type that can hold only what the policy permits.
//! Fields: <https://docs.docker.com/reference/api/engine/version/v1.41/>.

#![expect(missing_docs, reason = "fields are documented by the engine's API")]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::{MOUNT_NON_RECURSIVE, MOUNT_PROPAGATION};

/// `POST /containers/create`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    /// Digest of the image's configuration, never a name.
    pub image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    pub host_config: HostConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking_config: Option<Networking>,
}

/// Names on networks of the user's own.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Networking {
    pub endpoints_config: BTreeMap<String, Endpoint>,
}

/// On one network.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    pub aliases: Vec<String>,
}

/// `{}`
#[derive(Debug, Default, Serialize)]
pub struct Empty {}

/// How the engine asks for the container's health; times in nanoseconds.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub retries: i64,
}

/// The half that concerns the host. No field for privileges, namespaces, binds
/// or masked paths; devices, capabilities and the like only from a grant.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    pub auto_remove: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub cpu_shares: i64,
    pub cpuset_cpus: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_requests: Vec<DeviceRequest>,
    pub dns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_config: Option<LogConfig>,
    pub memory: i64,
    pub memory_reservation: i64,
    pub memory_swap: i64,
    pub mounts: Vec<Mount>,
    pub nano_cpus: i64,
    pub network_mode: String,
    pub pids_limit: i64,
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    pub readonly_rootfs: bool,
    pub restart_policy: Restart,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    pub security_opt: Vec<&'static str>,
    pub shm_size: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    pub tmpfs: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    pub path_on_host: String,
    pub path_in_container: String,
    pub cgroup_permissions: String,
}

/// Devices that a driver of the engine adds: GPUs, and CDI's by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceRequest {
    pub driver: String,
    /// How many; -1 is all.
    pub count: i64,
    #[serde(rename = "DeviceIDs", skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Vec<String>>,
}

/// Where logs go.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    #[serde(rename = "Type")]
    pub kind: String,
    pub config: BTreeMap<String, String>,
}

/// One address on the host.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortBinding {
    pub host_ip: String,
    pub host_port: String,
}

/// When the engine starts it again.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Restart {
    pub name: String,
    pub maximum_retry_count: i64,
}

/// A resource limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// A mount: the source must exist, nothing below it comes along, and nothing
/// propagates.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    #[serde(rename = "Type")]
    pub kind: &'static str,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub bind_options: BindOptions,
}

/// Always the same.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindOptions {
    pub propagation: &'static str,
    pub non_recursive: bool,
}

impl Mount {
    /// A bind mount.
    pub fn bind(source: String, target: String, read_only: bool) -> Self {
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
