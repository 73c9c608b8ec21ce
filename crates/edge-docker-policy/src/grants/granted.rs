//! Permissions that were granted, and the comparison with those that are requested.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::create_body::{Create, Device, DeviceRequest, Mount};
use crate::limits::{DEVICE_RIGHTS, GPU_RUNTIME};
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Path of the device, a socket or a file, that a grant opens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostMount {
    /// Path on the device.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) target: String,
    /// The container cannot write to it, which is the default.
    #[serde(default = "read_only_by_default")]
    pub(crate) read_only: bool,
}

fn read_only_by_default() -> bool {
    true
}

/// Permission that a caller requests and only a grant of the signer gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestedGrant {
    /// `--grant NAME[:ARGUMENT]`: all permissions of the name.
    Grant(String),
    /// `--gpus N`, or -1 for `all`.
    Gpus(i64),
    /// `--runtime NAME`
    Runtime(String),
    /// `--device PATH[:PATH[:rwm]]`
    Device(Device),
    /// `--device VENDOR/CLASS=NAME`, Container Device Interface.
    Cdi(String),
    /// `--cap-add NAME`, in capitals, without `CAP_`.
    Capability(String),
    /// `--sysctl NAME=VALUE`
    Sysctl(String, String),
    /// `--network host`
    HostNetwork,
}

/// Permissions of one identity: signed by name, and mapped by the board.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Signed names that this board maps.
    pub names: Vec<String>,
    /// Signed names that it does not map. No error: an app may run on boards without some
    /// of its devices.
    pub unmapped: Vec<String>,
    /// Permissions by name, for `--grant NAME`.
    pub(super) parts: BTreeMap<String, Part>,
}

/// Permissions of one granted name, its argument filled in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Paths below `/dev`.
    pub(super) devices: Vec<String>,
    /// Names of the Container Device Interface.
    pub(super) cdi: Vec<String>,
    /// Runtime of the engine.
    pub(super) runtime: Option<String>,
    /// Capabilities without `CAP_`.
    pub(super) capabilities: Vec<String>,
    /// The container shares the host's network.
    pub(super) host_network: bool,
    /// Kernel parameters.
    pub(super) sysctls: BTreeMap<String, String>,
    /// Paths of the device.
    pub(super) mounts: Vec<HostMount>,
}

impl Granted {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// Tells whether the device is granted, with at most `rwm`.
    pub(crate) fn device(&self, path: &str) -> bool {
        self.parts().any(|p| p.devices.iter().any(|d| d == path))
    }

    /// Tells whether the CDI device is granted.
    pub(crate) fn cdi(&self, name: &str) -> bool {
        self.parts().any(|p| p.cdi.iter().any(|c| c == name))
    }

    /// Tells whether the runtime is granted.
    pub(crate) fn runtime(&self, name: &str) -> bool {
        self.parts().any(|p| p.runtime.as_deref() == Some(name))
    }

    /// Tells whether the capability (without `CAP_`) is granted.
    pub(crate) fn capability(&self, name: &str) -> bool {
        self.parts()
            .any(|p| p.capabilities.iter().any(|c| c == name))
    }

    /// Tells whether the host's network is granted.
    pub(crate) fn host_network(&self) -> bool {
        self.parts().any(|p| p.host_network)
    }

