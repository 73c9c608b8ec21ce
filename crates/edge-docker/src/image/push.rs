//! `push REPOSITORY:TAG`: pushes an image to the trusted repository only. Docker itself
//! would push `sandbox/APP` to Docker Hub.

use anyhow::Result;
use edge_common::Root;
use edge_docker_policy::image_labels;
use edge_docker_policy::refusal::refuse;

use super::progress::print_progress;
use super::{login, pull};
use crate::engine::client;
use crate::{ledger, trust};

/// Value of `X-Registry-Auth` without credentials: `{}` in base64. The engine rejects a
/// push without this header.
const NO_CREDENTIALS: &str = "e30=";

/// Carries out `push REPOSITORY:TAG` with the stored credentials, and prints the
/// progress.
pub(crate) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    let [reference] = args else {
        return Err(refuse("push takes one image"));
    };
    let trust = trust::load(root)?;
    let image = pull::require_repository(&trust, reference)?;
    let Some(tag) = image.tag.filter(|_| image.digest.is_none()) else {
        return Err(refuse("push takes REPOSITORY:TAG"));
    };
    // The local image, because the registry would keep the labels for others.
    if let Some(found) =
        client::find(root, &format!("/images/{}:{tag}/json", image.repository)).await?
    {
        image_labels::require_none("push", &found["Config"])?;
    }
    let auth = login::header(root, image.repository.host());
    let auth = auth.as_deref().unwrap_or(NO_CREDENTIALS);
    let path = format!("/images/{}/push?tag={tag}", image.repository);
    ledger::record(root, "push")?;
    client::follow(root, &path, Some(auth), |line| print_progress(line, false)).await
}
