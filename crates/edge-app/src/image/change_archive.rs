//! Archive for `docker load` with the layers of an image that a device lacks. Engines open
//! only the files of missing layers, so the others may be absent.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use edge_signature::Digest;
use flate2::read::MultiGzDecoder;
use openssl::sha::Sha256;
use serde_json::json;
use tar::{Builder, Header};

use crate::image::endpoint::{Arrived, Layer};

/// Image whose lowest layers the device has.
pub(super) struct ChangeArchive {
    /// Name that the image gets on the device.
    pub(super) name: String,
    /// Content of the other layers.
    pub(super) image: Arrived,
    /// Number of layers, counted from the lowest, that the device has.
    pub(super) skip: usize,
}

impl ChangeArchive {
    /// Writes the archive.
    pub(super) fn write(&self, to: &mut dyn Write) -> Result<()> {
        let mut builder = Builder::new(to);
        for layer in &self.image.layers[self.skip..] {
            let size = uncompressed_size(layer)?;
            let content = decoder(layer)?;
            builder.append_data(&mut header(size), file_name(layer), content)?;
        }
        let config = format!("{}.json", Digest::of(&self.image.config).hex());
        let manifest = json!([{
            "Config": config, "RepoTags": [self.name],
            "Layers": self.image.layers.iter().map(file_name).collect::<Vec<_>>(),
        }]);
        let manifest = manifest.to_string().into_bytes();
        for (name, bytes) in [(&*config, &self.image.config), ("manifest.json", &manifest)] {
            let mut header = header(bytes.len() as u64);
            builder.append_data(&mut header, name, &bytes[..])?;
        }
        builder.finish()?;
        Ok(())
    }
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn file_name(layer: &Layer) -> String {
    let hex = layer.diff_id.strip_prefix("sha256:");
    format!("{}/layer.tar", hex.unwrap_or(&layer.diff_id))
}

/// Returns the size of a layer before compression, which an archive states before the
/// content. Compares the digest meanwhile.
fn uncompressed_size(layer: &Layer) -> Result<u64> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut content = decoder(layer)?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        let length = content.read(&mut piece).context("reading a layer")?;
        if length == 0 {
            break;
        }
        hash.update(&piece[..length]);
        size += length as u64;
    }
    let hex = edge_common::hex::encode(hash.finish());
    if layer.diff_id != format!("sha256:{hex}") {
        bail!("docker pushed other content than layer {}", layer.diff_id);
    }
    Ok(size)
}

fn decoder(layer: &Layer) -> Result<Box<dyn Read + '_>> {
    let content = layer.content.as_deref();
    let content = content.with_context(|| format!("layer {} is absent", layer.diff_id))?;
    Ok(match content {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(content)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::Decoder::new(content).context("reading a layer")?)
        }
        _ => Box::new(content),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn layer(text: &str, content: Option<Vec<u8>>) -> Layer {
        Layer {
            diff_id: Digest::of(text.as_bytes()).to_string(),
            digest: Digest::of(b"compressed"),
            media_type: String::new(),
            size: None,
            content,
        }
    }

    fn archive(layers: Vec<Layer>) -> ChangeArchive {
        ChangeArchive {
            name: "sandbox/a:latest".into(),
            image: Arrived {
                config: b"{}".to_vec(),
                layers,
            },
            skip: 1,
        }
    }

    #[test]
    fn only_new_layers_are_written() {
        let zstd = zstd::bulk::compress(b"new", 1).unwrap();
        let layers = vec![
            layer("old", None),
            layer("plain", Some(b"plain".to_vec())),
            layer("new", Some(zstd)),
        ];
        let mut bytes = Vec::new();
        archive(layers).write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path.split('/').next_back().unwrap().to_string(), text)
        });
        let files: Vec<_> = files.collect();
        assert_eq!(files[0], ("layer.tar".into(), "plain".into()));
        assert_eq!(files[1], ("layer.tar".into(), "new".into()));
        let manifest = &files.into_iter().collect::<HashMap<_, _>>()["manifest.json"];
        assert_eq!(manifest.matches("layer.tar").count(), 3, "{manifest}");
    }

    #[test]
    fn other_content_is_an_error() {
        for content in [None, Some(b"other".to_vec()), Some(vec![0x1f, 0x8b, 1])] {
            let layers = vec![layer("old", None), layer("new", content)];
            assert!(archive(layers).write(&mut Vec::new()).is_err());
        }
    }
}
