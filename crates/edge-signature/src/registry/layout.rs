//! Manifests and small blobs of a repository in memory, in the form of an OCI layout.
//!
//! A bundle contains what a device would request from the registry. The same client reads
//! it, so that signatures are found and verified in one way only.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::json;
use crate::manifest::{INDEX_TYPES, Manifest};
use crate::reference::Digest;

/// Annotation of a descriptor with the tag of its manifest, as in OCI layouts.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of the index with the number of blobs that are not layers.
const BLOBS: &str = "vnd.edge-ai.blobs";
/// Maximum number of blobs that are not layers.
const MAX_BLOBS: usize = 8192;
/// Size limit of all blobs that are not layers, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Manifests and small blobs of a repository. Nothing in it is trusted: tags lead to
/// signatures, which are verified.
#[derive(Debug, Default)]
pub struct Layout {
    tags: BTreeMap<String, Digest>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    bytes: usize,
    /// Descriptors of manifests that refer to a manifest.
    #[cfg(feature = "push")]
    referrers: BTreeMap<Digest, Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Layout {
    /// Parses `index.json`; returns the number of blobs that follow before the layers.
    ///
    /// # Errors
    /// The index is malformed, or states more blobs than a bundle may have.
    pub fn parse(index: &[u8]) -> Result<(Self, usize), Error> {
        let malformed = |why: &str| Error::Malformed(format!("index.json: {why}"));
        let index: Index = json::parse(index).map_err(|error| malformed(&error))?;
        let stated = index.annotations.get(BLOBS);
        let count = stated.and_then(|count| count.parse().ok());
        let count = count.filter(|count| *count <= MAX_BLOBS);
        let count = count.ok_or_else(|| malformed("no number of blobs below 8192"))?;
        let mut layout = Self::default();
        for entry in index.manifests {
            if let Some(tag) = entry.annotations.get(REF_NAME) {
                if layout.tags.insert(tag.clone(), entry.digest).is_some() {
                    return Err(malformed("a tag is stated twice"));
                }
            }
        }
        Ok((layout, count))
    }

    /// Returns `index.json`.
    pub fn index(&self) -> Vec<u8> {
        let entry = |(tag, digest): (&String, &Digest)| {
            let bytes = self.blob(digest)?;
            let media_type = Manifest::new(bytes.to_vec()).media_type().ok()?;
            Some(
                json!({ "mediaType": media_type, "digest": digest, "size": bytes.len(),
                "annotations": { REF_NAME: tag } }),
            )
        };
        let manifests: Vec<_> = self.tags.iter().filter_map(entry).collect();
        let blobs = self.blobs.len().to_string();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPES[1],
            "manifests": manifests, "annotations": { BLOBS: blobs } });
        index.to_string().into_bytes()
    }

    /// Adds a blob under its digest.
    ///
    /// # Errors
    /// All blobs together are larger than 16 MiB.
    pub fn add(&mut self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        if !self.blobs.contains_key(&digest) {
            self.bytes += bytes.len();
            if self.bytes > MAX_BYTES {
                let why = "the manifests and signatures of the bundle are larger than 16 MiB";
                return Err(Error::Malformed(why.into()));
            }
            self.blobs.insert(digest.clone(), bytes);
        }
        Ok(digest)
    }

    /// Returns all blobs by digest.
    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, &Vec<u8>)> {
        self.blobs.iter()
    }

    /// Returns a blob.
    pub fn blob(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    /// Returns the digest of the only release set.
    ///
    /// # Errors
    /// The layout contains no set, or several.
    pub fn set(&self) -> Result<&Digest, Error> {
        let mut sets = self.tags.iter().filter(|(tag, _)| tag.starts_with("set."));
        match (sets.next(), sets.next()) {
            (Some((_, digest)), None) => Ok(digest),
            _ => Err(Error::Malformed(
                "the bundle is not of one release set".into(),
            )),
        }
    }

    /// Answers a request for `path` by the client of the repository; `name` is the requested
    /// object in error messages.
    pub(super) fn answer(&self, path: &str, name: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let absent = || Error::NotFound(name.into());
        let (kind, reference) = target(path).ok_or_else(absent)?;
        let digest = match (kind, reference.parse::<Digest>()) {
            // The client then reads the index under the fallback tag.
            (Kind::Referrers, _) => return Err(absent()),
            (_, Ok(digest)) => digest,
            (_, Err(_)) => self.tags.get(reference).ok_or_else(absent)?.clone(),
        };
        let bytes = self.blob(&digest).ok_or_else(absent)?;
        match bytes.len() > limit {
            true => Err(Error::Malformed(format!(
                "{name}: larger than {limit} bytes"
            ))),
            false => Ok(bytes.to_vec()),
        }
    }

    /// Adds what the registry has answered.
    #[cfg(feature = "push")]
    pub(super) fn note(&mut self, path: &str, body: &[u8]) -> Result<(), Error> {
        let Some((kind, reference)) = target(path) else {
            return Ok(());
        };
        match (kind, reference.parse::<Digest>()) {
            (Kind::Referrers, Ok(digest)) => {
                let page: serde_json::Value = json::parse(body).map_err(Error::Malformed)?;
                // A list has several pages, and the index of a layout is one.
                let entries = page["manifests"].as_array().cloned().unwrap_or_default();
                self.referrers.entry(digest).or_default().extend(entries);
            }
            (Kind::Referrers, Err(_)) => {}
            (_, Ok(_)) => drop(self.add(body.to_vec())?),
            (_, Err(_)) => {
                let digest = self.add(body.to_vec())?;
                self.tags.insert(reference.into(), digest);
            }
        }
        Ok(())
    }

    /// Turns lists of referrers into indexes under the fallback tags, and gives a set its tag.
    #[cfg(feature = "push")]
    pub(super) fn finish(mut self, set: &Digest, tag: &str) -> Result<Self, Error> {
        for (digest, entries) in std::mem::take(&mut self.referrers) {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPES[1],
                "manifests": entries });
            let tag = fallback_tag(&digest);
            if !entries.is_empty() && !self.tags.contains_key(&tag) {
                let index = self.add(index.to_string().into_bytes())?;
                self.tags.insert(tag, index);
            }
        }
        self.tags.insert(tag.into(), set.clone());
        Ok(self)
    }
}

