//! Preparation of the data partition, which `data.mount` mounts at `/data`.
//!
//! edge-partition waits for the partition with the GPT label `DATA`, examines it with
//! `blkid` and by reading samples, and formats it as ext4 with the label `data` if it
//! is empty. An existing ext4 file system is checked, repaired and grown to the size of
//! the partition; other content is refused and left unchanged.
//! `edge-partition-setup.service` runs the program at every boot. The program creates
//! `/run/edge-ai/data-partition`, a link to the chosen partition, for `data.mount`.

mod decision;
mod device;
mod disks;
pub mod exit_code;
mod ext4;
mod format_marker;
mod probe;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use edge_common::exit::{Failure, denied};
use edge_common::{Root, boot, file, log};

use decision::{Decision, Findings, decide, refusal};

/// Symbolic link to the chosen partition. `data.mount` uses the link instead of the
/// label `DATA`, because a USB stick may have the same one.
const READY_LINK: &str = "/run/edge-ai/data-partition";

/// Prepares the data partition: formats, checks or grows its file system.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
A partition that holds nothing is formatted as ext4, label data. An ext4 file
system is checked, repaired, and grown with its partition. Anything else that is
found is left as it is.

Exit codes: 0 ready, 1 failed, 2 wrong usage, 3 the device did not appear,
4 it holds something else (refused), 5 it could not be read (refused),
6 several partitions of equal rank are labelled DATA (refused),
7 damaged beyond repair,
8 with --check: not ready, something is to be done,
9 a repair would lose files (refused, nothing was changed),
10 it has features of a newer version (refused),
77 only root may read the device: nothing is known about it

Example: edge-partition --check --device /dev/disk/by-partlabel/DATA"
)]
pub struct Args {
    /// Partition to prepare [default: GPT label DATA, on the disk of the root file
    /// system first, never on a removable disk]
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    device: Option<PathBuf>,
    /// Time to wait for the device to appear
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,
    /// Print what would be done and write nothing
    #[arg(long)]
    check: bool,
}

/// Parses `--device`: waiting for a relative path would end in "did not appear", and in
/// `sda` a device of `/dev` is meant.
fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        return Ok(text.into());
    }
    let name = text.rsplit('/').find(|part| !part.is_empty());
    let name = name.unwrap_or("disk/by-partlabel/DATA");
    Err(format!(
        "a relative path: write the whole path, for example /dev/{name}"
    ))
}

/// Prepares the data partition, or with `--check` reports the action that is needed.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    if args.check {
        let device = find(root, args)?;
        return report(&device, &decide(&examine(root, &device)?));
    }
    if args.device.is_some() {
        // A manual run with `--device` is not recorded, because it must not replace the
        // result of the boot step in the shadow.
        return prepare(root, args);
    }
    boot::recorded(root, "edge-partition", || prepare(root, args))
}

fn prepare(root: &Root, args: &Args) -> Result<()> {
    let device = find(root, args)?;
    match decide(&examine(root, &device)?) {
        Decision::Keep => {}
        Decision::KeepUnchecked(reason) => log::warn(format_args!(
            "using {} without a check: {reason}",
            device.display()
        )),
        Decision::Check => ext4::check(root, &device, false)?,
        Decision::Grow(bytes) => ext4::grow(root, &device, bytes)?,
        Decision::Refuse(code, reason) => return Err(refusal(&device, code, &reason)),
        Decision::Format(reason) => format(root, &device, reason)?,
    }
    link(root, args, &device)
}

fn find(root: &Root, args: &Args) -> Result<PathBuf> {
    let limit = Duration::from_secs(args.timeout);
    if let Some(device) = &args.device {
        return device::wait_for(root, device, limit);
    }
    device::find(root, limit)
}

fn examine(root: &Root, device: &Path) -> Result<Findings> {
    let findings = || {
        // Before blkid, whose message for a device that it may not open is one of many.
        File::open(device).with_context(|| format!("opening {}", device.display()))?;
        let content = probe::content(root, device)?;
        let first = ext4::superblock(device)?;
        let (superblock, copied) = match first {
            Some(first) if first.geometry.is_some() => (Some(first), false),
            first => match ext4::copies(device)?.into_iter().next() {
                Some(copy) => (Some(copy.superblock), true),
                None => (first, false),
            },
        };
        Ok(Findings {
            files: copied && ext4::files_by_copies(device)?.sound > 0,
            content,
            marked: format_marker::is_set(device)?,
            superblock,
            copied,
            bytes: ext4::size(device)?,
            busy: busy(device)?,
        })
    };
    // A read error has its own exit code and is never treated as an empty partition.
    findings().map_err(|e| Failure::wrap(exit_code::UNREADABLE, denied(e)))
}

/// Returns whether a block device is mounted or in exclusive use, for example by device
/// mapper.
fn busy(device: &Path) -> Result<bool> {
    // The kernel rejects O_EXCL for such a device with EBUSY; for a regular file the
    // flag has no effect.
    const O_EXCL: i32 = 0o200;
    let opened = File::options().read(true).custom_flags(O_EXCL).open(device);
    match opened {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(true),
        Err(error) => Err(error).with_context(|| format!("opening {}", device.display())),
    }
}

fn format(root: &Root, device: &Path, reason: &str) -> Result<()> {
    log::info(format_args!("formatting {}: {reason}", device.display()));
    ext4::make(root, device)?;
    log::info(format_args!("formatted {} as ext4", device.display()));
    Ok(())
}

/// Creates [`READY_LINK`] to the chosen partition, except in a manual run with
/// `--device`.
fn link(root: &Root, args: &Args, device: &Path) -> Result<()> {
    if args.device.is_some() {
        return Ok(());
    }
    let link = root.path(READY_LINK);
    let context = || format!("linking {}", link.display());
    file::create_directory(link.parent().with_context(context)?, 0o755)?;
    let device = std::fs::canonicalize(device).with_context(context)?;
    if std::fs::read_link(&link).is_ok_and(|old| old == device) {
        return Ok(());
    }
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&device, &link).with_context(context)
}

/// Prints the action that a run without `--check` would perform, and fails unless the
/// partition is ready.
fn report(device: &Path, decision: &Decision) -> Result<()> {
    let name = device.display();
    let action = match decision {
        Decision::Keep => {
            println!("{name}: ready, in use");
            return Ok(());
        }
        Decision::KeepUnchecked(reason) => {
            println!("{name}: ready, without a check: {reason}");
            return Ok(());
        }
        Decision::Check => {
            println!("{name}: ready");
            return Ok(());
        }
        Decision::Grow(bytes) => format!("would grow to {} MB", bytes / 1_000_000),
        Decision::Format(reason) => format!("would be formatted: {reason}"),
        Decision::Refuse(code, reason) => return Err(refusal(device, *code, reason)),
    };
    println!("{name}: {action}");
    Err(Failure::error(exit_code::NOT_READY, "not ready"))
}
