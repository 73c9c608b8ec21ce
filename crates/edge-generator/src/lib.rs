//! systemd generator for the units of `/data/services`, which start the device's apps.
//!
//! The generator reads the units, accepts those that start only edge-docker and cannot
//! delay the boot, and links them into the directory that systemd passes. A refused
//! unit is skipped with a message in the kernel log and does not affect the boot. It also
//! writes the memory limit of all apps together, as a drop-in of `edge-apps.slice`.
//! systemd runs generators before any mount, so `edge-data.service` runs
//! `edge-generator activate` once `/data` is mounted: this command copies the public
//! configuration, reloads systemd, which runs the generator again, and starts the
//! targets that want the units.

mod activate;
mod cycles;
mod environment;
mod graph;
mod image;
mod keys;
mod lines;
mod links;
mod load;
mod memory;
mod names;
mod plan;
mod refusals;
mod rewrite;
mod rules;
mod unit;
mod units;
mod values;
mod words;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use edge_common::{Root, boot};

use image::Image;
use refusals::Refusals;

/// systemd generator: links units of /data/services that start only edge-docker.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Exit codes: 0 done (a refused unit is ignored with a message in the kernel log),
1 failed, 2 wrong usage, 77 only root may write what is to be written

systemd passes the three directories, see systemd.generator(7).

Example: edge-generator /tmp/normal /tmp/early /tmp/late"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory for links of normal priority
    #[arg(required = true)]
    normal: Option<PathBuf>,
    /// Directory for links that override all others (unused)
    #[arg(required = true)]
    early: Option<PathBuf>,
    /// Directory for links that all others override (unused)
    #[arg(required = true)]
    late: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Copy the public configuration to /data, reload systemd, and start the units of
    /// /data/services; the second stage, once /data is mounted
    #[command(after_help = "Example: edge-generator activate")]
    Activate,
}

/// Runs the generator, or the command `activate`.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    match (&args.command, &args.normal) {
        (Some(Command::Activate), _) => {
            boot::recorded(root, "edge-generator", || activate::run(root))
        }
        (None, Some(normal)) => generate(root, normal),
        (None, None) => Ok(()),
    }
}

fn generate(root: &Root, normal: &Path) -> Result<()> {
    let mut refusals = Refusals::default();
    let image = Image::read(root);
    let mut units = load::units(root, &image, &mut refusals);
    plan::remove_refused(&mut units, &image, &mut refusals);
    let links = plan::links(&units, &image, &mut refusals);
    let files = units.values().flat_map(|unit| unit.written()).collect();
    let written = links::write(normal, &links, &files);
    drop(links);
    for note in refusals.take_notes() {
        kernel_log(root, &note);
    }
    let messages = refusals.into_messages();
    for message in &messages {
        kernel_log(root, message);
    }
    // The links count: without the file, the reasons are in the kernel log alone.
    if let Err(error) = refusals::write(normal, &messages) {
        kernel_log(root, &format!("{error:#}"));
    }
    // Not an error of the generator: the slice has a limit of its own.
    if let Err(error) = memory::write(root, normal) {
        kernel_log(root, &format!("limiting the memory of apps: {error:#}"));
    }
    written
}

/// Writes a warning to the kernel log, because the journal does not run yet.
fn kernel_log(root: &Root, message: &str) {
    use std::io::Write;
    let path = root.path("/dev/kmsg");
    let text = edge_common::log::printable(message);
    if let Ok(mut log) = File::options().append(true).open(path) {
        let _ = log.write_all(format!("<4>edge-generator: {text}\n").as_bytes());
    }
}
