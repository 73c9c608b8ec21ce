//! Filter that omits from a saved container image those layers that a device already has.
//!
//! An engine that loads an image opens only the files of missing layers, so the other
//! files may be absent. The filter must recognise the layers while it reads the archive
//! as a stream. Since version 25, docker names a layer's file by the digest of its
//! content. Older file names, and the names of the containerd store, are explained only
//! by the manifest at the end of the archive; they are cached for the next transfer.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::file;
use serde::Deserialize;
use tar::{Archive, Builder, EntryType};

use crate::image::cache;

/// Size limit in bytes of `manifest.json`, and of the cache file that is made from it.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Mapping from file names in an app's saved images to layer digests (diff IDs).
pub(crate) struct LayerNames {
    path: Option<PathBuf>,
    layers: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    layers: Vec<String>,
}

impl LayerNames {
    /// Loads the cached mapping of an app; it is empty without a cache file or after any
    /// error.
    pub(crate) fn load(app: &str) -> Self {
        let path = cache::directory().map(|directory| directory.join("saved").join(app));
        let text = path
            .as_ref()
            .and_then(|p| file::read_text(p, MAX_MANIFEST_BYTES).ok());
        let pair = |line: &str| line.split_once(' ').map(|(n, l)| (n.into(), l.into()));
        let layers = text.unwrap_or_default().lines().filter_map(pair).collect();
        Self { path, layers }
    }

    /// Returns the digest of the layer in the archive entry `name`, or `None` if it is
    /// unknown.
    fn layer(&self, name: &str) -> Option<String> {
        // The containerd store uses the same form of file name, but with the digest of
        // the compressed layer. Therefore a cached name takes precedence over the digest
        // in it.
        if let Some(hex) = name.strip_prefix("blobs/sha256/")
            && !self.layers.contains_key(name)
        {
            return Some(format!("sha256:{hex}"));
        }
        self.layers.get(name).cloned()
    }

    fn learn(&mut self, manifest: &[u8], layers: &[String]) -> Result<()> {
        let manifests: Vec<Manifest> =
            serde_json::from_slice(manifest).context("reading manifest.json of the saved image")?;
        let names = manifests
            .into_iter()
            .next()
            .map_or(Vec::new(), |m| m.layers);
        self.layers = names.into_iter().zip(layers.iter().cloned()).collect();
        let Some(path) = &self.path else {
            return Ok(());
        };
        let lines: Vec<_> = self
            .layers
            .iter()
            .map(|(n, l)| format!("{n} {l}\n"))
            .collect();
        cache::write(path, &lines.concat());
        Ok(())
    }
}

/// Copies a saved image without the lowest `skip` of its `layers`; returns the number of
/// omitted layers. A layer is kept if a higher layer has the same content.
pub(crate) fn copy(
    saved: impl Read,
    to: &mut dyn Write,
    layers: &[String],
    skip: usize,
    names: &mut LayerNames,
) -> Result<usize> {
    let needed: HashSet<_> = layers[skip..].iter().collect();
    let mut left_out = 0;
    let mut builder = Builder::new(to);
    let mut archive = Archive::new(saved);
    for entry in archive.entries().context("reading the saved image")? {
        let mut entry = entry.context("reading the saved image")?;
        let path = entry
            .path()
            .context("reading the saved image")?
            .into_owned();
        let name = path.to_string_lossy().into_owned();
        let mut header = entry.header().clone();
        let regular = header.entry_type() == EntryType::Regular;
        let layer = names.layer(&name).filter(|_| regular);
        if layer.is_some_and(|l| !needed.contains(&l) && layers[..skip].contains(&l)) {
            left_out += 1;
            continue;
        }
        if let Some(target) = entry.link_name().context("reading the saved image")? {
            builder.append_link(&mut header, &path, target)?;
        } else if name == "manifest.json" {
            let mut manifest = Vec::new();
            entry.take(MAX_MANIFEST_BYTES).read_to_end(&mut manifest)?;
            names.learn(&manifest, layers)?;
            builder.append_data(&mut header, &path, &manifest[..])?;
        } else {
            builder.append_data(&mut header, &path, &mut entry)?;
        }
    }
    builder.finish()?;
    // The stream is read to its end, including tar's padding: otherwise docker would fail
    // because of a closed pipe.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(names: [&str; 2]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let manifest = format!(
            r#"[{{"Config":"c","Layers":["{}","{}"]}}]"#,
            names[0], names[1]
        );
        for (name, content) in [
            (names[1], "upper"),
            (names[0], "lower"),
            ("c", "{}"),
            ("manifest.json", &manifest),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn filter(names: &mut LayerNames, files: [&str; 2], skip: usize) -> (usize, Vec<String>) {
        let layers = ["sha256:l".to_string(), "sha256:u".into()];
        let mut to = Vec::new();
        let left_out = copy(&saved(files)[..], &mut to, &layers, skip, names).unwrap();
        let mut archive = Archive::new(&to[..]);
        let paths = archive.entries().unwrap().map(|e| {
            let entry = e.unwrap();
            entry.path().unwrap().to_string_lossy().into_owned()
        });
        (left_out, paths.collect())
    }

    fn no_names() -> LayerNames {
        LayerNames {
            path: None,
            layers: HashMap::new(),
        }
    }

    #[test]
    fn layers_named_by_digest_are_left_out_at_once() {
        let files = ["blobs/sha256/l", "blobs/sha256/u"];
        let (left_out, kept) = filter(&mut no_names(), files, 1);
        assert_eq!((left_out, kept.len()), (1, 3));
        assert!(!kept.contains(&"blobs/sha256/l".into()));
    }

    #[test]
    fn other_names_are_learned() {
        let files = ["x/layer.tar", "y/layer.tar"];
        let mut names = no_names();
        assert_eq!(filter(&mut names, files, 1).0, 0);
        let (left_out, kept) = filter(&mut names, files, 1);
        assert_eq!(left_out, 1);
        assert_eq!(kept, ["y/layer.tar", "c", "manifest.json"]);
        assert_eq!(filter(&mut names, files, 0).0, 0);
        assert_eq!(filter(&mut names, files, 2).0, 2);
        // File names of the containerd store: digests of the compressed layers.
        let files = ["blobs/sha256/zl", "blobs/sha256/zu"];
        assert_eq!(filter(&mut names, files, 1).0, 0);
        assert_eq!(filter(&mut names, files, 1).0, 1);
    }
}
