//! Command `activate`, the second stage after `/data` is mounted: it copies the public
//! configuration to `/data` and reloads systemd. Without the reload no unit of
//! `/data/services` would start at boot, because generators first run before any mount.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt;
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::{CONTAINER_CONFIG, REPOSITORY};
use edge_common::{Root, boot, exit, file, log};

use crate::image::Image;
use crate::refusals::Refusals;
use crate::{load, plan};

/// Copies the public keys and the repository URL of the device image to `/data/config`.
/// If `/data/services` has accepted units, reloads systemd and starts the boot targets that
/// want or require them. Each step is tried even if another fails, because a full `/data`
/// must not keep the units of `/data/services` from being started.
///
/// # Errors
/// A step failed; the error names all that did.
pub(crate) fn run(root: &Root) -> Result<()> {
    let is_repository = |name: &str| REPOSITORY.rsplit('/').next() == Some(name);
    let mut failures = Vec::new();
    failures.extend(boot::save_early(root).err());
    copy_anchors(
        root,
        "/data/config/pki",
        |n| has_extension(n, "pub"),
        &mut failures,
    );
    copy_anchors(root, "/data/config/ecr", is_repository, &mut failures);
    failures.extend(start_units(root).err());
    if failures.is_empty() {
        return Ok(());
    }
    // One of the errors itself, because joined texts have no cause by which the exit code
    // could say that root is needed.
    let is_root = rustix::process::geteuid().is_root();
    if let Some(at) = failures
        .iter()
        .position(exit::is_denied)
        .filter(|_| !is_root)
    {
        return Err(failures.swap_remove(at));
    }
    let messages: Vec<_> = failures.iter().map(|e| format!("{e:#}")).collect();
    bail!("{}", messages.join("; "))
}

fn start_units(root: &Root) -> Result<()> {
    let mut refusals = Refusals::default();
    let image = Image::read(root);
    let mut units = load::units(root, &image, &mut refusals);
    plan::remove_refused(&mut units, &image, &mut refusals);
    let links = plan::links(&units, &image, &mut refusals);
    let (any, targets) = (!links.is_empty(), plan::targets(&links));
    drop(links);
    for note in refusals.take_notes() {
        log::warn(note);
    }
    for message in refusals.into_messages() {
        log::warn(format_args!("ignoring {message}"));
    }
    // The reload is skipped if there are no units, because it runs all generators and
    // reads all units again.
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
        // `--no-block`: the units may wait for this service or for the network, so
        // waiting for them here would be a deadlock.
        .args(["--no-block", "start"])
        .args(targets)
        .run()
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// Copies the selected trust anchors to `directory` and removes all other files there.
/// The copies are for programs that can read only `/data`; no tool of the device trusts
/// them. One file that cannot be copied or removed does not keep others from it.
fn copy_anchors(
    root: &Root,
    directory: &str,
    select: impl Fn(&str) -> bool,
    failures: &mut Vec<anyhow::Error>,
) {
    let target = root.path(directory);
    let anchors = root.path(CONTAINER_CONFIG);
    let listed = own_directory(&target).and_then(|()| Ok((names(&anchors)?, names(&target)?)));
    let (names, present) = match listed {
        Ok(listed) => listed,
        Err(error) => return failures.push(error),
    };
    let names: BTreeSet<_> = names.into_iter().filter(|n| select(n)).collect();
    for name in &names {
        let content = file::read(&anchors.join(name), ANCHOR_BYTES);
        match content.and_then(|c| file::ensure(&target.join(name), &c, 0o644)) {
            Ok(true) => log::info(format_args!("copied {name} to {directory}")),
            Ok(false) => {}
            Err(error) => failures.push(error),
        }
    }
    for stale in present.difference(&names) {
        let removed = fs::remove_file(target.join(stale));
        match removed.with_context(|| format!("removing {directory}/{stale}")) {
            Ok(()) => log::info(format_args!(
                "removed {directory}/{stale}: the image has no such file"
            )),
            Err(error) => failures.push(error),
        }
    }
}

/// Creates a directory of copies. A link or a file in its place is removed: through a link
/// to another directory, the files there would count as stale copies.
fn own_directory(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|data| !data.is_dir()) {
        log::warn(format_args!("removing {}: not a directory", path.display()));
        file::remove(path)?;
    }
    file::create_directory(path, 0o755)
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
