//! `tag sandbox/APP sandbox/APP`

use anyhow::Result;
use edge_common::Root;
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::refusal::refuse;
use hyper::Method;

use crate::engine::client;
use crate::trust;

/// Gives a sandbox image another name of a sandbox.
pub(super) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    trust::load(root)?.sandbox_allowed("tag")?;
    match args {
        [from, to] if sandbox_app(from).is_some() && sandbox_app(to).is_some() => {
            let (name, tag) = to.split_once(':').unwrap_or((to, "latest"));
            let path = format!("/images/{from}/tag?repo={name}&tag={tag}");
            let tagged = client::request(root, Method::POST, &path, None).await;
            tagged.map(drop)
        }
        _ => Err(refuse(
            "tag is refused: only from sandbox/APP to sandbox/APP",
        )),
    }
}
