//! Disks and partitions as the kernel describes them in sysfs: the partitions with the
//! GPT name `DATA`, the disk of the root file system, and which disks can be unplugged.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use edge_common::{Root, file};

/// GPT name of the data partition.
pub(crate) const LABEL: &str = "DATA";
/// Size limit of a file of sysfs, in bytes.
const MAX_ATTRIBUTE_BYTES: u64 = 64 * 1024;
/// Size limit of `/proc/self/mountinfo`, in bytes.
const MAX_MOUNTS_BYTES: u64 = 4 * 1024 * 1024;
/// Number of devices of which one may be built on the next, for example dm-verity on a
/// partition.
const MAX_LAYERS: usize = 8;

/// Partition with the GPT name [`LABEL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// Name of the device node, for example `nvme0n1p16`.
    pub name: String,
    /// Directory of its disk in sysfs.
    pub disk: PathBuf,
    /// Whether the disk can be unplugged: a USB disk, a memory card, a removable medium.
    pub removable: bool,
}

/// Returns the partitions with the GPT name [`LABEL`], ordered by their names. The name
/// is the one that the kernel read from the partition table, not a link of udev, which
/// points to one of several partitions with the same name.
pub(crate) fn labelled(root: &Root) -> Vec<Labelled> {
    let Ok(entries) = std::fs::read_dir(root.path("/sys/class/block")) else {
        return Vec::new();
    };
    let found = entries.flatten().filter_map(|entry| {
        let uevent = file::read_text(&entry.path().join("uevent"), MAX_ATTRIBUTE_BYTES).ok()?;
        let value = |key: &str| uevent.lines().find_map(|l| l.strip_prefix(key));
        if value("PARTNAME=") != Some(LABEL) {
            return None;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let disk = disk(&std::fs::canonicalize(entry.path()).ok()?);
        Some(Labelled {
            name: value("DEVNAME=").map_or(name, str::to_string),
            removable: is_removable(&disk),
            disk,
        })
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Returns whether the block device with the node `device` is on a disk that can be
/// unplugged.
pub(crate) fn is_on_removable_disk(root: &Root, device: &Path) -> bool {
    let name = std::fs::canonicalize(device).ok();
    let name = name.as_deref().and_then(Path::file_name);
    name.and_then(|name| directory_of(root, name))
        .is_some_and(|directory| is_removable(&disk(&directory)))
}

/// Returns the directory in sysfs of the disk that contains the root file system, or
/// `None` if that is on no disk.
pub(crate) fn of_root_file_system(root: &Root) -> Option<PathBuf> {
    let mounts = file::read_text(&root.path("/proc/self/mountinfo"), MAX_MOUNTS_BYTES).ok()?;
    // The last mount at `/` covers those before it.
    let mount = mounts.lines().rfind(|l| l.split(' ').nth(4) == Some("/"))?;
    let number = mount.split(' ').nth(2)?;
    let numbered = std::fs::canonicalize(root.path("/sys/dev/block").join(number));
    // The device number of btrfs and others is not that of a block device.
    let directory = numbered.ok().or_else(|| {
        let source = mount.split_once(" - ")?.1.split(' ').nth(1)?;
        directory_of(root, source.strip_prefix("/dev/")?.as_ref())
    })?;
    Some(disk(&lowest(directory)))
}

fn directory_of(root: &Root, name: &OsStr) -> Option<PathBuf> {
    std::fs::canonicalize(root.path("/sys/class/block").join(name)).ok()
}

/// Follows mapped devices, as of dm-verity, to the device on which they are built.
fn lowest(mut directory: PathBuf) -> PathBuf {
    for _ in 0..MAX_LAYERS {
        let slaves = std::fs::read_dir(directory.join("slaves"));
        let slave = slaves.ok().and_then(|mut s| s.next()?.ok());
        let Some(below) = slave.and_then(|s| std::fs::canonicalize(s.path()).ok()) else {
            break;
        };
        directory = below;
    }
    directory
}

/// Returns the directory of the disk to which the device in `directory` belongs.
fn disk(directory: &Path) -> PathBuf {
    match directory.parent() {
        Some(parent) if directory.join("partition").exists() => parent.to_path_buf(),
        _ => directory.to_path_buf(),
    }
}

fn is_removable(disk: &Path) -> bool {
    let attribute = |name: &str| file::read_text(&disk.join(name), MAX_ATTRIBUTE_BYTES);
    let holds = |name: &str, value: &str| attribute(name).is_ok_and(|text| text.trim() == value);
    // USB disks report themselves as fixed, so their place on the bus decides.
    let usb = disk.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        let number = name.strip_prefix("usb");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    usb || holds("removable", "1") || holds("device/type", "SD")
}
