//! Limits of what apps store on disk: project quotas of the file system of `/data`.
//!
//! Each app has a project, to which its directory, the top layers of its containers and the
//! volumes of its image belong. The number of the project is an attribute of the app's
//! directory, so that no second record could differ from it. Without project quotas apps
//! run without limits (`docs/decisions/0045-project-quotas.md`).

mod assign;
mod demand;
mod file_system;
mod projects;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::policy;
use edge_common::{Root, file, lock, log};
use edge_docker_policy::bounds::MIN_STORAGE_BYTES;
use edge_quota::{Limits, Project, Quota};
use rustix::fs::{CWD, Mode, OFlags, openat};

pub(crate) use demand::Demand;
pub(crate) use file_system::{FileSystem, Unavailable};

use crate::image::unused::megabytes;
use projects::Projects;

/// Lock of the assignment of projects: two commands could choose the same number.
const LOCK: &str = "/run/edge-docker/storage.lock";

/// Room that an app has for a start, whatever it stores: the engine creates the mount points
/// of a container in its empty top layer. An app that is full could otherwise neither be
/// deployed again nor start after a boot.
const START_ROOM: Limits = Limits {
    bytes: MIN_STORAGE_BYTES,
    files: 256,
};

/// Time for which a limit is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until a container has started, with [`START_ROOM`].
    Start,
    /// Until the next start: what the app demands.
    NextStart,
}

/// Assignment of projects and limits to apps, one process at a time.
pub(crate) struct Storage {
    file_system: FileSystem,
    default: policy::Storage,
    projects: Projects,
    _lock: File,
}

impl Storage {
    /// Returns the assignment, with `default` as the limit of apps that name none; `None` if
    /// the file system has no project quotas.
    pub(crate) fn open(root: &Root, default: policy::Storage) -> Result<Option<Self>> {
        let Ok(file_system) = FileSystem::open(root) else {
            return Ok(None);
        };
        let path = root.path(LOCK);
        file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
        file::put(&path, b"", 0o600)?;
        let lock = lock::exclusive(&path)?;
        Ok(Some(Self {
            projects: Projects::read(root)?,
            file_system,
            default,
            _lock: lock,
        }))
    }

    /// Limits an app to what it demands. Returns the number of its project. An interruption
    /// may leave the room of a start until the next one.
    pub(crate) fn limit(&mut self, root: &Root, demand: &Demand, until: Until) -> Result<u32> {
        let directory = &demand.directory;
        let context = || format!("limiting {directory}");
        if let (Some(id), false) = (self.projects.of(directory), self.file_system.is_permitted()) {
            // Recovery at boot, after the audit has set the limit.
            return Ok(id);
        }
        let id = self.projects.assign(root, directory, &self.file_system);
        let id = id.with_context(context)?;
        let quota = self.file_system.quota(id).with_context(context)?;
        let mut limits = demand.limits(self.default, &self.file_system.size());
        if demand.bytes == 0 && exceeds(&quota, limits) {
            // The app was there before the limit, and its author does not know of it.
            log::warn(format_args!(
                "{directory} stores {} bytes in {} files, more than the default limit, which \
                 does not apply: state `storage` in app.yaml",
                quota.used_bytes, quota.used_files
            ));
            limits = Limits::default();
        }
        if until == Until::Start {
            limits = with_room(limits, &quota);
        }
        if quota.limits != limits {
            self.file_system.set(id, limits).with_context(context)?;
        }
        Ok(id)
    }

    /// Gives every app that has a limit the room of a start: also those whose containers are
    /// recreated once the engine is up, when limits cannot be set.
    pub(crate) fn give_room(&self) {
        for directory in self.projects.directories() {
            let given = self.projects.of(&directory).map_or(Ok(()), |id| {
                let quota = self.file_system.quota(id)?;
                let limits = with_room(quota.limits, &quota);
                match limits == quota.limits {
                    true => Ok(()),
                    false => self.file_system.set(id, limits),
                }
            });
            if let Err(error) = given {
                log::warn(format_args!("room of {directory} for a start: {error:#}"));
            }
        }
    }

    /// Returns the directories of the apps that have a project.
    pub(crate) fn directories(&self) -> Vec<String> {
        self.projects.directories()
    }

    /// Removes the limits of an app without containers. Its project stays while there are
    /// files in its directory.
    pub(crate) fn release(&mut self, root: &Root, directory: &str) -> Result<()> {
        let context = || format!("removing the limits of {directory}");
        let Some(id) = self.projects.of(directory) else {
            return Ok(());
        };
        self.file_system
            .set(id, Limits::default())
            .with_context(context)?;
        self.projects.release(root, directory).with_context(context)
    }

    /// Adds a directory and what is in it to the project `id`: a volume, or a top layer in
    /// which nothing was written.
    pub(crate) fn cover(&self, id: u32, directory: &Path) -> Result<()> {
        let directory = self.open_covered(directory)?;
        directory.map_or(Ok(()), |open| assign::all(&open, id).map(drop))
    }

