//! Observation of a boot: slot of the root file system, identifier, and the cause of the
//! last restart.

use anyhow::{Context, Result};
use edge_common::{Root, boot, file};

use crate::backend::Backend;
use crate::decide::Observed;
use crate::slot::Slot;
use crate::variables::Variables;

/// Size limit of a file of procfs or sysfs, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Bit of a watchdog's `bootstatus`: it has reset the board (`WDIOF_CARDRESET`).
const RESET_BY_WATCHDOG: u32 = 0x20;

/// Observes the running boot.
///
/// # Errors
/// The root file system is on no slot, or the firmware's variables cannot be read.
pub fn observe(root: &Root, backend: &impl Backend) -> Result<Observed> {
    let name = root_partition(root).context("the root file system is on no named partition")?;
    let slot = Slot::from_partition(&name)
        .with_context(|| format!("the root file system is on {name}, not on APP or APP_b"))?;
    Ok(Observed {
        root: slot,
        boot_id: boot::id(root),
        watchdog: reset_by_watchdog(root),
        variables: Variables::read(backend)?,
    })
}

fn text(root: &Root, path: &str) -> Option<String> {
    file::read_text(&root.path(path), MAX_BYTES).ok()
}

/// Returns number and place of all mounts, from `mountinfo`.
fn mounts(root: &Root) -> Vec<(String, String)> {
    let text = text(root, "/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?.to_string();
        Some((device, fields.nth(1)?.to_string()))
    };
    text.lines().filter_map(mount).collect()
}

/// Returns the device numbers, `MAJOR:MINOR`, of everything that is mounted.
pub fn mounted_devices(root: &Root) -> Vec<String> {
    mounts(root).into_iter().map(|(device, _)| device).collect()
}

/// Returns the kernel's name of the device of the root file system.
fn root_device(root: &Root) -> Option<String> {
    let mounts = mounts(root);
    // The last mount at a place is the one that is seen.
    let (number, _) = mounts.iter().rev().find(|(_, place)| place == "/")?;
    let event = text(root, &format!("/sys/dev/block/{number}/uevent"))?;
    let name = event.lines().find_map(|l| l.strip_prefix("DEVNAME="))?;
    Some(name.to_string())
}

fn root_partition(root: &Root) -> Option<String> {
    let device = root_device(root)?;
    let event = text(root, &format!("/sys/class/block/{device}/uevent"))?;
    let name = event.lines().find_map(|l| l.strip_prefix("PARTNAME="))?;
    Some(name.to_string())
}

/// Returns the kernel's name of the disk of the root file system.
pub fn root_disk(root: &Root) -> Option<String> {
    disk_of(root, &root_device(root)?)
}

/// Returns the kernel's name of the disk of a partition.
pub fn disk_of(root: &Root, device: &str) -> Option<String> {
    // A link to the partition's directory, which is in that of its disk.
    let link = std::fs::read_link(root.path("/sys/class/block").join(device)).ok()?;
    let disk = link.parent()?.file_name()?;
    Some(disk.to_string_lossy().into_owned())
}

fn reset_by_watchdog(root: &Root) -> bool {
    let status = text(root, "/sys/class/watchdog/watchdog0/bootstatus");
    let status = status.and_then(|t| t.trim().parse::<u32>().ok());
    status.is_some_and(|s| s & RESET_BY_WATCHDOG != 0)
}
