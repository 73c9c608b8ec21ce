//! Manifests of container images, and indexes of the images of several platforms.
//!
//! A manifest is kept as the bytes that the registry sent: parsing and serializing it
//! would produce other bytes, with another digest than the signed one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::Error;
use crate::json;
use crate::limits::MAX_INDEX_ENTRIES;
use crate::reference::Digest;

/// Media types of image manifests: docker's, then OCI's.
pub(crate) const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
];
/// Media types of indexes: docker's, then OCI's.
pub(crate) const INDEX_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
];

/// Annotation of an attestation in an index, and its value.
const ATTESTATION: (&str, &str) = ("vnd.docker.reference.type", "attestation-manifest");

/// Manifest of an image or index: the bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Content, byte for byte as in the registry.
    pub bytes: Vec<u8>,
    /// SHA-256 digest of `bytes`, computed locally: a digest that a registry states
    /// proves nothing.
    pub digest: Digest,
}

/// JSON fields of an image manifest or of an index, which lists the images of several
/// platforms.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "schemaVersion")]
    schema: u64,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    schema_1_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
}

/// OCI descriptor: the reference of a manifest to a blob or to another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// Media type of the blob or manifest; empty if the descriptor states none.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// Artifact type of the manifest, for example that of a Sigstore bundle; empty if it
    /// is not an artifact.
    #[serde(rename = "artifactType", default)]
    pub artifact_type: String,
    /// Digest with which the downloaded blob or manifest is compared.
    pub digest: Digest,
    /// Size of the blob or manifest in bytes, known before the download.
    pub size: u64,
    /// Annotations of the descriptor, which are not signed by themselves. In a layer of
    /// cosign's v2 format they contain the signature.
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
    /// Returns whether images for this platform run on the platform that this program was
    /// built for.
    fn is_ours(&self) -> bool {
        self.runs_on(architecture())
    }

    fn runs_on(&self, architecture: &str) -> bool {
        // An image for a newer variant (`arm64/v9`, `amd64/v3`) may use instructions that
        // the board does not have.
        let variant = match self.architecture.as_str() {
            "arm64" => ["", "v8"].contains(&self.variant.as_str()),
            _ => self.variant.is_empty(),
        };
        self.os == "linux" && self.architecture == architecture && variant
    }
}

/// Returns the architecture that this program was built for, by its name in image
/// manifests, for example `arm64`.
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

impl Descriptor {
    /// Returns whether an entry of an index is an image for Linux on an architecture.
    #[cfg(feature = "push")]
    pub(crate) fn is_for(&self, architecture: &str) -> bool {
        let platform = self.platform.as_ref();
        platform.is_some_and(|platform| platform.runs_on(architecture))
    }

    /// Returns whether an entry of an index is an image, and not an attestation: BuildKit
    /// stores provenance and SBOM as manifests with the media type of an image.
    fn is_image(&self) -> bool {
        let kind = self.annotations.get(ATTESTATION.0).map(String::as_str);
        let unknown = |p: &Platform| p.os == "unknown" && p.architecture == "unknown";
        IMAGE_TYPES.contains(&self.media_type.as_str())
            && kind != Some(ATTESTATION.1)
            && !self.platform.as_ref().is_some_and(unknown)
    }
}

impl Manifest {
    /// Creates a manifest from `bytes` and computes the digest.
    pub fn new(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }

    /// Returns the digest of the image's configuration, which the engine's overlay2 store
    /// uses as the image ID.
    ///
    /// # Errors
    /// The manifest is an index, or it is malformed.
    pub fn config(&self) -> Result<Digest, Error> {
        match self.parse()?.config {
            Some(config) => Ok(config.digest),
            None => Err(self.malformed("an index of several images, not an image")),
        }
    }

    /// Returns whether the manifest is an index of images for several platforms, not a
    /// single image.
    ///
    /// # Errors
    /// The bytes are neither an image manifest nor an index.
    pub fn is_index(&self) -> Result<bool, Error> {
        self.parse().map(|d| d.manifests.is_some())
    }

