//! The devices that a command line names.

use anyhow::Result;
use edge_common::exit::Failure;

use crate::project::config::Project;

/// Which devices.
#[derive(clap::Args)]
pub(crate) struct Targets {
    /// Names from edge-app.yaml, or hosts of your ssh configuration
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    /// All devices of edge-app.yaml
    #[arg(long)]
    all: bool,
    /// A group of edge-app.yaml; may be repeated
    #[arg(long, value_name = "G")]
    group: Vec<String>,
}

impl Targets {
    /// Their names, each once.
    ///
    /// # Errors
    /// None is named; a group that is not there.
    pub(crate) fn names(&self, project: &Project) -> Result<Vec<String>> {
        let mut names = self.devices.clone();
        let config = &project.config;
        if self.all {
            names.extend(config.devices.keys().cloned());
        }
        for group in &self.group {
            let Some(members) = config.groups.get(group) else {
                let known: Vec<_> = config.groups.keys().map(String::as_str).collect();
                let why = format!("edge-app.yaml has no group {group:?}: it has {known:?}");
                return Err(Failure::error(2, why));
            };
            names.extend(members.iter().flatten().cloned());
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|n| seen.insert(n.clone()));
        if names.is_empty() {
            let why = "no device is named: DEVICE…, --group G, or --all of edge-app.yaml";
            return Err(Failure::error(2, why));
        }
        Ok(names)
    }

    /// As [`Targets::names`]; all of the project if none is named.
    ///
    /// # Errors
    /// As [`Targets::names`].
    pub(crate) fn or_all(&self, project: &Project) -> Result<Vec<String>> {
        let named = !self.devices.is_empty() || !self.group.is_empty();
        let all = Self {
            devices: Vec::new(),
            all: true,
            group: Vec::new(),
        };
        if named { self } else { &all }.names(project)
    }
}
