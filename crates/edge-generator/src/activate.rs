//! The second stage: what can only be done once `/data` is mounted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::command::CommandExt;
use edge_common::{Root, boot, file, log};

use crate::{Refusals, load, plan, units};

/// Where the trust anchors lie that others may want to read on `/data`.
const ANCHORS: &str = "/etc/edge-ai/container-config";
/// Largest file that is copied, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Copies the public configuration, then lets systemd see `/data/services`.
///
/// # Errors
/// A copy or `systemctl` not working.
pub fn run(root: &Root) -> Result<()> {
    boot::save_early(root)?;
    copies(root, "/data/config/pki", |name| has_extension(name, "pub"))?;
    copies(root, "/data/config/ecr", |name| name == "ecr-url.txt")?;
    let mut refused = Refusals::default();
    let image = load::Image::read(root);
    let units = units(root, &image, &mut refused);
    let links = plan::links(&units, &image, &mut refused);
    let (any, targets) = (!links.is_empty(), plan::targets(&links));
    drop(links);
    for message in refused.all() {
        log::warn(format_args!("ignoring {message}"));
    }
    if !any {
        return Ok(());
    }
    root.command("/usr/bin/systemctl")
        .arg("daemon-reload")
        .run()?;
    if targets.is_empty() {
        return Ok(());
    }
    root.command("/usr/bin/systemctl")
        .args(["--no-block", "start"])
        .args(targets)
        .run()
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// Keeps the files of `directory` equal to the anchors that `wanted` names.
fn copies(root: &Root, directory: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let target = root.path(directory);
    let names = names(&root.path(ANCHORS))?
        .into_iter()
        .filter(|n| wanted(n));
    let names: BTreeSet<_> = names.collect();
    file::create_directory(&target, 0o755)?;
    for name in &names {
        let content = file::read(&root.path(ANCHORS).join(name), LARGEST)?;
        if file::ensure(&target.join(name), &content, 0o644)? {
            log::info(format_args!("copied {name} to {directory}"));
        }
    }
    for stale in self::names(&target)?.difference(&names) {
        fs::remove_file(target.join(stale))
            .with_context(|| format!("removing {directory}/{stale}"))?;
        log::info(format_args!(
            "removed {directory}/{stale}: the image has no such file"
        ));
    }
    Ok(())
}

fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let context = || format!("reading {}", directory.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        names.insert(
            entry
                .with_context(context)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    Ok(names)
}
