//! OCI manifest of a release set.

use edge_common::contract::limit::SET_BYTES;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::json;
use crate::limits::MAX_SET_MANIFEST_BYTES;
use crate::manifest::{Descriptor, IMAGE_TYPES, Manifest};
use crate::reference::Digest;

/// Media type of the document, and artifact type of its manifest.
pub const MEDIA_TYPE: &str = "application/vnd.edge-ai.set.v1+json";
/// Media type and content of the empty configuration of an artifact.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_CONTENT: &[u8] = b"{}";

/// Type of the artifact, a field that manifests of images do not have.
#[derive(Deserialize)]
struct Artifact {
    #[serde(rename = "artifactType", default)]
    artifact_type: String,
}

/// Returns the manifest of the artifact with the document `bytes`. It contains nothing that
/// varies, so one document has one digest.
pub fn manifest(bytes: &[u8]) -> Manifest {
    let document = json!({
        "schemaVersion": 2, "mediaType": IMAGE_TYPES[1], "artifactType": MEDIA_TYPE,
        "config": {
            "mediaType": EMPTY, "size": EMPTY_CONTENT.len(), "digest": Digest::of(EMPTY_CONTENT),
        },
        "layers": [{ "mediaType": MEDIA_TYPE, "size": bytes.len(), "digest": Digest::of(bytes) }],
    });
    Manifest::new(document.to_string().into_bytes())
}

/// Returns the descriptor of the document in the manifest of a release set.
pub(crate) fn document_of(manifest: &Manifest) -> Result<Descriptor, Error> {
    let digest = &manifest.digest;
    let malformed =
        |reason: &str| Error::Malformed(format!("{digest} is no release set: {reason}"));
    if manifest.bytes.len() > MAX_SET_MANIFEST_BYTES {
        return Err(malformed("its manifest is too large"));
    }
    let artifact: Artifact = json::parse(&manifest.bytes).map_err(|e| malformed(&e))?;
    let is_set = artifact.artifact_type == MEDIA_TYPE
        && manifest.media_type()? == IMAGE_TYPES[1]
        && manifest.config()? == Digest::of(EMPTY_CONTENT);
    let mut layers = manifest.layers()?;
    match (layers.pop(), layers.is_empty()) {
        (Some(layer), true) if is_set && layer.media_type == MEDIA_TYPE => {
            if layer.size > SET_BYTES {
                let size = layer.size;
                return Err(malformed(&format!("{size} bytes, more than {SET_BYTES}")));
            }
            Ok(layer)
        }
        _ => Err(malformed("another kind of artifact")),
    }
}
