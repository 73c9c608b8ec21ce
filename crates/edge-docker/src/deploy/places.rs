//! Containers named `NAME` and `NAME-previous`, which a deployment replaces or removes,
//! and leftovers of an interrupted deployment.

use anyhow::Result;
use edge_common::contract::suffix;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;

use crate::engine::containers::{self, Container};

/// Containers that have the names of an app before a deployment.
pub(super) struct Places {
    /// Container `NAME`, the current version.
    pub(super) current: Option<Container>,
    /// Container `NAME-previous`, to which a rollback returns.
    pub(super) previous: Option<Container>,
}

impl Places {
    /// Looks up the containers of `name` and removes leftovers of an interrupted
    /// deployment. Refuses if the current container has `--rm`, or if a container that
    /// edge-docker did not create has a reserved name.
    pub(super) async fn find(root: &Root, name: &str) -> Result<Self> {
        let current = containers::find(root, name).await?;
        let previous = containers::find(root, &format!("{name}{}", suffix::PREVIOUS)).await?;
        for suffix in [suffix::OLDER, suffix::NEXT, suffix::MOVING] {
            let Some(left) = containers::find(root, &format!("{name}{suffix}")).await? else {
                continue;
            };
            if left.app().is_none() {
                // Not created by edge-docker: removing this container could lose data of
                // somebody else.
                return Err(refuse(format_args!(
                    "the name {} is taken by a container that edge-docker did not create",
                    left.name()
                )));
            }
            log::warn(format_args!("removing {}, left over", left.name()));
            containers::remove(root, &left.id).await?;
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
