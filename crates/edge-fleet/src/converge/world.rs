//! State of the device outside the files of edge-fleet: apps, and release sets whose proofs
//! edge-docker keeps.

use std::collections::BTreeMap;

use super::disk::Deployed;
use super::window::Window;

/// Condition of an app's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The container runs, and its health check, if any, passes.
    Healthy,
    /// The container runs, and its health check has no verdict yet.
    Starting,
    /// The container does not run, or its health check fails.
    Down,
}

/// App that has a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Version of the app.
    pub deployed: Deployed,
    /// Condition of its container.
    pub condition: Condition,
}

/// App of a release set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Name of the app.
    pub app: String,
    /// Version that the set names.
    pub deployed: Deployed,
}

/// Verified content of a release set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the set.
    pub name: String,
    /// Number of the set.
    pub number: u64,
    /// Apps in the order in which they are replaced.
    pub apps: Vec<Planned>,
    /// Apps that are stopped and removed.
    pub remove: Vec<String>,
    /// Maintenance window in which the set may begin; `None` for any time.
    pub window: Option<Window>,
    /// Time for which all apps must stay healthy, in seconds.
    pub settle: u64,
}

impl Plan {
    /// Returns whether the set only revokes images: taking it is all there is to do.
    pub fn is_revocation_list(&self) -> bool {
        self.apps.is_empty() && self.remove.is_empty()
    }

    /// Returns the apps that the set changes, in order: what is removed makes room for the
    /// rest.
    pub fn affected(&self) -> Vec<String> {
        let named = self.apps.iter().map(|planned| &planned.app);
        self.remove.iter().chain(named).cloned().collect()
    }

    /// Returns whether the set names an app.
    pub fn names(&self, app: &str) -> bool {
        self.apps.iter().any(|planned| planned.app == app)
    }
}

/// State of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Apps that have a container, by name.
    pub apps: BTreeMap<String, App>,
    /// Sets that are proved by kept bytes, by digest.
    pub sets: BTreeMap<String, Plan>,
}

impl World {
    /// Returns whether an app runs the version that a set names.
    pub fn agrees(&self, planned: &Planned) -> bool {
        self.runs(&planned.app, &planned.deployed)
    }

    /// Returns whether an app runs a version.
    pub fn runs(&self, app: &str, version: &Deployed) -> bool {
        self.apps.get(app).is_some_and(|app| {
            app.deployed.digest == version.digest && app.condition != Condition::Down
        })
    }

    /// Returns whether all apps of a set run the versions that it names.
    pub fn agrees_with(&self, set: &str) -> bool {
        let plan = self.sets.get(set);
        plan.is_some_and(|plan| plan.apps.iter().all(|planned| self.agrees(planned)))
    }
}
