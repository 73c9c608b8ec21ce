//! Seeds of the fuzz targets: `fuzz/corpus` has one archive for each target, which is
//! unpacked before a run. As single files, the seeds would be nine tenths of all files in
//! the repository.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::shell;

/// Returns the directory for build results, inputs and artifacts of fuzzing, in cargo's
/// target directory.
pub(super) fn place() -> Result<PathBuf> {
    Ok(shell::target()?.join("fuzz"))
}

fn archive(target: &str) -> PathBuf {
    let name = format!("fuzz/corpus/{target}.tar.gz");
    shell::repository().join(name)
}

/// Creates and returns the directory of the inputs that earlier runs on this machine
/// found.
pub(super) fn found(target: &str) -> Result<PathBuf> {
    let found = place()?.join("corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
    Ok(found)
}

/// Unpacks the seeds of a target and returns their directory. A missing archive is an
/// error unless `new` is set, since each run of the target would start without any seed.
pub(super) fn unpack(target: &str, new: bool) -> Result<PathBuf> {
    let seeds = fresh("seeds", target)?;
    let path = archive(target);
    if new && !path.exists() {
        return Ok(seeds);
    }
    let file = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let unpacked = archive.unpack(&seeds);
    unpacked.with_context(|| format!("unpacking {}", path.display()))?;
    Ok(seeds)
}

/// Creates an empty directory for the seeds that remain after a merge, and returns its
/// path.
pub(super) fn merged(target: &str) -> Result<PathBuf> {
    fresh("merged", target)
}

/// Copies seeds with names that people chose into the merged set: a merge drops every
/// input that reaches no additional code today, and names the others by their hash.
pub(super) fn copy_named(seeds: &Path, merged: &Path) -> Result<()> {
    let named: Vec<_> = files(seeds)?
        .into_iter()
        .filter(|f| !is_hash(&f.0))
        .collect();
    for (name, content) in files(merged)? {
        if named.iter().any(|(_, other)| *other == content) {
            fs::remove_file(merged.join(name))?;
        }
    }
    for (name, _) in named {
        fs::copy(seeds.join(&name), merged.join(&name))?;
    }
    Ok(())
}

/// Returns the names and contents of the files in a directory, sorted by name.
fn files(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// Returns whether a file name is a SHA-1 hash, by which libFuzzer names its inputs.
fn is_hash(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn fresh(kind: &str, target: &str) -> Result<PathBuf> {
    let directory = place()?.join(kind).join(target);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

/// Packs the files of a directory as the seed archive of a target; returns the number of
/// files.
pub(super) fn pack(target: &str, directory: &Path) -> Result<usize> {
    let seeds = files(directory)?;
    ensure!(!seeds.is_empty(), "{}: no seeds", directory.display());
    let path = archive(target);
    let readable = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new()
        .permissions(readable)
        .tempfile_in(path.with_file_name(""))?;
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::best()));
    for (name, content) in &seeds {
        // The entries have neither time nor owner, so that equal seeds result in equal
        // archives.
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &content[..])?;
    }
    file.write_all(&archive.into_inner()?.finish()?)?;
    file.persist(&path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(seeds.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_names_from_hashes() {
        assert!(is_hash("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
        assert!(!is_hash("home-assistant"));
    }
}
