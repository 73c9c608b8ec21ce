//! Grants: named permissions beyond the ordinary, and their meaning on this board, which
//! `/etc/edge-ai/devices.json` in the image of the device states.
//!
//! The signature names grants, the table maps the names to devices and capabilities,
//! and the caller requests them: a container gets what is in all three. A signer thus
//! need not know the board, and an engineer cannot add to what was signed.
//!
//! ```json
//! { "grants": {
//!     "gpu":  { "runtime": "nvidia", "cdi": ["nvidia.com/gpu=all"] },
//!     "i2c":  { "devices": ["/dev/i2c-{arg}"], "arg": ["1", "7"] },
//!     "vpn":  { "capabilities": ["NET_ADMIN"], "devices": ["/dev/net/tun"], "network": "host" },
//!     "dbus": { "mounts": [{ "source": "/run/dbus/system_bus_socket", "target": "/run/dbus/system_bus_socket" }] }
//!   },
//!   "sandbox": ["gpu"] }
//! ```

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cli::values;
use crate::create_body::{Create, Device, DeviceRequest, Mount};
use crate::identity::Identity;
use crate::limits::{DEVICE_RIGHTS, GPU_RUNTIME};
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Table of the board. Unknown keys are errors: a misspelt restriction must not turn into
/// a grant without it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    grants: BTreeMap<String, Grant>,
    /// Grants of sandbox images; empty in production.
    #[serde(default)]
    sandbox: Vec<String>,
}

/// Meaning of a name.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// Permitted arguments, one of which replaces `{arg}` in the other fields. A list,
    /// because the argument of the signature becomes part of a path.
    #[serde(default)]
    arg: Vec<String>,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    cdi: Vec<String>,
    runtime: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    network: Option<Network>,
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    #[serde(default)]
    mounts: Vec<HostMount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Network {
    Host,
}

/// Path of the device, a socket or a file, that a grant opens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostMount {
    /// Path on the device.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) target: String,
    /// The container cannot write to it, which is the default.
    #[serde(default = "yes")]
    pub(crate) read_only: bool,
}

fn yes() -> bool {
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
    parts: BTreeMap<String, Part>,
}

/// Permissions of one granted name, its argument filled in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Part {
    /// Paths below `/dev`.
    devices: Vec<String>,
    /// Names of the Container Device Interface.
    cdi: Vec<String>,
    /// Runtime of the engine.
    runtime: Option<String>,
    /// Capabilities without `CAP_`.
    capabilities: Vec<String>,
    /// The container shares the host's network.
    host_network: bool,
    /// Kernel parameters.
    sysctls: BTreeMap<String, String>,
    /// Paths of the device.
    mounts: Vec<HostMount>,
}

impl Table {
    /// Parses the table and checks every value that a grant may add to a create body.
    ///
    /// # Errors
    /// The table is malformed. Nothing may run then, not even an app without grants: the
    /// image of the device is not the one that was tested.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let table: Self = serde_json::from_slice(text)?;
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        for (name, grant) in &self.grants {
            let check = |part: Part| -> Result<()> {
                for path in &part.devices {
                    values::inside(name, path)?;
                }
                for mount in &part.mounts {
                    values::inside(name, &mount.source)?;
                    values::inside(name, &mount.target)?;
                }
                part.cdi.iter().try_for_each(|c| values::cdi(c).map(drop))?;
                let mut capabilities = part.capabilities.iter();
                capabilities.try_for_each(|c| values::capability(c).map(drop))
            };
            // A sample argument: values are checked as they will be with `{arg}` replaced.
            check(grant.part("0")).with_context(|| format!("grant {name:?}"))?;
        }
        Ok(())
    }

    /// Returns the permissions of `identity`: its signed grants, or those of sandbox images.
    pub fn granted(&self, identity: &Identity) -> Granted {
        let names = match identity {
            Identity::Signed { grants, .. } => grants,
            Identity::Sandbox { .. } => &self.sandbox,
        };
        let mut granted = Granted::default();
        for name in names {
            match self.part(name) {
                Some(part) => {
                    granted.names.push(name.clone());
                    granted.parts.insert(name.clone(), part);
                }
                None => granted.unmapped.push(name.clone()),
            }
        }
        granted
    }

    /// Returns the permissions of a name with its argument, such as `i2c:7`.
    fn part(&self, name: &str) -> Option<Part> {
        let (name, argument) = match name.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (name, None),
        };
        let grant = self.grants.get(name)?;
        match argument {
            // An argument where none is known, or none where one is needed, maps to
            // nothing rather than to everything.
            Some(argument) if grant.arg.iter().any(|a| a == argument) => Some(grant.part(argument)),
            None if grant.arg.is_empty() => Some(grant.part("")),
            _ => None,
        }
    }
}

impl Grant {
    /// Returns the permissions with an argument filled in.
    fn part(&self, argument: &str) -> Part {
        let fill = |text: &String| text.replace("{arg}", argument);
        let mount = |m: &HostMount| HostMount {
            source: fill(&m.source),
            target: fill(&m.target),
            read_only: m.read_only,
        };
        Part {
            devices: self.devices.iter().map(fill).collect(),
            cdi: self.cdi.iter().map(fill).collect(),
            runtime: self.runtime.clone(),
            capabilities: self.capabilities.clone(),
            host_network: self.network == Some(Network::Host),
            sysctls: self.sysctls.clone(),
            mounts: self.mounts.iter().map(mount).collect(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_parses() {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/devices.json"
        ));
        let table: Table = serde_json::from_str(text).unwrap();
        table.check().unwrap();
        assert!(table.sandbox.is_empty());
        assert!(table.part("i2c:7").is_some() && table.part("i2c").is_none());
    }
}
