//! Replaces: the partition set-up script.
//! Reads: the data partition, through `blkid` and by itself.
//! Writes: an ext4 file system, label `data`, onto a partition that holds nothing.
//! Runs when: `edge-partition-setup.service`, before `data.mount`, at every boot.
//! Exits: 0 ready, 1 failed, 2 usage, 3 absent, 4 holds something else, 5 unreadable.

mod probe;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use edge_common::command::CommandExt;
use edge_common::exit::Failure;
use edge_common::{Root, log};

use probe::Content;

/// Partitions in the order in which they are looked for.
const DEVICES: [&str; 2] = ["/dev/disk/by-partlabel/DATA", "/dev/nvme0n1p16"];

/// Exit code: the device did not appear.
pub const ABSENT: u8 = 3;
/// Exit code: the device holds something that is not ours to overwrite.
pub const FOREIGN: u8 = 4;
/// Exit code: what the device holds could not be read.
pub const UNREADABLE: u8 = 5;

/// Makes the data partition ready: formats it as ext4, label `data`, if and only
/// if it holds nothing. Anything else that is found there is left as it is.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 ready, 1 failed, 2 wrong usage, 3 the device did not appear,
4 it holds something else (refused), 5 it could not be read (refused)

Example: edge-partition --device /dev/nvme0n1p16 --timeout 10"
)]
pub struct Args {
    /// Partition to make ready [default: GPT label DATA, else /dev/nvme0n1p16]
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
    /// How long to wait for the device to appear
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,
}

/// What is to be done with a partition.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Format,
    Keep,
    Refuse(String),
}

/// Waits for the partition, looks at it, and formats it or leaves it.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let asked = args.device.as_ref().map(|d| vec![d.clone()]);
    let candidates = asked.unwrap_or_else(|| DEVICES.iter().map(PathBuf::from).collect());
    let device = wait::first(root, &candidates, Duration::from_secs(args.timeout))?;
    let content = probe::content(root, &device).map_err(|e| Failure::wrap(UNREADABLE, e))?;
    match decide(&content) {
        Decision::Keep => Ok(()),
        Decision::Refuse(what) => Err(Failure::error(
            FOREIGN,
            format_args!(
                "{} holds {what}: not formatting it; if nobody needs that, clear it with \
                 `wipefs --all` and start again",
                device.display()
            ),
        )),
        Decision::Format => format(root, &device),
    }
}

/// The rule: only nothing is formatted, only ext4 is kept.
fn decide(content: &Content) -> Decision {
    match content {
        Content::Nothing => Decision::Format,
        Content::FileSystem(kind) if kind == "ext4" => Decision::Keep,
        Content::FileSystem(kind) => Decision::Refuse(kind.clone()),
        Content::Unknown(what) => Decision::Refuse(what.clone()),
    }
}

fn format(root: &Root, device: &std::path::Path) -> Result<()> {
    log::info(format_args!(
        "formatting {}: it holds nothing",
        device.display()
    ));
    root.command("/usr/sbin/mkfs.ext4")
        .args(["-q", "-L", "data", "-m", "1", "-E", "lazy_itable_init=1"])
        .arg(device)
        .run()?;
    log::info(format_args!("formatted {} as ext4", device.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nothing_is_formatted() {
        let file_system = |kind: &str| Content::FileSystem(kind.into());
        assert_eq!(decide(&Content::Nothing), Decision::Format);
        assert_eq!(decide(&file_system("ext4")), Decision::Keep);
        for other in ["ext3", "xfs", "vfat", "crypto_LUKS", "dos", ""] {
            assert!(matches!(decide(&file_system(other)), Decision::Refuse(_)));
        }
        assert!(matches!(
            decide(&Content::Unknown("data".into())),
            Decision::Refuse(_)
        ));
    }
}
