//! Project quotas of a file system: the project of a file or directory, and the use and
//! limits of a project.
//!
//! The only crate of the workspace with unsafe code, because no crate that it links wraps
//! these system calls. It decides nothing and keeps no state; `edge-docker` calls it to
//! limit what an app stores (`docs/decisions/0045-project-quotas.md`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::ioctl::{Getter, Opcode, Setter, opcode};

/// Flag of a directory: what is created in it belongs to the project of the directory.
const PROJECT_INHERIT: u32 = 0x200;
/// Type of the quotas of projects, `PRJQUOTA` of `linux/quota.h`.
const PROJECT_QUOTA: u32 = 2;
/// Number of bits by which `QCMD` shifts the command.
const COMMAND_SHIFT: u32 = 8;
/// Unit of the limits of bytes, `QIF_DQBLKSIZE`.
const BLOCK_BYTES: u64 = 1024;

const GET_ATTRIBUTES: Opcode = opcode::read::<Attributes>(b'X', 31);
/// Number of the request that changes project and flags, as the kernel and the seccomp
/// profile of containers know it (`FS_IOC_FSSETXATTR`).
pub const SET_ATTRIBUTES: u32 = opcode::write::<Attributes>(b'X', 32);

/// Attributes of a file, `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_on_write_extent_size: u32,
    reserved: [u8; 8],
}

/// Project of a file or directory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Project {
    /// Number of the project; 0 is that of all files without one.
    pub id: u32,
    /// Whether files that are created in the directory belong to the project.
    pub is_inherited: bool,
}

/// Limits of a project; 0 is no limit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Limit of the occupied space, in bytes. The kernel rounds up to 1,024 bytes.
    pub bytes: u64,
    /// Limit of the number of files and directories.
    pub files: u64,
}

/// Use and limits of a project.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Space that the files of the project occupy, in bytes.
    pub used_bytes: u64,
    /// Number of files and directories of the project.
    pub used_files: u64,
    /// Limits of both.
    pub limits: Limits,
}

/// Returns the project of an open file or directory.
///
/// # Errors
/// The file system has no projects, or `file` was opened with `O_PATH`.
pub fn project(file: impl AsFd) -> io::Result<Project> {
    let attributes = attributes(&file)?;
    Ok(Project {
        id: attributes.project,
        is_inherited: attributes.flags & PROJECT_INHERIT != 0,
    })
}

/// Sets the project of an open file or directory. Its other attributes stay.
///
/// # Errors
/// As [`project`]; also if the caller may not change the file.
pub fn set_project(file: impl AsFd, project: Project) -> io::Result<()> {
    let mut attributes = attributes(&file)?;
    attributes.project = project.id;
    attributes.flags &= !PROJECT_INHERIT;
    if project.is_inherited {
        attributes.flags |= PROJECT_INHERIT;
    }
    #[expect(unsafe_code, reason = "no crate wraps FS_IOC_FSSETXATTR")]
    // SAFETY: the request reads a `struct fsxattr`, whose layout `Attributes` has.
    unsafe {
        let request = Setter::<SET_ATTRIBUTES, Attributes>::new(attributes);
        rustix::ioctl::ioctl(file, request)?;
    }
    Ok(())
}

fn attributes(file: impl AsFd) -> io::Result<Attributes> {
    #[expect(unsafe_code, reason = "no crate wraps FS_IOC_FSGETXATTR")]
    // SAFETY: the request writes a `struct fsxattr`, whose layout `Attributes` has, and for
    // which every pattern of bits is valid.
    unsafe {
        let request = Getter::<GET_ATTRIBUTES, Attributes>::new();
        Ok(rustix::ioctl::ioctl(file, request)?)
    }
}

/// Returns use and limits of the project `id` in the file system of `file`, which may be
/// opened with `O_PATH`. A project without files and limits has zeros.
///
/// # Errors
/// The kernel or the file system has no project quotas, or the caller lacks
/// `CAP_SYS_ADMIN`.
pub fn quota(file: impl AsFd, id: u32) -> io::Result<Quota> {
    let mut block = empty_block();
    call(&file, libc::Q_GETQUOTA, id, &mut block)?;
    Ok(Quota {
        used_bytes: block.dqb_curspace,
        used_files: block.dqb_curinodes,
        limits: Limits {
            bytes: block.dqb_bhardlimit.saturating_mul(BLOCK_BYTES),
            files: block.dqb_ihardlimit,
        },
    })
}

/// Sets the limits of the project `id` in the file system of `file`.
///
/// # Errors
/// As [`quota`].
pub fn set_limits(file: impl AsFd, id: u32, limits: Limits) -> io::Result<()> {
    let mut block = empty_block();
    block.dqb_bhardlimit = limits.bytes.div_ceil(BLOCK_BYTES);
    block.dqb_ihardlimit = limits.files;
    block.dqb_valid = libc::QIF_LIMITS;
    call(&file, libc::Q_SETQUOTA, id, &mut block)
}

fn empty_block() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// Calls `quotactl_fd(2)`, which Linux has since version 5.14. The older call takes the
/// path of a block device, which a unit with private devices does not see.
fn call(file: impl AsFd, command: i32, id: u32, block: &mut libc::dqblk) -> io::Result<()> {
    let command = (command as u32) << COMMAND_SHIFT | PROJECT_QUOTA;
    let file = file.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "no crate wraps quotactl_fd")]
    // SAFETY: the commands of this crate read or write one `struct dqblk`, which `block`
    // is and which outlives the call; `file` is open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file,
            command,
            id,
            std::ptr::from_mut(block),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_numbers_are_those_of_the_kernel() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(GET_ATTRIBUTES, 0x801c_581f);
        assert_eq!(SET_ATTRIBUTES, 0x401c_5820);
        assert_eq!(size_of::<libc::dqblk>(), 72);
        assert_eq!(libc::QIF_LIMITS, 5);
    }

    #[test]
    fn a_file_system_without_quotas_is_an_error() {
        let proc = std::fs::File::open("/proc/self").unwrap();
        assert!(project(&proc).is_err());
        assert!(quota(&proc, 1).is_err());
        assert!(set_limits(&proc, 1, Limits::default()).is_err());
        // Errors of the kernel, whose descriptors are checked there.
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(set_project(&reader, Project::default()).is_err());
    }
}
