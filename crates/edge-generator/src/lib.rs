//! Replaces: the generator script for `/data/services`.
//! Reads: units in `/data/services`, public configuration in `/etc/edge-ai`.
//! Writes: links below its three argument folders; `activate`: copies on `/data`.
//! Runs when: by systemd at boot and reload; `activate` in `edge-data.service`.
//! Exits: 0 done (broken units are ignored with a message), 1 failed, 2 usage.

mod activate;
mod load;
mod plan;
mod unit;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use edge_common::{Root, file};

/// Where units of the device's owner lie.
const SERVICES: &str = "/data/services";

/// Lets units of /data/services run, if all that they start is edge-docker.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Exit codes: 0 done (a broken unit is ignored with a message in the kernel log),
1 failed, 2 wrong usage

systemd calls it with three folders, see systemd.generator(7)."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Folder for links of normal priority
    #[arg(required = true)]
    normal: Option<PathBuf>,
    /// Folder for links that override all others (unused)
    #[arg(required = true)]
    early: Option<PathBuf>,
    /// Folder for links that all others override (unused)
    #[arg(required = true)]
    late: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Second stage, once /data is mounted: copies the public configuration,
    /// reloads systemd and starts what /data/services asks for
    Activate,
}

/// Generates, or activates.
///
/// # Errors
/// The argument folders cannot be written; for `activate` see the message.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    match (&args.verb, &args.normal) {
        (Some(Verb::Activate), _) => activate::run(root),
        (None, Some(normal)) => generate(root, normal),
        (None, None) => Ok(()),
    }
}

fn generate(root: &Root, normal: &std::path::Path) -> Result<()> {
    let (units, refused) = load::units(root);
    let (links, unlinked) = plan::links(&units);
    for message in refused.iter().chain(&unlinked) {
        kernel_log(root, message);
    }
    for link in links {
        place(&normal.join(&link.name), &link.target)?;
    }
    Ok(())
}

/// Makes or replaces one link.
fn place(link: &std::path::Path, target: &std::path::Path) -> Result<()> {
    let folder = link.parent().context("a link without a folder")?;
    file::create_folder(folder, 0o755)?;
    if std::fs::read_link(link).is_ok_and(|old| old == target) {
        return Ok(());
    }
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(target, link).with_context(|| format!("linking {}", link.display()))
}

/// Generators run before the journal: their words go to the kernel's log.
fn kernel_log(root: &Root, message: &str) {
    use std::io::Write;
    let path = root.path("/dev/kmsg");
    let text = edge_common::log::printable(message);
    if let Ok(mut log) = std::fs::File::options().append(true).open(path) {
        let _ = log.write_all(format!("<4>edge-generator: {text}\n").as_bytes());
    }
}
