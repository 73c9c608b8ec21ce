//! What a grant means on this board: `/etc/edge-ai/devices.json`, in the image.
//!
//! The signature names grants, the table maps names to devices, capabilities
//! and the like, the caller asks: what a container gets is in all three.
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
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// The board's table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    grants: BTreeMap<String, Grant>,
    /// What sandbox images have; empty in production.
    #[serde(default)]
    sandbox: Vec<String>,
}

/// What one name means.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// Allowed arguments; `{arg}` in the other fields stands for it.
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

/// A path of the device, socket or file, that a grant opens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMount {
    /// On the device.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Not writable? So by default.
    #[serde(default = "yes")]
    pub read_only: bool,
}

fn yes() -> bool {
    true
}

/// Something beyond the ordinary that the words ask for: only a grant of the
/// signer gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedGrant {
    /// `--grant NAME[:ARGUMENT]`: all that the board gives for it.
    Grant(String),
    /// `--gpus all`, or how many; -1 is all.
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

/// All that one subject may have beyond the ordinary: signed and mapped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Names, as signed, that this board maps.
    pub names: Vec<String>,
    /// Names, as signed, that it does not.
    pub unmapped: Vec<String>,
    /// By name: what `--grant NAME` gives.
    parts: BTreeMap<String, Part>,
}

/// What one granted name gives, its argument put in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Part {
    /// Paths below `/dev`.
    pub devices: Vec<String>,
    /// Names of the Container Device Interface.
    pub cdi: Vec<String>,
    /// The engine's runtime.
    pub runtime: Option<String>,
    /// Without `CAP_`.
    pub capabilities: Vec<String>,
    /// The host's network?
    pub host_network: bool,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Paths of the device.
    pub mounts: Vec<HostMount>,
}

impl Table {
    /// Parses the table and checks every value that a grant may add.
    ///
    /// # Errors
    /// Malformed: nothing may run then.
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
            check(grant.part("0")).with_context(|| format!("grant {name:?}"))?;
        }
        Ok(())
    }

    /// What `subject` may have: its signed grants, or the sandbox's list.
    pub fn granted(&self, subject: &Identity) -> Granted {
        let names = match subject {
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

    fn part(&self, name: &str) -> Option<Part> {
        let (name, argument) = match name.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (name, None),
        };
        let grant = self.grants.get(name)?;
        match argument {
            Some(argument) if grant.arg.iter().any(|a| a == argument) => Some(grant.part(argument)),
            None if grant.arg.is_empty() => Some(grant.part("")),
            _ => None,
        }
    }
}

impl Grant {
    fn part(&self, argument: &str) -> Part {
        let put = |text: &String| text.replace("{arg}", argument);
        let mount = |m: &HostMount| HostMount {
            source: put(&m.source),
            target: put(&m.target),
            read_only: m.read_only,
        };
        Part {
            devices: self.devices.iter().map(put).collect(),
            cdi: self.cdi.iter().map(put).collect(),
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

    /// May the container have this device, with at most `rwm`?
    pub fn device(&self, path: &str) -> bool {
        self.parts().any(|p| p.devices.iter().any(|d| d == path))
    }

    /// May it have this CDI device?
    pub fn cdi(&self, name: &str) -> bool {
        self.parts().any(|p| p.cdi.iter().any(|c| c == name))
    }

    /// May it have this runtime?
    pub fn runtime(&self, name: &str) -> bool {
        self.parts().any(|p| p.runtime.as_deref() == Some(name))
    }

    /// May it have this capability (without `CAP_`)?
    pub fn capability(&self, name: &str) -> bool {
        self.parts()
            .any(|p| p.capabilities.iter().any(|c| c == name))
    }

    /// May it have the host's network?
    pub fn host_network(&self) -> bool {
        self.parts().any(|p| p.host_network)
    }

    /// May it set this kernel parameter so?
    pub fn sysctl(&self, name: &str, value: &str) -> bool {
        self.parts()
            .any(|p| p.sysctls.get(name).is_some_and(|v| v == value))
    }

    /// The path of the device that a grant opens, if `source` is one.
    pub fn mount(&self, source: &str) -> Option<&HostMount> {
        self.parts()
            .flat_map(|p| &p.mounts)
            .find(|m| m.source == source)
    }

    /// The mount for `asked`, if a grant opens its source.
    ///
    /// # Errors
    /// Asked for more than the grant gives.
    pub fn host_mount(&self, asked: &RequestedMount) -> Result<Option<Mount>> {
        let Some(found) = self.mount(&asked.source) else {
            return Ok(None);
        };
        if found.read_only && !asked.read_only {
            return Err(refuse(format_args!(
                "mounting {:?} is refused: it is granted read-only; add :ro",
                asked.source
            )));
        }
        let (source, target) = (asked.source.clone(), asked.target.clone());
        Ok(Some(Mount::bind(source, target, asked.read_only)))
    }

    /// Adds to `body` what is wished, as far as it is granted.
    ///
    /// # Errors
    /// The wish that is not granted, and what is.
    pub fn fulfil(&self, wishes: Vec<RequestedGrant>, body: &mut Create) -> Result<()> {
        for wish in wishes {
            match wish {
                RequestedGrant::Grant(name) => self.whole(&name, body)?,
                wish => self.one(wish, body)?,
            }
        }
        Ok(())
    }

    fn one(&self, wish: RequestedGrant, body: &mut Create) -> Result<()> {
        let host = &mut body.host_config;
        match wish {
            RequestedGrant::Gpus(count) if self.runtime("nvidia") => {
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
            wish => return Err(self.denied(&words(&wish))),
        }
        Ok(())
    }

    /// `--grant NAME`: all of it.
    fn whole(&self, name: &str, body: &mut Create) -> Result<()> {
        let part = self
            .parts
            .get(name)
            .ok_or_else(|| self.denied(&format!("--grant {name}")))?
            .clone();
        let host = &mut body.host_config;
        let device = |path: String| Device {
            path_on_host: path.clone(),
            path_in_container: path,
            cgroup_permissions: "rwm".into(),
        };
        host.devices.extend(part.devices.into_iter().map(device));
        match part.runtime {
            Some(runtime) => {
                // What the runtime gives is asked for by variables.
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

    fn denied(&self, what: &str) -> anyhow::Error {
        let mut words = match &self.names[..] {
            [] => "the image is signed for no grants".to_string(),
            names => format!("the image is granted: {}", names.join(", ")),
        };
        if !self.unmapped.is_empty() {
            let names = self.unmapped.join(", ");
            words = format!("{words}; this board does not know: {names}");
        }
        refuse(format_args!(
            "{what} is refused: it comes with a grant that the signer states, and {words}"
        ))
    }
}

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

fn words(wish: &RequestedGrant) -> String {
    match wish {
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
    fn the_table_of_the_image_is_one() {
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
