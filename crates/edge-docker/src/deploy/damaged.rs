//! `check-layers`: checks the layers of all images in the background, and stops the
//! containers of damaged ones.

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use hyper::Method;

use crate::engine::client;
use crate::engine::containers;
use crate::ledger::{Decision, Verdict};
use crate::stored::{damage, layer_check};

/// Carries out `check-layers`. Damaged images are a result and no error of the check.
pub(crate) async fn check(root: &Root) -> Result<()> {
    let damaged = layer_check::in_background(root)?;
    let mut failed = 0;
    for (image, why) in damaged {
        if let Err(error) = stop_all(root, &image, &why).await {
            log::error(format_args!("stopping containers of {image}: {error:#}"));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("containers of {failed} damaged images could not be stopped"),
    }
}

/// Stops all containers of an image with a damaged layer.
async fn stop_all(root: &Root, image: &str, why: &str) -> Result<()> {
    let decision = Decision {
        verb: "check-layers",
        image,
        ..Decision::default()
    };
    decision.record_failure(root, Verdict::Denied, why);
    for id in of_image(root, image).await? {
        let Some(container) = containers::find(root, &id).await? else {
            continue;
        };
        if !container.state.running && !container.state.restarting {
            continue;
        }
        let decision = Decision {
            verb: "stop",
            image,
            container: container.name(),
            ..Decision::default()
        };
        // Recorded only: a program that nobody signed must not go on because the ledger
        // cannot be written.
        if let Err(error) = decision.record(root) {
            log::error(format_args!("{error:#}"));
        }
        if let Err(error) = damage::note_stopped(root, &id) {
            log::warn(format_args!("{error:#}"));
        }
        containers::stop(root, &container).await?;
        log::error(format_args!(
            "stopped {}, because its image is damaged ({why}): edge-docker pull it again",
            container.name()
        ));
    }
    Ok(())
}

/// Returns the IDs of all containers of an image.
pub(super) async fn of_image(root: &Root, image: &str) -> Result<Vec<String>> {
    let all = client::request(root, Method::GET, "/containers/json?all=1", None).await?;
    let all = all.as_array().context("the engine's list is no list")?;
    let of_image = all.iter().filter(|c| c["ImageID"] == image);
    let ids = of_image.filter_map(|c| c["Id"].as_str().map(String::from));
    Ok(ids.collect())
}
