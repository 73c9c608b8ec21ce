//! `push REPOSITORY:TAG`: pushes an image to the trusted repository only. Docker itself
//! would push `sandbox/APP` to Docker Hub.

use anyhow::{Result, bail};
use edge_common::Root;
use edge_docker_policy::image_labels;
use edge_docker_policy::refusal::refuse;
use serde_json::Value;

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
    let inspect = format!("/images/{}:{tag}/json", image.repository);
    // The local image, because the registry would keep the labels for others.
    let judged = client::find(root, &inspect).await?;
    if let Some(found) = &judged {
        image_labels::require_none("push", &found["Config"])?;
    }
    let auth = login::header(root, image.repository.host());
    let auth = auth.as_deref().unwrap_or(NO_CREDENTIALS);
    let path = format!("/images/{}/push?tag={tag}", image.repository);
    ledger::record(root, "push")?;
    client::follow(root, &path, Some(auth), |line| print_progress(line, false)).await?;
    // The engine pushes names only, and another command may have moved this one.
    let pushed = client::find(root, &inspect).await?;
    let id = |image: &Option<Value>| image.as_ref().map(|found| found["Id"].clone());
    if id(&judged) != id(&pushed) {
        bail!("{reference} was moved to another image during the push: push it again");
    }
    Ok(())
}
