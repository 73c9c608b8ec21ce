//! Raw manifests: hashed by ourselves, parsed only as far as needed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{Digest, Error};

/// Media types of image manifests that are taken, docker's and OCI's.
pub const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
];
/// Media types of indexes that are taken, docker's and OCI's.
pub const INDEX_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
];
/// Largest manifest that is taken, in bytes.
pub const LARGEST_MANIFEST: usize = 4 * 1024 * 1024;
/// Most manifests that an index may list.
const MOST_CHILDREN: usize = 256;

/// The bytes of a manifest and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// As the registry sent them.
    pub bytes: Vec<u8>,
    /// Their digest, by our own count.
    pub digest: Digest,
}

/// A manifest is an image's, or an index of several platforms' images; what
/// could be read as both is neither.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "schemaVersion")]
    schema: u64,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    old_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
}

/// What a manifest says of a blob or of another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// Its type.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// What kind of artefact a manifest is.
    #[serde(rename = "artifactType", default)]
    pub artifact_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Signer's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    /// Runs on the machine that this program was built for?
    fn is_ours(&self) -> bool {
        let variant = match self.architecture.as_str() {
            "arm64" => ["", "v8"].contains(&self.variant.as_str()),
            _ => self.variant.is_empty(),
        };
        self.os == "linux" && self.architecture == architecture() && variant
    }
}

/// The architecture that this program was built for, as images name it.
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

impl Manifest {
    /// Takes bytes and counts.
    pub fn new(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }

    /// Digest of the configuration: the image's Id at the engine.
    ///
    /// # Errors
    /// Not an image manifest; an index, for one.
    pub fn config(&self) -> Result<Digest, Error> {
        match self.parse()?.config {
            Some(config) => Ok(config.digest),
            None => Err(self.bad("an index of several images, not an image")),
        }
    }

    /// Lists an index of several images?
    ///
    /// # Errors
    /// Neither an image manifest nor an index.
    pub fn is_index(&self) -> Result<bool, Error> {
        self.parse().map(|d| d.manifests.is_some())
    }

    /// The images that an index lists; none for an image.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn children(&self) -> Result<Vec<Descriptor>, Error> {
        let children = self.parse()?.manifests.unwrap_or_default();
        let is_image = |c: &Descriptor| IMAGE_TYPES.contains(&c.media_type.as_str());
        Ok(children.into_iter().filter(is_image).collect())
    }

    /// The blobs of an image: its configuration and its layers; none of an index.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn blobs(&self) -> Result<Vec<Descriptor>, Error> {
        let document = self.parse()?;
        let config = document.config.into_iter();
        Ok(config.chain(document.layers.unwrap_or_default()).collect())
    }

    /// The image of this machine's platform in an index; nothing for an image.
    ///
    /// # Errors
    /// As [`Manifest::is_index`], and an index without that platform.
    pub fn child(&self) -> Result<Option<Descriptor>, Error> {
        if !self.is_index()? {
            return Ok(None);
        }
        let ours = |c: &Descriptor| c.platform.as_ref().is_some_and(Platform::is_ours);
        let child = self.children()?.into_iter().find(ours);
        child.map(Some).ok_or_else(|| {
            Error::NotFound(format!(
                "an image for linux/{} in {}",
                architecture(),
                self.digest
            ))
        })
    }

    /// Its layers; of a signature's manifest, one a signature.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn layers(&self) -> Result<Vec<Descriptor>, Error> {
        Ok(self.parse()?.layers.unwrap_or_default())
    }

    /// All that an index lists.
    pub(crate) fn listed(&self) -> Result<Vec<Descriptor>, Error> {
        match self.parse()?.manifests {
            Some(listed) => Ok(listed),
            None => Err(self.bad("an image, not an index")),
        }
    }

    /// What kind of artefact it is and what it is about.
    pub(crate) fn about(&self) -> Result<(Option<String>, Option<Digest>), Error> {
        let document = self.parse()?;
        Ok((document.artifact_type, document.subject.map(|s| s.digest)))
    }

    /// Its own type, as written in it or by its form.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn media_type(&self) -> Result<String, Error> {
        let document = self.parse()?;
        let types = if document.manifests.is_some() {
            INDEX_TYPES
        } else {
            IMAGE_TYPES
        };
        Ok(document.media_type.unwrap_or_else(|| types[1].into()))
    }

    fn parse(&self) -> Result<Document, Error> {
        let document: Document = json(&self.bytes)
            .map_err(|e| self.bad(&format!("neither an image manifest nor an index: {e}")))?;
        let types = match (&document.config, &document.manifests) {
            (Some(_), None) => IMAGE_TYPES,
            (None, Some(_)) if document.layers.is_none() => INDEX_TYPES,
            _ => return Err(self.bad("neither an image manifest nor an index")),
        };
        let named = document.media_type.as_deref();
        let known = named.is_none_or(|t| types.contains(&t));
        if document.schema != 2 || !known || document.old_layers.is_some() {
            return Err(self.bad("not a manifest of a kind that is taken"));
        }
        let children = document.manifests.as_ref().map_or(0, Vec::len);
        if children > MOST_CHILDREN {
            return Err(self.bad(&format!("an index of {children} manifests")));
        }
        Ok(document)
    }

    fn bad(&self, why: &str) -> Error {
        Error::Malformed(format!("{} is {why}", self.digest))
    }
}

