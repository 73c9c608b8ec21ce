//! Grants of the board, read from `/etc/edge-ai/devices.json`: the devices and other
//! permissions that each name stands for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::granted::{Granted, HostMount, Part};
use super::root;
use crate::cli::values;
use crate::identity::Identity;
use crate::refusal::refuse;

/// Content of `devices.json`. Unknown keys are errors: with a misspelt restriction, the
/// grant would otherwise apply without it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    grants: BTreeMap<String, Grant>,
    /// Names of the grants that sandbox images have; empty in production.
    #[serde(default)]
    sandbox: Vec<String>,
}

/// Permissions of one grant as `devices.json` defines them, with the placeholder `{arg}`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// Permitted arguments, one of which replaces `{arg}` in devices, CDI names and
    /// mounts. They are listed because the argument of a signed grant becomes part of a
    /// path.
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
    /// Statement that the grant amounts to root on the device; it then needs the signer's
    /// `root`, too.
    #[serde(default)]
    root: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Network {
    Host,
}

impl Table {
    /// Parses `devices.json` and checks the paths, CDI names and capabilities that grants
    /// may add to a create body.
    ///
    /// # Errors
    /// The table is malformed, or a grant amounts to root on the device and does not say
    /// so. The caller must then refuse all containers, also those of apps without grants:
    /// the device image is not the one that was tested.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let table: Self = serde_json::from_slice(text)?;
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        for (name, grant) in &self.grants {
            let check = |part| self.check_part(name, grant, &part);
            // Values have their final form only after `{arg}` is replaced.
            let mut parts = grant.arguments().map(|argument| grant.part(argument));
            parts
                .try_for_each(check)
                .with_context(|| format!("grant {name:?}"))?;
        }
        Ok(())
    }

    fn check_part(&self, name: &str, grant: &Grant, part: &Part) -> Result<()> {
        for path in &part.devices {
            values::inside(name, path)?;
        }
        for mount in &part.mounts {
            // The root directory is a source that only a grant that is root may have.
            if mount.source != "/" {
                values::inside(name, &mount.source)?;
            }
            values::inside(name, &mount.target)?;
        }
        part.cdi.iter().try_for_each(|c| values::cdi(c).map(drop))?;
        let mut capabilities = part.capabilities.iter();
        capabilities.try_for_each(|c| values::capability("capability", c).map(drop))?;
        if grant.root {
            return Ok(());
        }
        match root::reason(part).or_else(|| self.exchangeable(part)) {
            None => Ok(()),
            Some(reason) => Err(refuse(format_args!(
                "its {reason}, amounts to root on the device: remove it, or write \"root\": true, \
                 and apps name the grant in `root` of app.yaml"
            ))),
        }
    }

    /// Returns a mount or device of `part` that is in a directory which another mount lets
    /// containers write. A container could put a link to `/` in its place, which the
    /// engine follows at the next start.
    fn exchangeable(&self, part: &Part) -> Option<String> {
        let mounts = part.mounts.iter().map(|mount| &mount.source);
        let paths: Vec<_> = mounts.chain(&part.devices).collect();
        let all = self.grants.values();
        let parts = all.flat_map(|grant| grant.arguments().map(|argument| grant.part(argument)));
        for mount in parts.flat_map(|part| part.mounts).filter(|m| !m.read_only) {
            if let Some(path) = paths
                .iter()
                .find(|path| root::is_below(path, &mount.source))
            {
                let directory = &mount.source;
                return Some(format!(
                    "{path:?}, which containers with a writable {directory:?} can exchange"
                ));
            }
        }
        None
    }

    /// Returns the permissions of `identity` on this board: those of its signed grants
    /// or, for a sandbox image, of the list `sandbox`.
    pub fn granted(&self, identity: &Identity) -> Granted {
        let (names, accepted) = match identity {
            Identity::Signed { grants, root, .. } => (grants, &root[..]),
            // Nobody has signed for root.
            Identity::Sandbox { .. } => (&self.sandbox, &[][..]),
        };
        let mut granted = Granted::default();
        for name in names {
            match self.part(name) {
                Some((_, true)) if !accepted.contains(name) => granted.withheld.push(name.clone()),
                Some((part, is_root)) => {
                    granted.root.extend(is_root.then(|| name.clone()));
                    granted.names.push(name.clone());
                    granted.parts.insert(name.clone(), part);
                }
                None => granted.unmapped.push(name.clone()),
            }
        }
        granted
    }

    /// Returns the permissions of a grant with its argument, for example `i2c:7`, and
    /// whether they amount to root; `None` if this board does not map it.
    fn part(&self, name: &str) -> Option<(Part, bool)> {
        let (name, argument) = match name.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (name, None),
        };
        let grant = self.grants.get(name)?;
        let part = match argument {
            // Fail closed: an argument that the grant does not list, or a missing one
            // that it needs, grants nothing instead of everything.
            Some(argument) if grant.arg.iter().any(|a| a == argument) => Some(grant.part(argument)),
            None if grant.arg.is_empty() => Some(grant.part("")),
            _ => None,
        };
        part.map(|part| (part, grant.root))
    }
}

impl Grant {
    /// Returns the arguments that the grant takes; the empty one if it takes none.
    fn arguments(&self) -> impl Iterator<Item = &str> {
        let none = self.arg.is_empty().then_some("");
        self.arg.iter().map(String::as_str).chain(none)
    }

    /// Returns the permissions of the grant, with `{arg}` replaced by `argument`.
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
            // In the form that `--cap-add` and the boot audit compare; `check` has
            // refused other names.
            capabilities: (self.capabilities.iter())
                .map(|c| values::capability("capability", c).unwrap_or_else(|_| c.clone()))
                .collect(),
            host_network: self.network == Some(Network::Host),
            sysctls: self.sysctls.clone(),
            mounts: self.mounts.iter().map(mount).collect(),
        }
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