    /// Adds the directory of a container's top layer, with `diff` and `work`, to the
    /// project `id`. A layer that holds more than directories and files stays out of it:
    /// the kernel does not rename between projects, and a link or whiteout cannot get one.
    pub(crate) fn cover_layer(&self, id: u32, own: &Path) -> Result<()> {
        let Some(open) = self.open_covered(own)? else {
            return Ok(());
        };
        let whole = Project {
            id,
            is_inherited: true,
        };
        if edge_quota::project(&open)? == whole || !assign::is_plain(&own.join("diff"))? {
            return Ok(());
        }
        assign::all(&open, id).map(drop)
    }

    /// Opens a directory of root on the file system of the quotas; `None` on another one.
    fn open_covered(&self, directory: &Path) -> Result<Option<OwnedFd>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = openat(CWD, directory, flags, Mode::empty());
        let open = open.with_context(|| format!("opening {}", directory.display()))?;
        Ok(self.file_system.has(&open)?.then_some(open))
    }
}

/// Takes the content of an emptied top layer out of its project: an app is not to be full
/// of what it cannot remove.
pub(crate) fn disown(root: &Root, directory: &Path) -> Result<()> {
    if FileSystem::open(root).is_err() || fs::symlink_metadata(directory).is_err() {
        return Ok(());
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat(CWD, directory, flags, Mode::empty()).context("opening emptied layers")?;
    assign::none(&open)
}

/// Returns limits that leave the room of a start. 0 is no limit.
fn with_room(limits: Limits, quota: &Quota) -> Limits {
    // The kernel counts in kilobytes, and is compared with that.
    let bytes = quota.used_bytes.saturating_add(START_ROOM.bytes);
    let bytes = bytes.div_ceil(1024).saturating_mul(1024);
    let files = quota.used_files.saturating_add(START_ROOM.files);
    let least = |limit: u64, room: u64| if limit == 0 { 0 } else { limit.max(room) };
    Limits {
        bytes: least(limits.bytes, bytes),
        files: least(limits.files, files),
    }
}

fn exceeds(quota: &Quota, limits: Limits) -> bool {
    quota.used_bytes > limits.bytes || quota.used_files > limits.files
}

/// Use and limits of the storage of all apps.
pub(crate) struct Usage {
    file_system: FileSystem,
    projects: Projects,
}

impl Usage {
    /// Reads which apps have limits; `None` if the file system has no project quotas.
    pub(crate) fn read(root: &Root) -> Result<Option<Self>> {
        let Ok(file_system) = FileSystem::open(root) else {
            return Ok(None);
        };
        let projects = Projects::read(root)?;
        Ok(Some(Self {
            file_system,
            projects,
        }))
    }

    /// Returns use and limits of the app that has `directory`; `None` if it has no project, or
    /// if the caller may not know.
    pub(crate) fn of(&self, directory: &str) -> Option<Quota> {
        let id = self.projects.of(directory)?;
        self.file_system.quota(id).ok()
    }
}

/// Returns use and limit of an app's storage, for people.
pub(crate) fn describe(root: &Root, default: policy::Storage, demand: &Demand) -> Result<String> {
    let file_system = match FileSystem::open(root) {
        Ok(file_system) => file_system,
        Err(reason) => return Ok(format!("no limit: {reason}")),
    };
    let quota = match Projects::read(root)?.of(&demand.directory) {
        Some(id) => file_system.quota(id)?,
        None => Quota::default(),
    };
    let wanted = demand.limits(default, &file_system.size());
    let origin = if demand.bytes == 0 {
        "default"
    } else {
        "signed"
    };
    let limit = match quota.limits.bytes {
        // It applies from the next start on.
        0 => format!("{} ({origin}, not in effect)", megabytes(wanted.bytes)),
        bytes => format!("{} ({origin})", megabytes(bytes)),
    };
    Ok(format!("{} of {limit}", megabytes(quota.used_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_app_has_room_for_a_start() {
        let limits = |bytes, files| Limits { bytes, files };
        let quota = |used_bytes, used_files| Quota {
            used_bytes,
            used_files,
            ..Quota::default()
        };
        let signed = limits(48 << 20, 16_384);
        assert_eq!(with_room(signed, &quota(1 << 20, 10)), signed);
        let full = with_room(signed, &quota(48 << 20, 16_384));
        assert_eq!(full, limits(49 << 20, 16_384 + 256));
        // Again, before the limit is what was signed: no room is added to room.
        assert_eq!(with_room(full, &quota(48 << 20, 16_384)), full);
        assert_eq!(with_room(signed, &quota((48 << 20) + 1, 0)).bytes % 1024, 0);
        let none = Limits::default();
        assert_eq!(with_room(none, &quota(1 << 40, 1 << 30)), none);
        assert_eq!(
            with_room(signed, &quota(u64::MAX, u64::MAX)).files,
            u64::MAX
        );
    }
}
