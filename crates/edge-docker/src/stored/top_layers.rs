//! Top layers of signed containers, which are emptied once a boot: a program that was put
//! into one while the device was off does not run. State is in mounts and in the volumes
//! of the image.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::{Root, file, log};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::disk::{entries, require_directory};
use super::layer;
use super::layers::Layers;

/// Marker of a boot in which the layers were emptied: the engine starts again within a
/// boot, and containers may have survived its end.
const MARKER: &str = "/run/edge-docker/emptied";
/// Mounts of this process, in which those of running containers are listed.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Top layers below the engine's data, and the directory to which their content goes.
pub(super) struct TopLayers {
    aside: PathBuf,
    mounted: BTreeSet<PathBuf>,
}

impl TopLayers {
    /// Returns the top layers below `data_root`, and reads which of them are mounted.
    pub(super) fn new(root: &Root, data_root: &Path) -> Result<Self> {
        let mounts = fs::read_to_string(root.path(MOUNTS)).context("reading the mounts")?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        Ok(Self {
            aside: data_root.join("emptied"),
            mounted: points.map(PathBuf::from).collect(),
        })
    }

    /// Returns whether a container uses the layer in the directory `own`.
    pub(super) fn is_mounted(&self, own: &Path) -> bool {
        self.mounted.contains(&own.join("merged"))
    }

    /// Empties the layers of `own`, pairs of a container's ID and the directory of its
    /// layer, unless this boot has done so. What was in them is kept until the next boot.
    /// Returns the containers whose layers could not be emptied, for example on a full
    /// disk, with the reason: the engine must not start them.
    pub(super) fn empty(
        &self,
        root: &Root,
        own: &[(String, PathBuf)],
    ) -> Result<Vec<(String, String)>> {
        let mut failed = Vec::new();
        if root.path(MARKER).exists() {
            return Ok(failed);
        }
        let expired = self.expire();
        for (id, own) in own {
            if self.is_mounted(own) {
                log::warn(format_args!(
                    "the top layer of {id} is in use and was not emptied"
                ));
                continue;
            }
            let moved = match &expired {
                Ok(()) => self.move_aside(id, own).map_err(|e| format!("{e:#}")),
                Err(error) => Err(format!("{error:#}")),
            };
            failed.extend(moved.err().map(|why| (id.clone(), why)));
        }
        file::create_directory(&root.path("/run/edge-docker"), 0o700)?;
        file::put(&root.path(MARKER), b"", 0o600)?;
        Ok(failed)
    }

    /// Renames what the boot before has moved aside, to be deleted in the background.
    fn expire(&self) -> Result<()> {
        file::create_directory(&self.aside, 0o700)?;
        require_directory(&self.aside)?;
        let last = self.aside.join("last");
        if fs::symlink_metadata(&last).is_ok() {
            let free = (0..).map(|n| self.aside.join(format!("expired-{n}")));
            let mut free = free.filter(|path| fs::symlink_metadata(path).is_err());
            let place = free.next().context("naming expired layers")?;
            fs::rename(&last, place).context("moving expired layers")?;
        }
        file::create_directory(&last, 0o700)
    }

    fn move_aside(&self, id: &str, own: &Path) -> Result<()> {
        let (diff, new) = (own.join("diff"), own.join("diff.new"));
        let context = || format!("emptying the top layer of {id}");
        let last = self.aside.join("last");
        if fs::symlink_metadata(&new).is_ok() {
            // Left by an interrupted audit, before or after the exchange.
            fs::rename(&new, last.join(format!("{id}.new"))).with_context(context)?;
        }
        let is_empty = fs::read_dir(&diff).with_context(context)?.next().is_none();
        // Owner, mode and attributes of the root are those that the container sees.
        if is_empty && layer::is_plain_root(&diff).with_context(context)? {
            return Ok(());
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&new).with_context(context)?;
        // The mode that the engine creates the layer with.
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).with_context(context)?;
        // Exchanged in one step: the engine does not start a container without `diff`.
        renameat_with(CWD, &new, CWD, &diff, RenameFlags::EXCHANGE).with_context(context)?;
        fs::rename(&new, last.join(id)).with_context(context)
    }
}

/// Removes the layers of the container `id`, which the engine no longer has. The content
/// of its top layer is kept until the next boot.
pub(crate) fn retire(data_root: &Path, id: &str) -> Result<()> {
    keep(data_root, id)?;
    let removed = Layers::new(data_root).remove(id);
    removed.with_context(|| format!("removing the layers of {id}"))
}

/// Moves the content of the top layer of a container aside, where it is kept until the next
/// boot. The container cannot start afterwards.
pub(crate) fn keep(data_root: &Path, id: &str) -> Result<()> {
    let Some(own) = Layers::new(data_root).exclusive(id) else {
        return Ok(());
    };
    let last = data_root.join("emptied/last");
    file::create_directory(&last, 0o700)?;
    let (diff, kept) = (own.join("diff"), last.join(id));
    let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
    if exists(&kept) || !exists(&diff) {
        return Ok(());
    }
    fs::rename(diff, kept).with_context(|| format!("keeping the top layer of {id}"))
}

/// Deletes the content of layers that was moved aside before the last boot.
pub(crate) fn delete_expired(data_root: &Path) -> Result<()> {
    for path in entries(&data_root.join("emptied"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("expired-") {
            let removed = fs::remove_dir_all(&path);
            removed.with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
