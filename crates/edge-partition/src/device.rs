//! Waiting for the block device of the data partition, with inotify on the parent
//! directories of its path, because udev creates these directories one by one.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::exit::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::exit_code::{AMBIGUOUS, DEVICE_ABSENT};

/// Time during which only the first candidate is accepted: udev creates the link by
/// partition label later than the device node.
const HEAD_START: Duration = Duration::from_secs(1);

/// Waits at most `limit` until one of `candidates` exists, and returns the first
/// existing one in their order.
pub(crate) fn wait_for_first(
    root: &Root,
    candidates: &[PathBuf],
    limit: Duration,
) -> Result<PathBuf> {
    let paths: Vec<_> = candidates.iter().map(|c| root.path(c)).collect();
    let end = Instant::now() + limit;
    let prefer_until = Instant::now() + limit.min(HEAD_START);
    loop {
        // The watch is created before the check, so that a device that appears in
        // between causes an event.
        let watch = watch(&paths)?;
        let considered = if Instant::now() < prefer_until {
            1
        } else {
            paths.len()
        };
        if let Some(found) = paths.iter().take(considered).find(|p| p.exists()) {
            return Ok(found.clone());
        }
        let until = if considered == 1 { prefer_until } else { end };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && considered == paths.len() && Instant::now() >= end {
            return Err(absent(candidates, limit));
        }
        wait(&watch, left)?;
    }
}

/// Fails if several partitions are labelled `DATA`: udev's link points to any one of
/// them, and the wrong one could be formatted.
pub(crate) fn refuse_ambiguous_label(root: &Root) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(root.path("/sys/class/block")) else {
        return Ok(());
    };
    let labelled = entries.flatten().filter(|entry| {
        let text = std::fs::read_to_string(entry.path().join("uevent"));
        text.is_ok_and(|t| t.lines().any(|l| l == "PARTNAME=DATA"))
    });
    let mut names: Vec<_> = labelled
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.len() < 2 {
        return Ok(());
    }
    Err(Failure::error(
        AMBIGUOUS,
        format_args!(
            "several partitions are labelled DATA, {}: detach one or pass --device",
            names.join(" and ")
        ),
    ))
}

fn absent(candidates: &[PathBuf], limit: Duration) -> anyhow::Error {
    let names: Vec<_> = candidates.iter().map(|c| c.display().to_string()).collect();
    Failure::error(
        DEVICE_ABSENT,
        format_args!(
            "{} did not appear within {} s",
            names.join(" or "),
            limit.as_secs()
        ),
    )
}

/// Returns an inotify instance that watches the deepest existing parent directory of
/// each path.
fn watch(paths: &[PathBuf]) -> Result<rustix::fd::OwnedFd> {
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

    fn candidates() -> [PathBuf; 2] {
        [
            PathBuf::from("/dev/disk/by-partlabel/DATA"),
            PathBuf::from("/dev/p16"),
        ]
    }

    #[test]
    fn an_absent_device_has_an_exit_code_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let error = wait_for_first(&root, &candidates(), Duration::ZERO).unwrap_err();
        assert_eq!(edge_common::exit::code_of(&error), DEVICE_ABSENT);
        assert!(
            error
                .to_string()
                .contains("DATA or /dev/p16 did not appear within 0 s")
        );
    }

    #[test]
    fn a_late_device_is_found_although_its_directories_are_late_too() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let device = root.path("/dev/disk/by-partlabel/DATA");
        let later = std::thread::spawn({
            let device = device.clone();
            move || {
                std::fs::create_dir_all(device.parent().unwrap()).unwrap();
                std::fs::File::create(device).unwrap();
            }
        });
        assert_eq!(
            wait_for_first(&root, &candidates(), Duration::from_secs(20)).unwrap(),
            device
        );
        later.join().unwrap();
    }

    #[test]
    fn several_partitions_with_the_label_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        refuse_ambiguous_label(&root).unwrap();
        for (name, label) in [
            ("nvme0n1p1", "APP"),
            ("nvme0n1p16", "DATA"),
            ("sda1", "DATA"),
        ] {
            refuse_ambiguous_label(&root).unwrap();
            let device = root.path("/sys/class/block").join(name);
            std::fs::create_dir_all(&device).unwrap();
            let text = format!("DEVNAME={name}\nPARTN=1\nPARTNAME={label}\n");
            edge_common::file::write(&device.join("uevent"), text.as_bytes(), 0o600).unwrap();
        }
        let error = refuse_ambiguous_label(&root).unwrap_err();
        assert_eq!(edge_common::exit::code_of(&error), AMBIGUOUS);
        assert!(error.to_string().contains("nvme0n1p16 and sda1"));
    }

    #[test]
    fn the_fallback_is_used_without_the_label() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        std::fs::create_dir_all(root.path("/dev")).unwrap();
        std::fs::File::create(root.path("/dev/p16")).unwrap();
        let found = wait_for_first(&root, &candidates(), Duration::from_secs(20)).unwrap();
        assert_eq!(found, root.path("/dev/p16"));
    }
}
