//! Creation of the symbolic links in the output directory of the generator.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::contract::path::SERVICES;
use edge_common::file;
use rustix::fs::{AtFlags, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

/// Links to create: the path of each link relative to the output directory, and its
/// target relative to `/data/services`. The paths are strings, because comparing
/// `Path`s component by component took a sixth of the run time with 10,000 units.
pub(crate) type Links<'a> = BTreeMap<String, &'a str>;

/// Files of units that are written again, by their names relative to `/data/services`.
pub(crate) type Written<'a> = BTreeMap<&'a str, &'a str>;

/// Creates all links below `normal`, the output directory for normal priority, and the
/// files of `written` in the place of links to them.
pub(crate) fn write(normal: &Path, links: &Links<'_>, written: &Written<'_>) -> Result<()> {
    for (name, text) in written {
        let path = normal.join(name);
        file::create_directory(path.parent().unwrap_or(normal), 0o755)?;
        // In memory: nothing to sync.
        file::put(&path, text.as_bytes(), 0o644)?;
    }
    // Each directory is opened only once, because resolving the whole path for every
    // link is slower.
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
        let target = match written.contains_key(file) {
            true if link == file => continue,
            // The original sets variables of edge-docker: no name may lead to it.
            true => format!("{}{file}", "../".repeat(link.matches('/').count())),
            false => format!("{SERVICES}/{file}"),
        };
        write_link(&directories[directory], name, &target)
            .with_context(|| format!("linking {link}"))?;
    }
    Ok(())
}

/// Creates the link `name` to `target`, or replaces an existing link to another target.
fn write_link(directory: &File, name: &str, target: &str) -> Result<(), Errno> {
    match symlinkat(target, directory, name) {
        // systemd passes an empty directory at each run; after a manual run it may
        // contain links.
        Err(Errno::EXIST) => {}
        created => return created,
    }
    if readlinkat(directory, name, Vec::new()).is_ok_and(|old| old.to_bytes() == target.as_bytes())
    {
        return Ok(());
    }
    unlinkat(directory, name, AtFlags::empty())?;
    symlinkat(target, directory, name)
}