    /// Tells whether the kernel parameter is granted with this value.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> bool {
        self.parts()
            .any(|p| p.sysctls.get(name).is_some_and(|v| v == value))
    }

    /// Returns the path of the device that a grant opens, if `source` is one.
    pub(crate) fn mount(&self, source: &str) -> Option<&HostMount> {
        self.parts()
            .flat_map(|p| &p.mounts)
            .find(|m| m.source == source)
    }

    /// Returns the mount for a request, if a grant opens its source.
    pub(crate) fn host_mount(&self, requested: &RequestedMount) -> Result<Option<Mount>> {
        let Some(found) = self.mount(&requested.source) else {
            return Ok(None);
        };
        if found.read_only && !requested.read_only {
            return Err(refuse(format_args!(
                "mounting {:?} is refused: it is granted read-only; add :ro",
                requested.source
            )));
        }
        let (source, target) = (requested.source.clone(), requested.target.clone());
        Ok(Some(Mount::bind(source, target, requested.read_only)))
    }

    /// Adds the requested permissions to `body`; refuses one that is not granted.
    pub(crate) fn fulfil(&self, requested: Vec<RequestedGrant>, body: &mut Create) -> Result<()> {
        for grant in requested {
            match grant {
                RequestedGrant::Grant(name) => self.add_all(&name, body)?,
                part => self.add_part(part, body)?,
            }
        }
        Ok(())
    }

    /// Adds one permission, for `--gpus`, `--device` and the like.
    fn add_part(&self, requested: RequestedGrant, body: &mut Create) -> Result<()> {
        let host = &mut body.host_config;
        match requested {
            // The vendor's hooks run as root on the host, and flaws in them let an image
            // become root (CVE-2024-0132, CVE-2025-23266): never without a signed grant.
            RequestedGrant::Gpus(count) if self.runtime(GPU_RUNTIME) => {
                host.device_requests.push(gpus(count))
            }
            RequestedGrant::Runtime(name) if self.runtime(&name) => host.runtime = name,
            RequestedGrant::Device(device) if self.device(&device.path_on_host) => {
                host.devices.push(device)
            }
            RequestedGrant::Cdi(name) if self.cdi(&name) => host.device_requests.push(cdi(name)),
            RequestedGrant::Capability(name) if self.capability(&name) => host.cap_add.push(name),
            RequestedGrant::Sysctl(key, value) if self.sysctl(&key, &value) => {
                host.sysctls.insert(key, value);
            }
            RequestedGrant::HostNetwork if self.host_network() => host.network_mode = "host".into(),
            other => return Err(self.denied(&option(&other))),
        }
        Ok(())
    }

    /// Adds all permissions of a name, for `--grant NAME`.
    fn add_all(&self, name: &str, body: &mut Create) -> Result<()> {
        let part = self
            .parts
            .get(name)
            .ok_or_else(|| self.denied(&format!("--grant {name}")))?
            .clone();
        let host = &mut body.host_config;
        let device = |path: String| Device {
            path_on_host: path.clone(),
            path_in_container: path,
            cgroup_permissions: DEVICE_RIGHTS.into(),
        };
        host.devices.extend(part.devices.into_iter().map(device));
        match part.runtime {
            Some(runtime) => {
                // The runtime adds devices by this variable, not by the create request.
                let variable = format!("{}_VISIBLE_DEVICES=all", runtime.to_ascii_uppercase());
                body.env.push(variable);
                host.runtime = runtime;
            }
            None => host.device_requests.extend(part.cdi.into_iter().map(cdi)),
        }
        host.cap_add.extend(part.capabilities);
        host.sysctls.extend(part.sysctls);
        if part.host_network {
            host.network_mode = "host".into();
        }
        let mount = |m: HostMount| Mount::bind(m.source, m.target, m.read_only);
        host.mounts.extend(part.mounts.into_iter().map(mount));
        Ok(())
    }

    /// Returns the refusal of an option, with the grants that the image has.
    fn denied(&self, option: &str) -> anyhow::Error {
        let mut granted = match &self.names[..] {
            [] => "the image has none".to_string(),
            names => format!("the image has: {}", names.join(", ")),
        };
        if !self.unmapped.is_empty() {
            let names = self.unmapped.join(", ");
            granted = format!("{granted}; this board does not know: {names}");
        }
        refuse(format_args!(
            "{option} is refused: it needs a grant in the signature; {granted}"
        ))
    }
}

/// Returns the request that docker's client sends for `--gpus`.
fn gpus(count: i64) -> DeviceRequest {
    DeviceRequest {
        driver: String::new(),
        count,
        device_ids: Vec::new(),
        capabilities: vec![vec!["gpu".into()]],
    }
}

fn cdi(name: String) -> DeviceRequest {
    DeviceRequest {
        driver: "cdi".into(),
        count: 0,
        device_ids: vec![name],
        capabilities: Vec::new(),
    }
}

/// Returns the option as it is typed.
fn option(requested: &RequestedGrant) -> String {
    match requested {
        RequestedGrant::Grant(name) => format!("--grant {name}"),
        RequestedGrant::Gpus(_) => "--gpus".into(),
        RequestedGrant::Runtime(name) => format!("--runtime {name}"),
        RequestedGrant::Device(device) => format!("--device {}", device.path_on_host),
        RequestedGrant::Cdi(name) => format!("--device {name}"),
        RequestedGrant::Capability(name) => format!("--cap-add {name}"),
        RequestedGrant::Sysctl(name, value) => format!("--sysctl {name}={value}"),
        RequestedGrant::HostNetwork => "--network host".into(),
    }
}
