//! Replaces: the generator script for `/data/services`.
//! Reads: units in `/data/services`, public configuration in `/etc/edge-ai`.
//! Writes: links below its three argument directories; `activate`: copies on `/data`.
//! Runs when: by systemd at boot and reload; `activate` in `edge-data.service`.
//! Exits: 0 done (broken units are ignored with a message), 1 failed, 2 usage.

mod activate;
mod cycles;
mod load;
mod plan;
mod rules;
mod unit;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use edge_common::{Root, boot, file};
use rustix::fs::{AtFlags, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

/// Where units of the device's owner lie.
const SERVICES: &str = "/data/services";
/// Most messages of one run.
const MESSAGES: usize = 200;

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

systemd calls it with three directories, see systemd.generator(7).

Example: edge-generator /tmp/normal /tmp/early /tmp/late"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
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
enum Verb {
    /// Second stage, once /data is mounted: copies the public configuration,
    /// reloads systemd and starts what /data/services asks for
    #[command(after_help = "Example: edge-generator activate")]
    Activate,
}

/// Generates, or activates.
///
/// # Errors
/// The argument directories cannot be written; for `activate` see the message.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    match (&args.verb, &args.normal) {
        (Some(Verb::Activate), _) => boot::recorded(root, "edge-generator", || activate::run(root)),
        (None, Some(normal)) => generate(root, normal),
        (None, None) => Ok(()),
    }
}

fn generate(root: &Root, normal: &Path) -> Result<()> {
    let mut refused = Refusals::default();
    let image = load::Image::read(root);
    let units = units(root, &image, &mut refused);
    let links = plan::links(&units, &image, &mut refused);
    let made = place_all(normal, &links);
    drop(links);
    for message in refused.all() {
        kernel_log(root, &message);
    }
    made
}

/// The units that hold; what is refused is told.
fn units(root: &Root, image: &load::Image, refused: &mut Refusals) -> plan::Units {
    let mut units = load::units(root, image, refused);
    plan::judge(&mut units, image, refused);
    units
}

fn place_all(normal: &Path, links: &plan::Links) -> Result<()> {
    let mut directories = HashMap::new();
    for (link, file) in links {
        let (directory, name) = link.rsplit_once('/').unwrap_or(("", link));
        if !directories.contains_key(directory) {
            let path = normal.join(directory);
            file::create_directory(&path, 0o755)?;
            let opened = File::open(&path);
            directories.insert(
                directory,
                opened.with_context(|| format!("opening {directory}"))?,
            );
        }
        let target = format!("{SERVICES}/{file}");
        place(&directories[directory], name, &target).with_context(|| format!("linking {link}"))?;
    }
    Ok(())
}

/// Messages about what is not done, a bounded number of them.
#[derive(Default)]
struct Refusals {
    messages: Vec<String>,
    more: usize,
}

impl Refusals {
    fn tell(&mut self, message: String) {
        if self.messages.len() < MESSAGES {
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }

    fn all(self) -> Vec<String> {
        let mut messages = self.messages;
        if self.more > 0 {
            messages.push(format!("{} more messages are left out", self.more));
        }
        messages
    }
}

/// Makes or replaces one link.
fn place(directory: &File, name: &str, target: &str) -> Result<(), Errno> {
    match symlinkat(target, directory, name) {
        Err(Errno::EXIST) => {}
        made => return made,
    }
    if readlinkat(directory, name, Vec::new()).is_ok_and(|old| old.to_bytes() == target.as_bytes())
    {
        return Ok(());
    }
    unlinkat(directory, name, AtFlags::empty())?;
    symlinkat(target, directory, name)
}

/// Generators run before the journal: their words go to the kernel's log.
fn kernel_log(root: &Root, message: &str) {
    use std::io::Write;
    let path = root.path("/dev/kmsg");
    let text = edge_common::log::printable(message);
    if let Ok(mut log) = File::options().append(true).open(path) {
        let _ = log.write_all(format!("<4>edge-generator: {text}\n").as_bytes());
    }
}
