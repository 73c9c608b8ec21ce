//! Withheld containers of an image that was repaired: they are recreated from their signed
//! specification.

use anyhow::{Context, Result, anyhow};
use edge_common::Root;
use edge_common::contract::label;
use edge_signature::Digest;

use super::auditor::Auditor;
use super::withheld::Withheld;
use super::{created, disk, files, remake};

/// Fails unless the record of the container `id` says that it was created from a signed
/// run specification.
pub(crate) fn require_signed(root: &Root, id: &str) -> Result<()> {
    let record = created::find(root, id)?.context("edge-docker did not create it")?;
    match record["Labels"][label::RUN].as_str() {
        Some(run) if !run.is_empty() => Ok(()),
        _ => Err(anyhow!("it was created with options")),
    }
}

/// Withholds the container `id`, which the engine has not loaded, and leaves a record from
/// which it is recreated.
pub(crate) fn unloaded(root: &Root, id: &str) -> Result<()> {
    require_signed(root, id)?;
    let data_root = disk::data_root(root)?;
    let path = data_root.join("containers").join(id);
    let container = files::read(&path)?;
    let remake = Auditor::new(root, &data_root)?.recreation(&container);
    let remake = remake.map_err(|fault| anyhow!("{}: {fault}", container.name()))?;
    let what = format!("container {id} {}", container.name());
    let why = "the engine has not loaded it";
    Withheld::below(&data_root).receive(&path, &what, why)?;
    remake::write(root, &remake)
}

/// Leaves records of the withheld containers of `image`, from which they are recreated.
/// Returns their number.
pub(crate) fn withheld(root: &Root, image: &Digest) -> Result<usize> {
    let data_root = disk::data_root(root)?;
    let directory = Withheld::below(&data_root);
    let mut auditor = None;
    let mut count = 0;
    for path in disk::entries(&directory.path(""))? {
        let Ok(container) = files::read(&path) else {
            continue;
        };
        let is_pending = remake::pending(root)?.iter().any(|r| r.id == container.id);
        let is_other = container.image() != image.as_str() || is_pending;
        if is_other || require_signed(root, &container.id).is_err() {
            continue;
        }
        let auditor = match &mut auditor {
            Some(auditor) => auditor,
            none => none.insert(Auditor::new(root, &data_root)?),
        };
        let remake = auditor.recreation(&container);
        let remake = remake.map_err(|fault| anyhow!("recreating {}: {fault}", container.name()))?;
        remake::write(root, &remake)?;
        count += 1;
    }
    Ok(count)
}
