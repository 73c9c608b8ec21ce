//! `pull` of an image with damaged layers: the engine would keep the layers that it has, so
//! it has to forget them first, with the containers that use them. Afterwards these are
//! recreated from their signed specification.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;
use hyper::Method;

use super::{damaged, remake};
use crate::engine::client;
use crate::engine::containers::{self, Container};
use crate::image::pull;
use crate::ledger::Decision;
use crate::stored::damage::{self, SharedDamage};
use crate::stored::recreation;
use crate::stored::withheld::Withheld;
use crate::stored::{disk, top_layers};

/// Depth of directories in that of a container.
const MAX_DEPTH: u32 = 3;

/// Carries out `pull`, and repairs the image if its layers are damaged.
pub(crate) async fn pull(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    if let Some(id) = pull::kept(root, parsed).await?
        && damage::shared(root, &id)?.is_empty()
        && recreation::withheld(root, &id)? == 0
    {
        println!("{id}");
        return Ok(());
    }
    let mut is_damaged = false;
    let prepare = async |id: &Digest| {
        let shared = damage::shared(root, id)?;
        is_damaged = !shared.is_empty();
        // Verified at the registry by now: without it the image would not come back.
        remove(root, &shared).await
    };
    let id = pull::run(root, parsed, prepare).await?;
    if is_damaged {
        damage::require_repaired(root, &id)?;
    }
    if recreation::withheld(root, &id)? > 0 && remake::all(root).await? > 0 {
        bail!("the image is repaired, but containers of it could not be recreated");
    }
    Ok(())
}

/// Removes images with a damaged layer from the engine. Their containers are withheld.
async fn remove(root: &Root, images: &[SharedDamage]) -> Result<()> {
    let mut found = Vec::new();
    for image in images {
        for id in damaged::of_image(root, image.id.as_str()).await? {
            found.extend(containers::find(root, &id).await?);
        }
    }
    // All are judged before the first is removed.
    for container in &found {
        recreation::require_signed(root, &container.id).map_err(|error| {
            refuse(format_args!(
                "pull is refused: {} uses the damaged layers and cannot be recreated ({error:#}): \
                 edge-docker rm {0}",
                container.name()
            ))
        })?;
    }
    for container in found {
        withhold(root, &container).await?;
    }
    for image in images {
        let path = format!("/images/{}?force=true", image.id);
        client::request(root, Method::DELETE, &path, None).await?;
        log::warn(format_args!(
            "removed {}, whose layers are damaged: edge-docker pull it again",
            image.name
        ));
    }
    Ok(())
}

/// Moves a container from the engine to the withheld ones.
async fn withhold(root: &Root, container: &Container) -> Result<()> {
    let decision = Decision {
        verb: "pull",
        image: &container.image,
        container: container.name(),
        ..Decision::default()
    };
    decision.record(root)?;
    containers::stop(root, container).await?;
    let data_root = disk::data_root(root)?;
    let withheld = Withheld::below(&data_root).path(&container.id);
    // A copy, so that one of them is whole at every moment.
    if withheld.exists() {
        fs::remove_dir_all(&withheld).context("removing an older copy")?;
    }
    let stored = data_root.join("containers").join(&container.id);
    copy(&stored, &withheld, MAX_DEPTH).context("withholding a container")?;
    top_layers::keep(&data_root, &container.id)?;
    containers::remove(root, &container.id).await
}

fn copy(from: &Path, to: &Path, depth: u32) -> Result<()> {
    file::create_directory(to, 0o700)?;
    for path in disk::entries(from)? {
        let place = to.join(path.file_name().unwrap_or_default());
        let data = fs::symlink_metadata(&path)?;
        if data.is_dir() && depth > 0 {
            copy(&path, &place, depth - 1)?;
        } else if data.is_file() {
            fs::copy(&path, &place).with_context(|| format!("copying {}", path.display()))?;
            fs::File::open(&place)?.sync_all()?;
        }
    }
    file::sync_directory(to)
}
