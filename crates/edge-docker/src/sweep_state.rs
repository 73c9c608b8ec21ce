//! What else the engine would believe at its start: volumes that are mounts of
//! the host, plugins, swarms. And where it goes instead.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::file;

use crate::stored_json;
use crate::stored_same::zero;
use crate::sweep::tell;

/// Largest options of a volume, in bytes.
const LARGEST: u64 = 64 * 1024;

/// A directory among the engine's data, where it never looks: on the same file
/// system and mount as what is moved. Root's alone.
pub struct Quarantine {
    directory: PathBuf,
    time: u64,
    count: u32,
}

impl Quarantine {
    /// `<data-root>/quarantine`.
    pub fn below(data_root: &Path) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            directory: data_root.join("quarantine"),
            time: time.unwrap_or_default().as_secs(),
            count: 0,
        }
    }

    /// Moves `path` here and says so; the rule lies beside it.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn take(&mut self, path: &Path, what: &str, rule: &str) -> Result<()> {
        let context = || format!("moving {} out of the engine's reach", path.display());
        file::create_directory(&self.directory, 0o700)?;
        directory(&self.directory)?;
        let name = path.file_name().with_context(context)?;
        let place = loop {
            let place = self.directory.join(format!("{}-{}", self.time, self.count));
            self.count += 1;
            match fs::DirBuilder::new().mode(0o700).create(&place) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| place).with_context(context)?,
            }
        };
        fs::rename(path, place.join(name)).with_context(context)?;
        file::write(
            &place.join("rule"),
            format!("{what}: {rule}\n").as_bytes(),
            0o600,
        )?;
        file::sync_directory(path.parent().unwrap_or(path))?;
        tell(what.trim_end(), rule, &place);
        Ok(())
    }
}

/// The engine's own directories, where they are, are directories and no links.
///
/// # Errors
/// A link.
pub fn directories(data_root: &Path) -> Result<()> {
    let below = [
        "containers",
        "volumes",
        "plugins",
        "swarm",
        "image",
        "overlay2",
    ];
    let paths = below.map(|name| data_root.join(name));
    for path in paths.iter().chain([&data_root.to_path_buf()]) {
        if fs::symlink_metadata(path).is_ok() {
            directory(path)?;
        }
    }
    Ok(())
}

fn directory(path: &Path) -> Result<()> {
    let data = fs::symlink_metadata(path);
    if !data
        .with_context(|| format!("looking at {}", path.display()))?
        .is_dir()
    {
        bail!("{} is not a directory", path.display());
    }
    Ok(())
}

/// What lies in a directory, in order; nothing if there is none.
///
/// # Errors
/// It cannot be read.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let paths: std::io::Result<Vec<_>> = entries.map(|e| Ok(e?.path())).collect();
    let mut paths = paths.with_context(context)?;
    paths.sort();
    Ok(paths)
}

/// Volumes, plugins and swarms.
///
/// # Errors
/// Something cannot be moved.
pub fn check(data_root: &Path, quarantine: &mut Quarantine) -> Result<()> {
    for path in entries(&data_root.join("volumes"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if ["metadata.db", "backingFsBlockDev"].contains(&name.as_str()) {
            continue;
        }
        if let Err(rule) = volume(&path) {
            quarantine.take(&path, &format!("volume {name}"), rule)?;
        }
    }
    for path in entries(&data_root.join("plugins"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !["tmp", "storage"].contains(&name.as_str()) {
            quarantine.take(
                &path,
                &format!("plugin {name}"),
                "this device has no plugins",
            )?;
        }
    }
    for path in entries(&data_root.join("swarm"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        quarantine.take(
            &path,
            &format!("swarm {name}"),
            "this device is in no swarm",
        )?;
    }
    Ok(())
}

/// A directory of the engine's own, mounted from nowhere.
fn volume(path: &Path) -> Result<(), &'static str> {
    let real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|d| d.is_dir());
    if !real(path) || !real(&path.join("_data")) {
        return Err("a link lies where a volume should be");
    }
    let options = path.join("opts.json");
    if fs::symlink_metadata(&options).is_err() {
        return Ok(());
    }
    let options = file::read(&options, LARGEST).and_then(|text| stored_json::parse(&text));
    match options {
        Ok(options) if zero(&options) => Ok(()),
        _ => Err("it is a mount of something else"),
    }
}
