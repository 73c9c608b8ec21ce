//! Create body: the only form in which edge-docker requests a container.
//!
//! The type can hold only what the policy permits. A bug of the parser can therefore
//! produce a wrong value, but not a privilege: there is no field for `--privileged`,
//! namespaces, binds or masked paths. The body is written from this type and never from
//! the caller's text, so that no second parser reads what the first one has accepted.
//! Fields: <https://docs.docker.com/reference/api/engine/version/v1.41/>.

#![expect(missing_docs, reason = "fields are documented by the engine's API")]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::{MOUNT_NON_RECURSIVE, MOUNT_PROPAGATION};

/// Body of `POST /containers/create`. Fields that only some containers need are left out
/// when they are empty, so that `explain` shows a body that can be read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    /// Image ID, never a name.
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

/// Aliases of the container in user-defined networks.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Networking {
    pub(crate) endpoints_config: BTreeMap<String, Endpoint>,
}

/// Aliases in one network.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoint {
    pub(crate) aliases: Vec<String>,
}

/// Value of a set's member in Go's JSON, `{}`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Empty {}

/// Health check; times in nanoseconds.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) test: Vec<String>,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) start_period: i64,
    pub(crate) retries: i64,
}

/// Host configuration. Devices, capabilities, sysctls and a runtime come from a grant only;
/// privileges, namespaces, binds and masked paths have no field.
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

/// Device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Device {
    pub(crate) path_on_host: String,
    pub(crate) path_in_container: String,
    pub(crate) cgroup_permissions: String,
}

/// Devices that a driver of the engine adds: GPUs by number, devices of the Container
/// Device Interface by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeviceRequest {
    pub(crate) driver: String,
    /// Number of GPUs; -1 is all.
    pub(crate) count: i64,
    #[serde(rename = "DeviceIDs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) device_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) capabilities: Vec<Vec<String>>,
}

/// Log driver and its options.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogConfig {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) config: BTreeMap<String, String>,
}

/// Published port on the host.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortBinding {
    pub(crate) host_ip: String,
    pub(crate) host_port: String,
}

/// Restart policy.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Restart {
    pub name: String,
    pub(crate) maximum_retry_count: i64,
}

/// Resource limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// Bind mount. Not an entry of `Binds`, for which the engine creates a missing source as
/// root.
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

/// Options of a bind mount, the same for all: no propagation, nothing below the source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BindOptions {
    pub(crate) propagation: &'static str,
    pub(crate) non_recursive: bool,
}

impl Mount {
    /// Returns a bind mount.
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
