//! Waiting for a device by event: inotify on the directories on the way to it.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::exit::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::{ABSENT, AMBIGUOUS};

/// The first of `candidates` that exists, waiting at most `limit`. As long as
/// time is left an earlier one is given a second's start over a later one.
///
/// # Errors
/// None appeared: exit code 3.
pub fn first(root: &Root, candidates: &[PathBuf], limit: Duration) -> Result<PathBuf> {
    let paths: Vec<_> = candidates.iter().map(|c| root.path(c)).collect();
    let end = Instant::now() + limit;
    let prefer_until = Instant::now() + limit.min(Duration::from_secs(1));
    loop {
        // Watches first: what appears between look and wait is then an event.
        let watch = watch(&paths)?;
        let choice = if Instant::now() < prefer_until {
            1
        } else {
            paths.len()
        };
        if let Some(found) = paths.iter().take(choice).find(|p| p.exists()) {
            return Ok(found.clone());
        }
        let until = if choice == 1 { prefer_until } else { end };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && choice == paths.len() && Instant::now() >= end {
            return Err(absent(candidates, limit));
        }
        wait(&watch, left)?;
    }
}

/// Refuses two partitions labelled `DATA`: the link by label leads to either.
///
/// # Errors
/// There are two: exit code 6.
pub fn only_one(root: &Root) -> Result<()> {
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
            "{} are all labelled DATA: take one away, or name one with --device",
            names.join(" and ")
        ),
    ))
}

fn absent(candidates: &[PathBuf], limit: Duration) -> anyhow::Error {
    let names: Vec<_> = candidates.iter().map(|c| c.display().to_string()).collect();
    Failure::error(
        ABSENT,
        format_args!(
            "{} did not appear within {} s",
            names.join(" or "),
            limit.as_secs()
        ),
    )
}

/// Watches the deepest existing directory above each path.
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

/// Waits for one event or for `left` to pass.
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

    fn both() -> [PathBuf; 2] {
        [
            PathBuf::from("/dev/disk/by-partlabel/DATA"),
            PathBuf::from("/dev/p16"),
        ]
    }

    #[test]
    fn an_absent_device_is_a_failure_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let error = first(&Root::at(directory.path()), &both(), Duration::ZERO).unwrap_err();
        assert_eq!(edge_common::exit::code_of(&error), ABSENT);
        assert!(
            error
                .to_string()
                .contains("DATA or /dev/p16 did not appear within 0 s")
        );
    }

    #[test]
    fn a_late_device_is_seen_through_directories_that_come_first() {
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
            first(&root, &both(), Duration::from_secs(20)).unwrap(),
            device
        );
        later.join().unwrap();
    }

    #[test]
    fn two_partitions_of_one_label_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        only_one(&root).unwrap();
        for (name, label) in [
            ("nvme0n1p1", "APP"),
            ("nvme0n1p16", "DATA"),
            ("sda1", "DATA"),
        ] {
            only_one(&root).unwrap();
            let place = root.path("/sys/class/block").join(name);
            std::fs::create_dir_all(&place).unwrap();
            let text = format!("DEVNAME={name}\nPARTN=1\nPARTNAME={label}\n");
            edge_common::file::write(&place.join("uevent"), text.as_bytes(), 0o600).unwrap();
        }
        let error = only_one(&root).unwrap_err();
        assert_eq!(edge_common::exit::code_of(&error), AMBIGUOUS);
        assert!(error.to_string().contains("nvme0n1p16 and sda1"));
    }

    #[test]
    fn the_fallback_is_taken_when_the_label_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        std::fs::create_dir_all(root.path("/dev")).unwrap();
        std::fs::File::create(root.path("/dev/p16")).unwrap();
        let found = first(&root, &both(), Duration::from_secs(20)).unwrap();
        assert_eq!(found, root.path("/dev/p16"));
    }
}
