//! Disk image of the test VM: 16 partitions as on the board. The first contains the
//! root file system, the last is the data partition.

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
use crate::host::find;

const MIB: u64 = 1024 * 1024;
/// Size of each partition between the first and the last, in bytes.
const SMALL_BYTES: u64 = 4 * MIB;
/// Size of the data partition, in bytes. The disk image is sparse.
const DATA_BYTES: u64 = 4096 * MIB;
/// Names of the partitions: those of NVIDIA's layout for Orin boards, then the data
/// partition.
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

/// Creates the disk image, or replaces the root file system in an existing one and
/// keeps the data partition.
pub(crate) fn write(path: &Path, base: &Base, entries: &[Entry]) -> Result<()> {
    if !path.exists() {
        partition(path)?;
    }
    punch_hole(path, MIB, APP_BYTES)?;
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

/// Empties the data partition of the disk image by punching a hole in the file.
pub(crate) fn reset(path: &Path) -> Result<()> {
    punch_hole(path, data_offset(), DATA_BYTES)
}

fn punch_hole(path: &Path, offset: u64, bytes: u64) -> Result<()> {
    Root::system()
        .command("/usr/bin/fallocate")
        .args(["--punch-hole", "--offset", &offset.to_string()])
        .args(["--length", &bytes.to_string()])
        .arg(path)
        .run()
}

/// Writes files and links to the root file system with debugfs, because mounting
/// the file system would need root.
fn fill(path: &Path, entries: &[Entry]) -> Result<()> {
    let work = tempfile::tempdir().context("creating a temporary directory")?;
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

/// Runs the debugfs commands in the file `commands` on the root file system of the
/// disk image `path`. debugfs exits with 0 even after an error, so its messages are
/// checked.
fn debugfs(path: &Path, commands: &Path) -> Result<()> {
    let output = Root::system()
        .command(find("debugfs")?)
        .args(["-w", "-f"])
        .arg(commands)
        .arg(format!("{}?offset={MIB}", path.display()))
        .stdin(Stdio::null())
        .output()
        .context("starting debugfs")?;
    let messages = String::from_utf8_lossy(&output.stderr);
    // A directory that exists already and a missing file to remove are not errors.
    let harmless = [
        "debugfs ",
        "rm: ",
        "mkdir: ",
        "ext2fs_mkdir: Ext2 directory already exists",
    ];
    let error = messages
        .lines()
        .find(|l| !l.trim().is_empty() && !harmless.iter().any(|h| l.starts_with(h)));
    match error {
        Some(line) => bail!("debugfs: {line}"),
        None if !output.status.success() => bail!("debugfs: {}", output.status),
        None => Ok(()),
    }
}
