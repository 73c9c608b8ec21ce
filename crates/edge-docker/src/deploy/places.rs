//! Containers named `NAME` and `NAME-previous`, which a deployment replaces or removes.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::suffix;
use edge_docker_policy::refusal::refuse;

use super::restore::note_change;
use crate::engine::containers::{self, Container};

/// Containers that have the names of an app before a deployment.
pub(super) struct Places {
    /// Container `NAME`, the current version.
    pub(super) current: Option<Container>,
    /// Container `NAME-previous`, to which a rollback returns.
    pub(super) previous: Option<Container>,
}

impl Places {
    /// Looks up the containers of `name`. Refuses if the current container has `--rm`, or
    /// if a container has one of the names that a deployment needs.
    pub(super) async fn find(root: &Root, name: &str) -> Result<Self> {
        let current = containers::named(root, name).await?;
        let previous = containers::named(root, &format!("{name}{}", suffix::PREVIOUS)).await?;
        for suffix in [suffix::OLDER, suffix::NEXT, suffix::MOVING] {
            // Whatever an interrupted deployment left is removed by its ID before. This
            // container belongs to nobody's deployment: it may be another app's.
            if let Some(other) = containers::named(root, &format!("{name}{suffix}")).await? {
                return Err(refuse(format_args!(
                    "the name {0} is taken by a container of {1}, which no deployment of {name} \
                     created: if it is not needed, edge-docker rm {0}",
                    other.name(),
                    other.app().unwrap_or("nobody")
                )));
            }
        }
        // Stopping a container with --rm removes it, before the new version has shown
        // that it works.
        if current.as_ref().is_some_and(Container::vanishes) {
            return Err(refuse(format_args!(
                "{name} runs with --rm and could not come back: stop it first"
            )));
        }
        Ok(Self { current, previous })
    }

    /// Notes the containers for the end of the ticket that the deployment needs, if any.
    pub(super) async fn note(&self, root: &Root) -> Result<()> {
        for container in [&self.current, &self.previous].into_iter().flatten() {
            note_change(root, &container.id).await?;
        }
        Ok(())
    }

    /// Refuses a deployment of `app` if a container of another app has one of the names.
    pub(super) fn require_app(&self, app: &str) -> Result<()> {
        // Otherwise a signed app could stop another app by deploying under its name.
        for holder in [&self.current, &self.previous].into_iter().flatten() {
            if holder.app() != Some(app) {
                return Err(refuse(format_args!(
                    "the name {} is taken by a container of {}: remove it first",
                    holder.name(),
                    holder.app().unwrap_or("nobody")
                )));
            }
        }
        Ok(())
    }
}
