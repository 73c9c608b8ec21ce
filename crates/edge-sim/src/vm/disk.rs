//! The disk: 16 partitions as on the board, the first with the root file
//! system, the last one empty.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};

use super::base::{APP_BYTES, Base};
use super::entry::{Entry, Kind};
use super::image_files::parents;
use crate::process::find;

const MIB: u64 = 1024 * 1024;
/// Size of each partition between the first and the last, in bytes.
const SMALL_BYTES: u64 = 4 * MIB;
/// Size of the data partition, in bytes; the file has holes.
const DATA_BYTES: u64 = 4096 * MIB;
/// Names of the partitions, in order, as NVIDIA's layout for Orin boards has
/// them, and the data partition behind them.
const NAMES: [&str; 16] = [
    "APP",
    "A_kernel",
    "A_kernel-dtb",
    "A_reserved_on_user",
    "B_kernel",
    "B_kernel-dtb",
    "B_reserved_on_user",
    "recovery",
    "recovery-dtb",
    "esp",
    "recovery_alt",
    "recovery-dtb_alt",
    "esp_alt",
    "UDA",
    "reserved",
    "DATA",
];

fn data_offset() -> u64 {
    MIB + APP_BYTES + 14 * SMALL_BYTES
}

/// Makes the disk, or renews its root file system: the data stay.
///
/// # Errors
/// A tool that fails, with its words.
pub fn make(path: &Path, base: &Base, entries: &[Entry]) -> Result<()> {
    if !path.exists() {
        partition(path)?;
    }
    punch(path, MIB, APP_BYTES)?;
    Root::system()
        .command("/bin/dd")
        .arg(format!("if={}", base.image.display()))
        .arg(format!("of={}", path.display()))
        .args(["bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"])
        .run()?;
    fill(path, entries)
}

fn partition(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(data_offset() + DATA_BYTES + MIB)
        .context("sizing the disk")?;
    let mut script = String::from("label: gpt\nfirst-lba: 2048\n");
    for (number, name) in NAMES.iter().enumerate() {
        let bytes = match number {
            0 => APP_BYTES,
            15 => DATA_BYTES,
            _ => SMALL_BYTES,
        };
        writeln!(script, "size={}, type=linux, name={name}", bytes / 512)?;
    }
    let mut child = Root::system()
        .command(find("sfdisk")?)
        .arg("--quiet")
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting sfdisk")?;
    let mut input = child.stdin.take().context("standard input")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    if !child.wait()?.success() {
        bail!("sfdisk did not partition {}", path.display());
    }
    Ok(())
}

/// Empties the data partition: as it leaves the factory.
///
/// # Errors
/// As `fallocate`.
pub fn reset(path: &Path) -> Result<()> {
    punch(path, data_offset(), DATA_BYTES)
}

fn punch(path: &Path, offset: u64, bytes: u64) -> Result<()> {
    Root::system()
        .command("/usr/bin/fallocate")
        .args(["--punch-hole", "--offset", &offset.to_string()])
        .args(["--length", &bytes.to_string()])
        .arg(path)
        .run()
}

/// Puts files into the root file system without mounting it.
fn fill(path: &Path, entries: &[Entry]) -> Result<()> {
    let work = tempfile::tempdir().context("making a directory")?;
    let mut script = String::new();
    for (number, entry) in entries.iter().enumerate() {
        for directory in parents(&entry.to) {
            writeln!(script, "mkdir {directory}")?;
        }
        writeln!(script, "rm {}", entry.to)?;
        let from = match &entry.kind {
            Kind::Link(target) => {
                writeln!(script, "symlink {} {target}", entry.to)?;
                continue;
            }
            Kind::File(from) => from.clone(),
            Kind::Bytes(bytes) => {
                let from = work.path().join(number.to_string());
                file::write(&from, bytes, 0o600)?;
                from
            }
        };
        writeln!(script, "write {} {}", from.display(), entry.to)?;
        writeln!(script, "sif {} mode 0100{:o}", entry.to, entry.mode)?;
        for field in ["uid", "gid"] {
            writeln!(script, "sif {} {field} {}", entry.to, entry.owner)?;
        }
    }
    let commands = work.path().join("commands");
    file::write(&commands, script.as_bytes(), 0o600)?;
    debugfs(path, &commands)
}

/// Runs debugfs, which ends with 0 whatever happened: its words decide.
fn debugfs(path: &Path, commands: &Path) -> Result<()> {
    let output = Root::system()
        .command(find("debugfs")?)
        .args(["-w", "-f"])
        .arg(commands)
        .arg(format!("{}?offset={MIB}", path.display()))
        .stdin(Stdio::null())
        .output()
        .context("starting debugfs")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // What is there already is made again, what is not is removed: no errors.
    let harmless = [
        "debugfs ",
        "rm: ",
        "mkdir: ",
        "ext2fs_mkdir: Ext2 directory already exists",
    ];
    let bad = said
        .lines()
        .find(|l| !l.trim().is_empty() && !harmless.iter().any(|h| l.starts_with(h)));
    match bad {
        Some(line) => bail!("debugfs: {line}"),
        None if !output.status.success() => bail!("debugfs: {}", output.status),
        None => Ok(()),
    }
}
