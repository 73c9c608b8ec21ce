//! Containers that the engine has not loaded at its start, although the boot audit has let
//! them through: it skips those whose files it cannot decode, and says so in its log only.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::{Root, log};
use hyper::Method;

use crate::engine::client;
use crate::stored::{created, disk, recreation};

/// Leaves records from which the containers that the engine has not loaded are recreated.
/// Returns the number of those for which that is not possible.
pub(super) async fn withhold(root: &Root, data_root: &Path) -> Result<usize> {
    // Before the engine is asked: a container that is removed meanwhile is in neither.
    let stored = disk::entries(&data_root.join("containers"))?;
    let all = client::request(root, Method::GET, "/containers/json?all=1", None).await?;
    let all = all.as_array().context("the engine's list is no list")?;
    let loaded: BTreeSet<_> = all.iter().filter_map(|c| c["Id"].as_str()).collect();
    let mut failed = 0;
    for path in stored {
        let id = path.file_name().unwrap_or_default().to_string_lossy();
        // Those without a record are of a build.
        let is_own = created::find(root, &id).is_ok_and(|record| record.is_some());
        if loaded.contains(&*id) || !is_own || !path.exists() {
            continue;
        }
        if let Err(error) = recreation::unloaded(root, &id) {
            log::error(format_args!(
                "the engine has not loaded container {id}, which cannot be recreated: {error:#}"
            ));
            failed += 1;
        }
    }
    Ok(failed)
}
