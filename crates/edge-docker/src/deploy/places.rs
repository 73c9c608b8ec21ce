//! Names of an app, `NAME` and `NAME-previous`, and the containers that hold them.

use anyhow::Result;
use edge_common::contract::suffix;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;

use crate::engine::containers::{self, Container};

/// Containers that hold the names of an app.
pub(super) struct Places {
    /// Container of the name itself.
    pub(super) current: Option<Container>,
    /// Container that a rollback would return to.
    pub(super) previous: Option<Container>,
}

impl Places {
    /// Finds them, and removes containers that an interrupted deployment left.
    pub(super) async fn find(root: &Root, name: &str) -> Result<Self> {
        let current = containers::find(root, name).await?;
        let previous = containers::find(root, &format!("{name}{}", suffix::PREVIOUS)).await?;
        for suffix in [suffix::OLDER, suffix::NEXT, suffix::MOVING] {
            let Some(left) = containers::find(root, &format!("{name}{suffix}")).await? else {
                continue;
            };
            if left.app().is_none() {
                // Somebody created it under this name; removing it could lose data.
                return Err(refuse(format_args!(
                    "the name {} is taken by a container that edge-docker did not create",
                    left.name()
                )));
            }
            log::warn(format_args!("removing {}, left over", left.name()));
            containers::remove(root, &left.id).await?;
        }
        // Stopping it would remove it, before the new version has shown that it works.
        if current.as_ref().is_some_and(Container::vanishes) {
            return Err(refuse(format_args!(
                "{name} runs with --rm and could not come back: stop it first"
            )));
        }
        Ok(Self { current, previous })
    }

    /// Refuses to deploy in the place of another app's container.
    pub(super) fn require_app(&self, app: &str) -> Result<()> {
        // Otherwise one signed app could stop another by taking its name.
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