    /// Returns the images in an index, without attestations; an empty list for a manifest
    /// that is not an index.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn children(&self) -> Result<Vec<Descriptor>, Error> {
        let children = self.parse()?.manifests.unwrap_or_default();
        Ok(children.into_iter().filter(Descriptor::is_image).collect())
    }

    /// Returns the attestations in an index: the other entries that have the media type of
    /// an image manifest.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn attestations(&self) -> Result<Vec<Descriptor>, Error> {
        let entries = self.parse()?.manifests.unwrap_or_default();
        let manifests = entries
            .into_iter()
            .filter(|e| IMAGE_TYPES.contains(&e.media_type.as_str()));
        Ok(manifests.filter(|e| !e.is_image()).collect())
    }

    /// Returns the blobs of an image, first its configuration, then its layers; an empty
    /// list for an index.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn blobs(&self) -> Result<Vec<Descriptor>, Error> {
        let document = self.parse()?;
        let config = document.config.into_iter();
        Ok(config.chain(document.layers.unwrap_or_default()).collect())
    }

    /// Returns the first image for this platform in an index; `None` for a manifest that
    /// is not an index.
    ///
    /// # Errors
    /// As [`Manifest::is_index`], or the index has no image for this platform.
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

    /// Returns the layers of an image. In a manifest of cosign's v2 format each layer is
    /// one signed payload.
    ///
    /// # Errors
    /// As [`Manifest::is_index`].
    pub fn layers(&self) -> Result<Vec<Descriptor>, Error> {
        Ok(self.parse()?.layers.unwrap_or_default())
    }

    /// Returns all entries of an index, including attestations and bundles; a manifest
    /// that is not an index is an error.
    pub(crate) fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        match self.parse()?.manifests {
            Some(entries) => Ok(entries),
            None => Err(self.malformed("an image, not an index")),
        }
    }

    /// Returns the digest of the manifest that this one refers to.
    pub(crate) fn subject(&self) -> Result<Option<Digest>, Error> {
        Ok(self.parse()?.subject.map(|s| s.digest))
    }

    /// Returns the `mediaType` field or, if it is absent, OCI's media type for an image
    /// or an index.
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
        let document: Document = json::parse(&self.bytes)
            .map_err(|e| self.malformed(&format!("neither an image manifest nor an index: {e}")))?;
        // A document that one parser reads as an image and another parser as an index
        // (CVE-2021-41190) could be verified as the one and run as the other.
        let types = match (&document.config, &document.manifests) {
            (Some(_), None) => IMAGE_TYPES,
            (None, Some(_)) if document.layers.is_none() => INDEX_TYPES,
            _ => return Err(self.malformed("neither an image manifest nor an index")),
        };
        let named = document.media_type.as_deref();
        let known = named.is_none_or(|t| types.contains(&t));
        if document.schema != 2 || !known || document.schema_1_layers.is_some() {
            return Err(self.malformed("a manifest of an unknown type"));
        }
        let entries = document.manifests.as_ref().map_or(0, Vec::len);
        if entries > MAX_INDEX_ENTRIES {
            return Err(self.malformed(&format!(
                "an index of {entries} manifests, more than {MAX_INDEX_ENTRIES}"
            )));
        }
        Ok(document)
    }

    fn malformed(&self, reason: &str) -> Error {
        Error::Malformed(format!("{} is {reason}", self.digest))
    }
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
    fn the_first_image_of_this_platform_is_chosen() {
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
    fn attestations_are_no_images() {
        let mut annotated = entry("provenance", "linux", architecture(), None);
        annotated["annotations"] = json!({ ATTESTATION.0: ATTESTATION.1 });
        let entries = [
            entry("attestation", "unknown", "unknown", None),
            annotated,
            entry("ours", "linux", architecture(), None),
            descriptor(IMAGE_TYPES[1], "no platform"),
            descriptor("application/vnd.oci.image.index.v1+json", "index"),
        ];
        let digests =
            |found: Vec<Descriptor>| found.into_iter().map(|d| d.digest).collect::<Vec<_>>();
        let index = index(&entries);
        let names = |names: [&str; 2]| names.map(|name| Digest::of(name.as_bytes())).to_vec();
        assert_eq!(
            digests(index.children().unwrap()),
            names(["ours", "no platform"])
        );
        assert_eq!(
            digests(index.attestations().unwrap()),
            names(["attestation", "provenance"])
        );
        assert_eq!(index.child().unwrap().unwrap().digest, Digest::of(b"ours"));
    }

    #[test]
    fn ambiguous_manifests_are_rejected() {
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
            let mut changed = image.clone();
            changed[key] = value.clone();
            assert!(parsed(&changed).is_err(), "{key}: {value}");
        }
        let index = json!({ "schemaVersion": 2, "manifests": [], "layers": [] });
        assert!(parsed(&index).is_err());
        let many: Vec<_> = (0..MAX_INDEX_ENTRIES + 1)
            .map(|_| descriptor("x", "y"))
            .collect();
        assert!(parsed(&json!({ "schemaVersion": 2, "manifests": many })).is_err());
    }

    fn parsed(value: &Value) -> Result<bool, Error> {
        Manifest::new(value.to_string().into_bytes()).is_index()
    }
}