/// Parses JSON; what is wrong is said without quoting what was read.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        let kind = match e.classify() {
            serde_json::error::Category::Data => return e.to_string(),
            serde_json::error::Category::Eof => "cut off",
            _ => "not JSON",
        };
        format!("{kind} at line {} column {}", e.line(), e.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(kind: &str, content: &str) -> Value {
        let digest = Digest::of(content.as_bytes());
        json!({ "mediaType": kind, "digest": digest, "size": content.len() })
    }

    fn entry(content: &str, os: &str, architecture: &str, variant: Option<&str>) -> Value {
        let mut entry = descriptor(IMAGE_TYPES[1], content);
        entry["platform"] = json!({ "os": os, "architecture": architecture });
        if let Some(variant) = variant {
            entry["platform"]["variant"] = variant.into();
        }
        entry
    }

    fn index(entries: &[Value]) -> Manifest {
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": entries });
        Manifest::new(index.to_string().into_bytes())
    }

    #[test]
    fn the_child_of_this_platform_is_chosen() {
        let other = if architecture() == "amd64" {
            "arm64"
        } else {
            "amd64"
        };
        let entries = [
            entry("attestation", "unknown", "unknown", None),
            entry("windows", "windows", architecture(), None),
            entry("other", "linux", other, None),
            entry("variant", "linux", architecture(), Some("v3")),
            descriptor(IMAGE_TYPES[1], "no platform"),
            entry("ours", "linux", architecture(), None),
            entry("second", "linux", architecture(), None),
        ];
        let chosen = index(&entries).child().unwrap().unwrap();
        assert_eq!(chosen.digest, Digest::of(b"ours"));
        let error = index(&entries[..5]).child().unwrap_err().to_string();
        assert!(error.contains("an image for linux/"), "{error}");
        assert!(index(&entries).config().is_err());
        let nested = json!({ "mediaType": INDEX_TYPES[1], "digest": Digest::of(b"ours"), "size": 4,
            "platform": { "os": "linux", "architecture": architecture() } });
        assert!(index(&[nested]).child().is_err());
    }

    #[test]
    fn what_could_be_read_as_both_is_neither() {
        let image = json!({ "schemaVersion": 2, "config": descriptor("c", "c"), "layers": [] });
        assert!(!parsed(&image).unwrap());
        let cases = [
            (
                "manifests",
                json!([entry("x", "linux", architecture(), None)]),
            ),
            ("manifests", json!([])),
            ("mediaType", json!(INDEX_TYPES[1])),
            ("mediaType", json!("text/plain")),
            ("schemaVersion", json!(1)),
            ("fsLayers", json!([])),
            ("config", json!(null)),
            ("config", json!({ "digest": "sha256:1", "size": 1 })),
            ("config", json!({ "digest": Digest::of(b""), "size": -1 })),
        ];
        for (key, value) in cases {
            let mut bad = image.clone();
            bad[key] = value.clone();
            assert!(parsed(&bad).is_err(), "{key}: {value}");
        }
        let index = json!({ "schemaVersion": 2, "manifests": [], "layers": [] });
        assert!(parsed(&index).is_err());
        let many: Vec<_> = (0..MOST_CHILDREN + 1)
            .map(|_| descriptor("x", "y"))
            .collect();
        assert!(parsed(&json!({ "schemaVersion": 2, "manifests": many })).is_err());
    }

    fn parsed(value: &Value) -> Result<bool, Error> {
        Manifest::new(value.to_string().into_bytes()).is_index()
    }
}
