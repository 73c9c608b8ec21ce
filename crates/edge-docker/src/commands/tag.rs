//! `tag sandbox/APP sandbox/APP`: adds a name to a sandbox image.

use anyhow::Result;
use edge_common::Root;
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::refusal::refuse;
use hyper::Method;

use crate::engine::client;
use crate::{ledger, trust};

/// Carries out `tag SOURCE TARGET`; refuses unless both are names of sandbox images.
pub(super) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    trust::load(root)?.sandbox_allowed("tag")?;
    match args {
        // Both names have a strict form, so that neither can add a parameter to the URI.
        [from, to] if sandbox_app(from).is_some() && sandbox_app(to).is_some() => {
            let (name, tag) = to.split_once(':').unwrap_or((to, "latest"));
            let path = format!("/images/{from}/tag?repo={name}&tag={tag}");
            ledger::record(root, "tag")?;
            let tagged = client::request(root, Method::POST, &path, None).await;
            tagged.map(drop)
        }
        _ => Err(refuse(
            "tag is refused: only from sandbox/APP to sandbox/APP",
        )),
    }
}
