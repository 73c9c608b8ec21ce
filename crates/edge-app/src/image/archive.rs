//! Reader of the archive that `docker image save` writes: finds the configuration and the
//! layers of an image.
//!
//! Two formats are supported:
//! <https://github.com/moby/moby/blob/master/image/spec/v1.2.md>, "Combined Image JSON +
//! Filesystem Changeset Format", and the OCI image layout that docker writes since
//! version 25. Both contain `manifest.json`, from which this module reads the paths.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Size limit in bytes of an image's configuration and of `manifest.json`.
const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Archive of a saved container image, with an index of its entries.
pub(crate) struct SavedImage {
    file: File,
    entries: HashMap<PathBuf, Entry>,
}

enum Entry {
    Data { offset: u64, size: u64 },
    Link(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

impl SavedImage {
    /// Indexes the archive without reading the layers: entries can have any order, and
    /// the manifest that names the layers may be the last one.
    pub(crate) fn open(mut file: File) -> Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut archive = tar::Archive::new(&file);
        let mut entries = HashMap::new();
        for entry in archive
            .entries_with_seek()
            .context("reading the saved image")?
        {
            let entry = entry.context("reading the saved image")?;
            let path = entry
                .path()
                .context("reading the saved image")?
                .into_owned();
            let indexed = match entry.header().entry_type() {
                tar::EntryType::Regular => Entry::Data {
                    offset: entry.raw_file_position(),
                    size: entry.size(),
                },
                // Old versions of docker write the content of equal layers only once, and
                // a symbolic link for each repetition.
                tar::EntryType::Symlink => {
                    let target = entry.link_name()?.context("reading the saved image")?;
                    Entry::Link(normalize(
                        &path.parent().unwrap_or(Path::new("")).join(target),
                    ))
                }
                _ => continue,
            };
            entries.insert(path, indexed);
        }
        Ok(Self { file, entries })
    }

    /// Returns the image's configuration (JSON) and the archive paths of its layers,
    /// lowest layer first.
    pub(crate) fn image(&self) -> Result<(Vec<u8>, Vec<PathBuf>)> {
        let text = self.read(Path::new("manifest.json"), MAX_DOCUMENT_BYTES)?;
        let manifests: Vec<Manifest> =
            serde_json::from_slice(&text).context("reading manifest.json of the saved image")?;
        let [manifest] = &manifests[..] else {
            bail!("the saved archive has {} images, not one", manifests.len());
        };
        let config = self.read(&manifest.config, MAX_DOCUMENT_BYTES)?;
        Ok((config, manifest.layers.clone()))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            bail!(
                "{} of the saved image is larger than {limit} bytes",
                path.display()
            );
        }
        Ok(bytes)
    }

    /// Returns a reader of an entry's content. Each reader must be read to its end before
    /// the next call: `try_clone` only duplicates the file descriptor, so all readers
    /// share one file offset.
    pub(crate) fn reader(&self, path: &Path) -> Result<std::io::Take<File>> {
        let absent = || format!("the saved image lacks {}", path.display());
        let entry = match self.entries.get(path).with_context(absent)? {
            Entry::Link(target) => self.entries.get(target).with_context(absent)?,
            data @ Entry::Data { .. } => data,
        };
        let Entry::Data { offset, size } = entry else {
            bail!("{} of the saved image is a link to a link", path.display());
        };
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(*offset))?;
        Ok(file.take(*size))
    }
}

/// Resolves `.` and `..` in the target of a link, without leaving the archive's root.
fn normalize(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => drop(result.pop()),
            _ => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn archive(entries: &[(&str, &[u8])], links: &[(&str, &str)]) -> File {
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        for (name, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const MANIFEST: &[u8] =
        br#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]"#;

    #[test]
    fn layers_are_found_through_links() {
        let entries: [(&str, &[u8]); 3] = [
            ("manifest.json", MANIFEST),
            ("c.json", b"{}"),
            ("a/layer.tar", b"content"),
        ];
        let saved =
            SavedImage::open(archive(&entries, &[("b/layer.tar", "../a/layer.tar")])).unwrap();
        let (config, layers) = saved.image().unwrap();
        assert_eq!(config, b"{}");
        for layer in &layers {
            let mut text = String::new();
            saved
                .reader(layer)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "content");
        }
        assert!(saved.reader(Path::new("c/layer.tar")).is_err());
    }

    #[test]
    fn invalid_archives_are_errors() {
        let cases: [&[(&str, &[u8])]; 4] = [
            &[],
            &[("manifest.json", b"[]")],
            &[("manifest.json", b"{")],
            &[("manifest.json", MANIFEST)],
        ];
        for entries in cases {
            let saved = SavedImage::open(archive(entries, &[])).unwrap();
            assert!(saved.image().is_err());
        }
        let loops = [("manifest.json", "x"), ("x", "manifest.json")];
        assert!(
            SavedImage::open(archive(&[], &loops))
                .unwrap()
                .image()
                .is_err()
        );
        let mut not_tar = tempfile::tempfile().unwrap();
        not_tar.write_all(&[b'x'; 700]).unwrap();
        assert!(SavedImage::open(not_tar).is_err());
    }
}
