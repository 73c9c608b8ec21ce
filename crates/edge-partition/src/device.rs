//! Choice of the data partition, and waiting for its device node, with inotify on the
//! parent directories of its path, because udev creates these directories one by one.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::{Root, log};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::disks::{self, LABEL, Labelled};
use crate::exit_code::{AMBIGUOUS, DEVICE_ABSENT};

/// Link that udev creates to a partition with the GPT name `DATA`.
const LABEL_LINK: &str = "/dev/disk/by-partlabel/DATA";
/// Time during which only a partition on the disk of the root file system is accepted,
/// so that the order in which the disks appear does not decide.
const HEAD_START: Duration = Duration::from_secs(1);

/// Waits at most `limit` for the device node of the data partition.
pub(crate) fn find(root: &Root, limit: Duration) -> Result<PathBuf> {
    let start = Instant::now();
    let link = root.path(LABEL_LINK);
    let mut shown = Vec::new();
    loop {
        // The watch is created before the check, so that a device that appears in
        // between causes an event.
        let watch = watch(&[&link, &root.path("/dev/x")])?;
        let labelled = disks::labelled(root);
        warn_removable(&labelled, &mut shown);
        let settled = start.elapsed() >= HEAD_START.min(limit);
        let chosen = choose(
            &labelled,
            disks::of_root_file_system(root).as_deref(),
            settled,
        )?;
        let node = chosen.map(|name| root.path("/dev").join(name));
        // Devices without a partition of the kernel's have the link alone.
        let node = node.or_else(|| labelled.is_empty().then(|| link.clone()));
        if let Some(node) = node.filter(|n| n.exists() && !disks::is_on_removable_disk(root, n)) {
            return Ok(node);
        }
        let end = if settled { limit } else { HEAD_START };
        let left = end.saturating_sub(start.elapsed());
        if left.is_zero() && settled {
            return Err(absent(&labelled, limit));
        }
        wait(&watch, left)?;
    }
}

/// Waits at most `limit` until `device` exists.
pub(crate) fn wait_for(root: &Root, device: &Path, limit: Duration) -> Result<PathBuf> {
    let path = root.path(device);
    let start = Instant::now();
    loop {
        let watch = watch(&[&path])?;
        if path.exists() {
            return Ok(path);
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            let seconds = limit.as_secs();
            let text = format!("{} did not appear within {seconds} s", device.display());
            return Err(Failure::error(DEVICE_ABSENT, text));
        }
        wait(&watch, left)?;
    }
}

/// Returns the name of the partition that becomes `/data`, or `None` if it has not
/// appeared. The disk of the root file system comes first; on another disk a partition
/// is accepted only if it is the only one. A disk that can be unplugged is never used,
/// because it belongs to somebody else.
fn choose(
    labelled: &[Labelled],
    root_disk: Option<&Path>,
    settled: bool,
) -> Result<Option<String>> {
    let fixed: Vec<_> = labelled.iter().filter(|l| !l.removable).collect();
    let own = fixed.iter().filter(|l| Some(l.disk.as_path()) == root_disk);
    let own: Vec<_> = own.copied().collect();
    let candidates = match own.is_empty() {
        false => own,
        true if settled => fixed,
        true => return Ok(None),
    };
    match candidates.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.name.clone())),
        several => Err(ambiguous(several)),
    }
}

fn ambiguous(several: &[&Labelled]) -> anyhow::Error {
    let names: Vec<_> = several.iter().map(|l| l.name.as_str()).collect();
    Failure::error(
        AMBIGUOUS,
        format_args!(
            "several partitions are labelled {LABEL}, {}: detach one or pass --device",
            names.join(" and ")
        ),
    )
}

/// Logs each partition once that is not used because its disk can be unplugged.
fn warn_removable(labelled: &[Labelled], shown: &mut Vec<String>) {
    for partition in labelled.iter().filter(|l| l.removable) {
        if !shown.contains(&partition.name) {
            log::warn(format_args!(
                "not using {}, labelled {LABEL}: its disk is removable",
                partition.name
            ));
            shown.push(partition.name.clone());
        }
    }
}

fn absent(labelled: &[Labelled], limit: Duration) -> anyhow::Error {
    let removable = labelled.iter().filter(|l| l.removable);
    let names: Vec<_> = removable.map(|l| l.name.as_str()).collect();
    let rest = if names.is_empty() {
        String::new()
    } else {
        format!(
            "; {} is on a removable disk and never used",
            names.join(" and ")
        )
    };
    let seconds = limit.as_secs();
    let text = format!("no partition labelled {LABEL} appeared within {seconds} s{rest}");
    Failure::error(DEVICE_ABSENT, text)
}

/// Returns an inotify instance that watches the deepest existing parent directory of
/// each path.
fn watch(paths: &[&Path]) -> Result<rustix::fd::OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = inotify::init(flags).context("creating an inotify instance")?;
    for path in paths {
        let directory = path.ancestors().skip(1).find(|a| a.is_dir());
        let directory = directory.unwrap_or(Path::new("/"));
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, directory, events)
            .with_context(|| format!("watching {}", directory.display()))?;
    }
    Ok(watch)
}

/// Waits until an event occurs or the time `left` has passed, and discards pending
/// events.
fn wait(watch: &impl AsFd, left: Duration) -> Result<()> {
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("waiting for the device"),
    }
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    while events.next().is_ok() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, disk: &str, removable: bool) -> Labelled {
        Labelled {
            name: name.into(),
            disk: disk.into(),
            removable,
        }
    }

    #[test]
    fn the_disk_of_the_root_file_system_comes_first() {
        let own = partition("nvme0n1p16", "/sys/nvme0n1", false);
        let other = partition("nvme1n1p1", "/sys/nvme1n1", false);
        let stick = partition("sda1", "/sys/sda", true);
        let root_disk = Some(Path::new("/sys/nvme0n1"));
        let all = [own.clone(), other.clone(), stick.clone()];
        for settled in [false, true] {
            let chosen = choose(&all, root_disk, settled).unwrap();
            assert_eq!(chosen.as_deref(), Some("nvme0n1p16"));
        }
        let others = [other.clone(), stick.clone()];
        assert_eq!(choose(&others, root_disk, false).unwrap(), None);
        let chosen = choose(&others, root_disk, true).unwrap();
        assert_eq!(chosen.as_deref(), Some("nvme1n1p1"));
        assert_eq!(choose(&[stick], root_disk, true).unwrap(), None);
        assert_eq!(choose(&[], None, true).unwrap(), None);
    }

    #[test]
    fn two_partitions_of_equal_rank_are_refused() {
        let one = partition("nvme0n1p16", "/sys/nvme0n1", false);
        let two = partition("nvme0n1p17", "/sys/nvme0n1", false);
        for root_disk in [Some(Path::new("/sys/nvme0n1")), None] {
            let error = choose(&[one.clone(), two.clone()], root_disk, true).unwrap_err();
            assert_eq!(edge_common::exit::code_of(&error), AMBIGUOUS);
            assert!(error.to_string().contains("nvme0n1p16 and nvme0n1p17"));
        }
    }

    #[test]
    fn a_late_device_is_found_although_its_directories_are_late_too() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let device = root.path(LABEL_LINK);
        let later = std::thread::spawn({
            let device = device.clone();
            move || {
                std::fs::create_dir_all(device.parent().unwrap()).unwrap();
                std::fs::File::create(device).unwrap();
            }
        });
        assert_eq!(find(&root, Duration::from_secs(20)).unwrap(), device);
        later.join().unwrap();
    }
}
