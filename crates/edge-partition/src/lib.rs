//! Replaces: the partition set-up script.
//! Reads: the data partition, through `blkid` and by itself.
//! Writes: an ext4 file system, label `data`, onto a partition that holds nothing.
//! Runs when: `edge-partition-setup.service`, before `data.mount`, at every boot.
//! Exits: 0 ready, 1 failed, 2 usage, 3 to 8: see `--help`.

mod ext4;
mod limit;
mod mark;
mod probe;
mod wait;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use edge_common::exit::Failure;
use edge_common::{Root, boot, file, log};

use probe::Content;

/// Partitions in the order in which they are looked for.
const DEVICES: [&str; 2] = ["/dev/disk/by-partlabel/DATA", "/dev/nvme0n1p16"];
/// Link to the partition that was made ready: what `data.mount` mounts.
const READY: &str = "/run/edge-ai/data-partition";

/// Exit code: the device did not appear.
pub const ABSENT: u8 = 3;
/// Exit code: the device holds something that is not ours to overwrite.
pub const FOREIGN: u8 = 4;
/// Exit code: what the device holds could not be read.
pub const UNREADABLE: u8 = 5;
/// Exit code: more than one partition is labelled `DATA`.
pub const AMBIGUOUS: u8 = 6;
/// Exit code: the file system is damaged and could not be repaired.
pub const DAMAGED: u8 = 7;
/// Exit code of `--check`: something is to be done.
pub const TO_DO: u8 = 8;

/// Makes the data partition ready: formats it as ext4, label `data`, if and only
/// if it holds nothing; else checks it, and grows it with its partition. Anything
/// else that is found there is left as it is.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 ready, 1 failed, 2 wrong usage, 3 the device did not appear,
4 it holds something else (refused), 5 it could not be read (refused),
6 two partitions are labelled DATA (refused), 7 damaged beyond repair,
8 with --check: not ready, something is to be done

Example: edge-partition --device /dev/nvme0n1p16 --timeout 10"
)]
pub struct Args {
    /// Partition to make ready [default: GPT label DATA, else /dev/nvme0n1p16]
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
    /// How long to wait for the device to appear
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,
    /// Only look, write nothing, and say what would be done
    #[arg(long)]
    check: bool,
}

/// What was found on a partition.
#[derive(Debug)]
struct Found {
    content: Content,
    /// A format has begun and not ended.
    marked: bool,
    superblock: Option<ext4::Superblock>,
    /// Size of the partition, in bytes.
    bytes: u64,
    /// Mounted, or held by somebody else.
    busy: bool,
}

/// What is to be done with a partition.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Format(&'static str),
    Keep,
    Check,
    Grow(u64),
    Refuse(u8, String),
}

/// Waits for the partition, looks at it, and makes it ready or leaves it.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    if args.check {
        let device = find(root, args)?;
        return say(&device, &decide(&look(root, &device)?));
    }
    if args.device.is_some() {
        // By hand: what became of the boot is another matter.
        return prepare(root, args);
    }
    boot::recorded(root, "edge-partition", || prepare(root, args))
}

fn prepare(root: &Root, args: &Args) -> Result<()> {
    let device = find(root, args)?;
    match decide(&look(root, &device)?) {
        Decision::Keep => {}
        Decision::Check => ext4::check(root, &device)?,
        Decision::Grow(bytes) => ext4::grow(root, &device, bytes)?,
        Decision::Refuse(code, why) => return Err(refusal(&device, code, &why)),
        Decision::Format(why) => format(root, &device, why)?,
    }
    link(root, args, &device)
}

fn find(root: &Root, args: &Args) -> Result<PathBuf> {
    let limit = Duration::from_secs(args.timeout);
    if let Some(device) = &args.device {
        return wait::first(root, std::slice::from_ref(device), limit);
    }
    let device = wait::first(root, &DEVICES.map(PathBuf::from), limit)?;
    wait::only_one(root)?;
    Ok(device)
}

fn look(root: &Root, device: &Path) -> Result<Found> {
    let found = || {
        Ok(Found {
            content: probe::content(root, device)?,
            marked: mark::is_set(device)?,
            superblock: ext4::superblock(device)?,
            bytes: ext4::size(device)?,
            busy: busy(device)?,
        })
    };
    found().map_err(|e| Failure::wrap(UNREADABLE, e))
}

/// A block device that is mounted, or part of something else, cannot be opened
/// exclusively; a file always can.
fn busy(device: &Path) -> Result<bool> {
    const O_EXCL: i32 = 0o200;
    let opened = File::options().read(true).custom_flags(O_EXCL).open(device);
    match opened {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(true),
        Err(error) => Err(error).with_context(|| format!("opening {}", device.display())),
    }
}

/// The rule: only what holds nothing of anybody is formatted, only ext4 is kept.
fn decide(found: &Found) -> Decision {
    // Interrupted by ourselves, and never mounted: nobody's data can be there.
    let ours = found.marked && !found.superblock.as_ref().is_some_and(|s| s.mounted);
    let half = "making its file system was interrupted";
    let decision = match &found.content {
        Content::Nothing => Decision::Format("it holds nothing"),
        Content::Unknown(_) if ours => Decision::Format(half),
        Content::FileSystem(kind) if ours && kind.starts_with("ext") => Decision::Format(half),
        Content::FileSystem(kind) if kind == "ext4" => keep(found),
        // No probe knows it, but it is ours: damaged, with copies to repair it from.
        Content::Unknown(_) if found.superblock.as_ref().is_some_and(|s| s.ours) => keep(found),
        Content::FileSystem(what) | Content::Unknown(what) => {
            Decision::Refuse(FOREIGN, format!("holds {what}"))
        }
    };
    match decision {
        Decision::Format(_) if found.busy => Decision::Refuse(FOREIGN, "is in use".into()),
        decision => decision,
    }
}

