//! Devices that the command line selects: by name, by group, or all of the project.

use std::collections::BTreeSet;

use anyhow::Result;
use edge_common::exit::Failure;

use crate::project::config::{Group, Project};

/// Selection of devices.
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
    /// Returns the names of the selected devices without duplicates; selecting none is an
    /// error.
    pub(crate) fn names(&self, project: &Project) -> Result<Vec<String>> {
        let mut names = self.devices.clone();
        let config = &project.config;
        if self.all {
            names.extend(config.devices.keys().cloned());
        }
        for group in &self.group {
            let members = project.group(group, 2)?;
            names.extend(members.map(Group::devices).into_iter().flatten().cloned());
        }
        // Groups may overlap, and two simultaneous deployments on one device would
        // collide.
        let mut seen = BTreeSet::new();
        names.retain(|n| seen.insert(n.clone()));
        if names.is_empty() {
            let why = "no device is named: give DEVICE…, --group G, or --all of edge-app.yaml";
            return Err(Failure::error(2, why));
        }
        Ok(names)
    }

    /// Returns the names of the selected devices, or of all devices of the project if
    /// none is selected. Only for commands that change nothing: a deployment to all
    /// devices requires an explicit `--all`.
    pub(crate) fn or_all(&self, project: &Project) -> Result<Vec<String>> {
        let selected = !self.devices.is_empty() || !self.group.is_empty();
        let all = Self {
            devices: Vec::new(),
            all: true,
            group: Vec::new(),
        };
        if selected { self } else { &all }.names(project)
    }
}