/// Returns the tag of the index that lists the referrers of `digest` in a registry
/// without such a list: `sha256-HEX`.
pub(super) fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Kind of a requested object.
#[derive(Clone, Copy)]
enum Kind {
    Manifest,
    Blob,
    Referrers,
}

/// Returns kind and reference of `/v2/REPOSITORY/KIND/REFERENCE[?QUERY]`.
fn target(path: &str) -> Option<(Kind, &str)> {
    let path = path.split('?').next().unwrap_or_default();
    let (rest, reference) = path.rsplit_once('/')?;
    let kind = match rest.rsplit_once('/')?.1 {
        "manifests" => Kind::Manifest,
        "blobs" => Kind::Blob,
        "referrers" => Kind::Referrers,
        _ => return None,
    };
    Some((kind, reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let mut layout = Layout::default();
        let manifest = br#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
        let digest = layout.add(manifest.to_vec()).unwrap();
        layout.add(b"{}".to_vec()).unwrap();
        layout.add(b"{}".to_vec()).unwrap();
        layout.tags.insert("set.barn.7".into(), digest.clone());
        let (read, count) = Layout::parse(&layout.index()).unwrap();
        assert_eq!((read.set().unwrap(), count), (&digest, 2));
    }

    #[test]
    fn hostile_indexes_are_errors() {
        let of = |manifests: serde_json::Value, blobs: serde_json::Value| {
            let index = json!({ "manifests": manifests, "annotations": { BLOBS: blobs } });
            Layout::parse(index.to_string().as_bytes()).map(|(layout, _)| layout)
        };
        let digest = Digest::of(b"x");
        let tagged = |tag: &str| json!({ "digest": digest, "annotations": { REF_NAME: tag } });
        assert!(of(json!([]), json!("3")).unwrap().set().is_err());
        let two = json!([tagged("set.a.1"), tagged("set.b.1")]);
        assert!(of(two, json!("3")).unwrap().set().is_err());
        assert!(of(json!([tagged("a"), tagged("a")]), json!("3")).is_err());
        for count in [json!("8193"), json!("-1"), json!(3), json!("")] {
            assert!(of(json!([]), count.clone()).is_err(), "{count}");
        }
        assert!(of(json!([{ "digest": "x" }]), json!("1")).is_err());
        for text in ["", "{", "[]", "{}"] {
            assert!(Layout::parse(text.as_bytes()).is_err(), "{text}");
        }
        let mut layout = Layout::default();
        layout.add(vec![0; MAX_BYTES]).unwrap();
        assert!(layout.add(vec![1]).is_err());
    }
}