fn keep(found: &Found) -> Decision {
    if found.busy {
        return Decision::Keep;
    }
    let Some(superblock) = &found.superblock else {
        return Decision::Refuse(UNREADABLE, "has no superblock".into());
    };
    if superblock.bytes > found.bytes {
        return Decision::Refuse(
            DAMAGED,
            format!(
                "has {} bytes, its file system {}",
                found.bytes, superblock.bytes
            ),
        );
    }
    ext4::growth(superblock.bytes, found.bytes).map_or(Decision::Check, Decision::Grow)
}

fn refusal(device: &Path, code: u8, why: &str) -> anyhow::Error {
    let hint = if code == FOREIGN && why.starts_with("holds") {
        ": not formatting it; if nobody needs that, clear it with `wipefs --all` and \
         `blkdiscard`, and start again"
    } else {
        ": not touching it"
    };
    Failure::error(code, format_args!("{} {why}{hint}", device.display()))
}

fn format(root: &Root, device: &Path, why: &str) -> Result<()> {
    log::info(format_args!("formatting {}: {why}", device.display()));
    ext4::make(root, device)?;
    log::info(format_args!("formatted {} as ext4", device.display()));
    Ok(())
}

/// Leaves a link to the partition that was chosen, for `data.mount`.
fn link(root: &Root, args: &Args, device: &Path) -> Result<()> {
    if args.device.is_some() {
        return Ok(());
    }
    let link = root.path(READY);
    let context = || format!("linking {}", link.display());
    file::create_directory(link.parent().with_context(context)?, 0o755)?;
    let device = std::fs::canonicalize(device).with_context(context)?;
    if std::fs::read_link(&link).is_ok_and(|old| old == device) {
        return Ok(());
    }
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&device, &link).with_context(context)
}

/// Says what would be done.
fn say(device: &Path, decision: &Decision) -> Result<()> {
    let name = device.display();
    let words = match decision {
        Decision::Keep => {
            println!("{name}: ready, in use");
            return Ok(());
        }
        Decision::Check => {
            println!("{name}: ready");
            return Ok(());
        }
        Decision::Grow(bytes) => format!("{name}: would grow to {} MB", bytes / 1_000_000),
        Decision::Format(why) => format!("{name}: would be formatted: {why}"),
        Decision::Refuse(code, why) => return Err(refusal(device, *code, why)),
    };
    println!("{words}");
    Err(Failure::error(TO_DO, "not ready"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: Content) -> Found {
        Found {
            content,
            marked: false,
            superblock: None,
            bytes: 1 << 30,
            busy: false,
        }
    }

    fn file_system(kind: &str) -> Found {
        found(Content::FileSystem(kind.into()))
    }

    fn ext4(bytes: u64, mounted: bool) -> Found {
        Found {
            superblock: Some(ext4::Superblock {
                bytes,
                mounted,
                ours: true,
                clean: true,
            }),
            ..file_system("ext4")
        }
    }

    fn formats(found: &Found) -> bool {
        matches!(decide(found), Decision::Format(_))
    }

    #[test]
    fn only_nothing_is_formatted() {
        assert!(formats(&found(Content::Nothing)));
        assert_eq!(decide(&ext4(1 << 30, true)), Decision::Check);
        for other in ["ext3", "xfs", "vfat", "crypto_LUKS", "dos", "swap", ""] {
            let decision = decide(&file_system(other));
            assert!(matches!(decision, Decision::Refuse(FOREIGN, _)), "{other}");
        }
        let unknown = found(Content::Unknown("data".into()));
        assert!(matches!(decide(&unknown), Decision::Refuse(FOREIGN, _)));
    }

    #[test]
    fn half_made_is_made_again_only_if_it_never_held_data() {
        let marked = |found| Found {
            marked: true,
            ..found
        };
        assert!(formats(&marked(found(Content::Unknown("x".into())))));
        assert!(formats(&marked(ext4(1 << 30, false))));
        assert!(!formats(&marked(ext4(1 << 30, true))));
        assert!(!formats(&ext4(1 << 30, false)));
        for other in ["crypto_LUKS", "xfs", "signatures of several kinds"] {
            assert!(!formats(&marked(file_system(other))), "{other}");
        }
        let busy = Found {
            busy: true,
            ..found(Content::Nothing)
        };
        assert!(!formats(&busy));
    }

    #[test]
    fn a_damaged_one_of_ours_is_checked_and_one_of_others_refused() {
        let mut damaged = Found {
            content: Content::Unknown("x".into()),
            ..ext4(1 << 30, true)
        };
        assert_eq!(decide(&damaged), Decision::Check);
        if let Some(superblock) = &mut damaged.superblock {
            superblock.ours = false;
        }
        assert!(matches!(decide(&damaged), Decision::Refuse(FOREIGN, _)));
    }

    #[test]
    fn kept_grown_or_damaged() {
        let size = (1 << 30) - mark::RESERVED;
        assert_eq!(decide(&ext4(1 << 29, true)), Decision::Grow(size));
        assert_eq!(decide(&ext4(size, true)), Decision::Check);
        assert!(matches!(
            decide(&ext4(1 << 31, true)),
            Decision::Refuse(DAMAGED, _)
        ));
        let busy = Found {
            busy: true,
            ..ext4(1 << 29, true)
        };
        assert_eq!(decide(&busy), Decision::Keep);
    }
}
