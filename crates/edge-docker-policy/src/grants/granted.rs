//! Granted permissions of an image, and their comparison with the requested ones.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::create_body::{Create, Device, DeviceRequest, Mount};
use crate::limits::{DEVICE_RIGHTS, GPU_RUNTIME};
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Entry of `mounts` in `devices.json`: a path outside of the app's directory, for
/// example a socket, that a grant permits to mount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostMount {
    /// Absolute path on the device.
    pub(crate) source: String,
    /// Absolute path in the container, used by `--grant NAME`; `-v` names its own.
    pub(crate) target: String,
    /// Restriction to read-only mounts, which is the default.
    #[serde(default = "read_only_by_default")]
    pub(crate) read_only: bool,
}

fn read_only_by_default() -> bool {
    true
}

/// Permission that an option of `run` requests and that the policy permits only by a
/// grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestedGrant {
    /// `--grant NAME[:ARGUMENT]`: all permissions of one grant.
    Grant(String),
    /// `--gpus N`: number of GPUs, -1 for `--gpus all`.
    Gpus(i64),
    /// `--runtime NAME`: OCI runtime of the engine.
    Runtime(String),
    /// `--device PATH[:PATH][:rwm]`: device node.
    Device(Device),
    /// `--device VENDOR/CLASS=NAME`: device of the Container Device Interface.
    Cdi(String),
    /// `--cap-add NAME`: capability, in capital letters and without `CAP_`.
    Capability(String),
    /// `--sysctl NAME=VALUE`: kernel parameter.
    Sysctl(String, String),
    /// `--network host`: network namespace of the host.
    HostNetwork,
}

/// Permissions of one image: its grants, mapped by `devices.json` to devices and other
/// permissions of this board.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Names of grants that `devices.json` maps, for example `i2c:7`.
    pub names: Vec<String>,
    /// Names of grants that `devices.json` does not map. This is not an error: an app may
    /// run on boards without some of its devices.
    pub unmapped: Vec<String>,
    /// Names of grants that amount to root on this board and that the signed run
    /// specification does not name in `root`: they permit nothing.
    pub withheld: Vec<String>,
    /// Those of `names` that amount to root on this board.
    pub root: Vec<String>,
    /// Permissions by the name of the grant, for `--grant NAME`.
    pub(super) parts: BTreeMap<String, Part>,
}

/// Permissions of one grant on this board, with `{arg}` replaced by the argument.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Paths of device nodes, for example `/dev/i2c-7`.
    pub(super) devices: Vec<String>,
    /// Devices of the Container Device Interface, for example `nvidia.com/gpu=all`.
    pub(super) cdi: Vec<String>,
    /// OCI runtime of the engine, for example `nvidia`.
    pub(super) runtime: Option<String>,
    /// Linux capabilities without `CAP_`, for example `NET_ADMIN`.
    pub(super) capabilities: Vec<String>,
    /// Permission to use the network namespace of the host (`--network host`).
    pub(super) host_network: bool,
    /// Kernel parameters (sysctls), each with its only permitted value.
    pub(super) sysctls: BTreeMap<String, String>,
    /// Paths of the device that may be mounted, for example the socket of D-Bus.
    pub(super) mounts: Vec<HostMount>,
}

impl Granted {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// Returns whether a grant permits the device node `path`, with any of the rights
    /// `rwm`.
    pub(crate) fn device(&self, path: &str) -> bool {
        self.parts().any(|p| p.devices.iter().any(|d| d == path))
    }

    /// Returns whether a grant permits the CDI device `name` (`VENDOR/CLASS=NAME`).
    pub(crate) fn cdi(&self, name: &str) -> bool {
        self.parts().any(|p| p.cdi.iter().any(|c| c == name))
    }

    /// Returns whether a grant permits the OCI runtime `name`.
    pub(crate) fn runtime(&self, name: &str) -> bool {
        self.parts().any(|p| p.runtime.as_deref() == Some(name))
    }

    /// Returns whether a grant permits the capability `name`, written without `CAP_`.
    pub(crate) fn capability(&self, name: &str) -> bool {
        self.parts()
            .any(|p| p.capabilities.iter().any(|c| c == name))
    }

    /// Returns whether a grant permits the network namespace of the host.
    pub(crate) fn host_network(&self) -> bool {
        self.parts().any(|p| p.host_network)
    }

    /// Returns whether a grant permits the kernel parameter `name` with exactly this
    /// value.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> bool {
        self.parts()
            .any(|p| p.sysctls.get(name).is_some_and(|v| v == value))
    }

    /// Returns the host mount whose source is exactly `source`, if a grant permits it;
    /// `None` otherwise.
    pub(crate) fn mount(&self, source: &str) -> Option<&HostMount> {
        self.parts()
            .flat_map(|p| &p.mounts)
            .find(|m| m.source == source)
    }

    /// Returns the bind mount for a requested source that a grant permits, or `None` for
    /// another source. Refuses write access to a source that is granted read-only.
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

    /// Adds the requested permissions to `body`; fails if one of them is not granted.
    pub(crate) fn fulfil(&self, requested: Vec<RequestedGrant>, body: &mut Create) -> Result<()> {
        for grant in requested {
            match grant {
                RequestedGrant::Grant(name) => self.add_all(&name, body)?,
                part => self.add_part(part, body)?,
            }
        }
        Ok(())
    }

    /// Adds a single permission to `body`, for an option such as `--gpus` or `--device`.
    fn add_part(&self, requested: RequestedGrant, body: &mut Create) -> Result<()> {
        let host = &mut body.host_config;
        match requested {
            // GPUs need a grant because the vendor's hooks run as root on the host: flaws
            // in them let a container image become root (CVE-2024-0132, CVE-2025-23266).
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

    /// Adds every permission of the grant `name` to `body`, for `--grant NAME`.
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
                // The runtime adds the devices that this environment variable of the
                // container names; the create request does not contain them.
                let variable = format!("{}_VISIBLE_DEVICES=all", runtime.to_ascii_uppercase());
                body.env.push(variable);
                host.runtime = runtime;
            }
            None => host.device_requests.extend(part.cdi.into_iter().map(cdi)),
        }
        host.cap_add.extend(part.capabilities);
        host.sysctls.extend(part.sysctls);
        if part.host_network {
            // Whoever asks for no network must not get that of the device.
            if host.network_mode == "none" {
                return Err(refuse(format_args!(
                    "--network none is refused with --grant {name}, which is the network of the \
                     device: omit one of them"
                )));
            }
            host.network_mode = "host".into();
        }
        let mount = |m: HostMount| Mount::bind(m.source, m.target, m.read_only);
        host.mounts.extend(part.mounts.into_iter().map(mount));
        Ok(())
    }

    /// Returns the refusal of `option`, with the grants of the image and those that this
    /// board does not map.
    fn denied(&self, option: &str) -> anyhow::Error {
        let mut granted = match &self.names[..] {
            [] => "the image has none".to_string(),
            names => format!("the image has: {}", names.join(", ")),
        };
        if !self.unmapped.is_empty() {
            let names = self.unmapped.join(", ");
            granted = format!("{granted}; this board does not know: {names}");
        }
        if !self.withheld.is_empty() {
            let names = self.withheld.join(", ");
            granted = format!(
                "{granted}; root on this board, which the signature does not accept: {names} \
                 (write `root: [{names}]` in app.yaml and push again)"
            );
        }
        refuse(format_args!(
            "{option} is refused: it needs a grant in the signature; {granted}"
        ))
    }
}

/// Returns the same device request that the client of docker sends for `--gpus`.
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

/// Returns the option that requests the permission, as error messages show it.
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
