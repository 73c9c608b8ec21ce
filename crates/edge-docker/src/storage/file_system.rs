//! File system of `/data`, if it applies project quotas.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use edge_common::{Root, file, quotas};
use edge_quota::{Limits, Quota};
use rustix::fs::{CWD, Dev, Mode, OFlags, StatVfs, fstat, fstatvfs, major, minor, openat, stat};

/// First number of a project. Lower ones are those that administrators choose.
pub(super) const FIRST: u32 = 1_000_000;
/// Size limit of a description of a device, in bytes.
const MAX_TEXT_BYTES: u64 = 16 * 1024;

/// Reason why no limits apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// `/data` is part of the root file system.
    NotMounted,
    /// The file system is not mounted with `prjquota`.
    NotEnforced,
    /// The kernel lacks `quotactl_fd(2)`.
    Kernel,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotMounted => "/data is not mounted",
            Self::NotEnforced => "the file system of /data has no project quotas",
            Self::Kernel => "the kernel is older than 5.14",
        })
    }
}

/// File system of `/data`, which applies project quotas.
pub(crate) struct FileSystem {
    data: OwnedFd,
    device: Dev,
    size: Size,
}

/// Size of the file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Bytes for files and directories, used or not.
    pub(crate) bytes: u64,
    /// Number of files and directories that fit.
    pub(crate) files: u64,
}

impl Size {
    fn of(stat: &StatVfs) -> Self {
        Self {
            bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            files: stat.f_files,
        }
    }
}

impl FileSystem {
    /// Opens the file system of `/data`, or returns the reason why no limits apply.
    pub(crate) fn open(root: &Root) -> Result<Self, Unavailable> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let data = openat(CWD, root.path("/data"), flags, Mode::empty());
        let data = data.map_err(|_| Unavailable::NotMounted)?;
        let device = fstat(&data).map_err(|_| Unavailable::NotMounted)?.st_dev;
        if stat(root.path("/")).is_ok_and(|above| above.st_dev == device) {
            return Err(Unavailable::NotMounted);
        }
        let enforced = is_enforced(root, device);
        if !enforced.unwrap_or(false) {
            return Err(Unavailable::NotEnforced);
        }
        match edge_quota::quota(&data, FIRST) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Err(Unavailable::Kernel);
            }
            // Without the privilege, projects can be assigned all the same.
            _ => {}
        }
        let size = Size::of(&fstatvfs(&data).map_err(|_| Unavailable::NotMounted)?);
        Ok(Self { data, device, size })
    }

    /// Returns the size of the file system.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Returns whether an open file is on this file system.
    pub(super) fn has(&self, file: impl AsFd) -> Result<bool> {
        let stat = fstat(file).context("looking at a directory")?;
        Ok(stat.st_dev == self.device)
    }

    /// Returns use and limits of a project.
    pub(super) fn quota(&self, id: u32) -> Result<Quota> {
        edge_quota::quota(&self.data, id).context("reading a quota")
    }

    /// Returns whether the caller may read and set limits.
    pub(super) fn is_permitted(&self) -> bool {
        let tried = edge_quota::quota(&self.data, FIRST);
        !tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    /// Sets the limits of a project.
    pub(super) fn set(&self, id: u32, limits: Limits) -> Result<()> {
        edge_quota::set_limits(&self.data, id, limits).context("setting a quota")
    }
}

/// Returns whether the file system on a device applies limits of projects.
fn is_enforced(root: &Root, device: Dev) -> Option<bool> {
    let uevent = format!("/sys/dev/block/{}:{}/uevent", major(device), minor(device));
    let uevent = file::read_text(&root.path(uevent), MAX_TEXT_BYTES).ok()?;
    quotas::apply(root, device_name(&uevent)?)
}

fn device_name(uevent: &str) -> Option<&str> {
    uevent.lines().find_map(|l| l.strip_prefix("DEVNAME="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let uevent = "MAJOR=259\nMINOR=16\nDEVNAME=nvme0n1p16\nDEVTYPE=partition\n";
        assert_eq!(device_name(uevent), Some("nvme0n1p16"));
        assert_eq!(device_name("XDEVNAME=a\n"), None);
    }

    #[test]
    fn the_reason_is_named_where_there_are_no_quotas() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(FileSystem::open(&root).err(), Some(Unavailable::NotMounted));
        std::fs::create_dir(root.path("/data")).unwrap();
        assert_eq!(FileSystem::open(&root).err(), Some(Unavailable::NotMounted));
        // Another file system, which has no projects.
        std::os::unix::fs::symlink("/proc", root.path("/proc")).unwrap();
        std::fs::remove_dir(root.path("/data")).unwrap();
        std::os::unix::fs::symlink("/proc", root.path("/data")).unwrap();
        assert_eq!(
            FileSystem::open(&root).err(),
            Some(Unavailable::NotEnforced)
        );
    }
}
