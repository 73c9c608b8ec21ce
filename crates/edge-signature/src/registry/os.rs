//! OS images in the registry: a manifest with the signed description and the bundle. A
//! device streams the bundle by the digest that is signed, never by the manifest's.

use serde::Deserialize;
#[cfg(feature = "push")]
use serde_json::json;

use super::client::Registry;
use super::http::Request;
use crate::error::Error;
use crate::keys::Keys;
use crate::manifest::IMAGE_TYPES;
use crate::os::{ARTIFACT_TYPE, BUNDLE_TYPE, ENVELOPE_TYPE, MAX_ENVELOPE_BYTES, OsImage, TAG};
use crate::reference::Digest;

#[derive(Deserialize)]
struct Artifact {
    #[serde(rename = "artifactType", default)]
    artifact_type: String,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    size: u64,
}

/// OS image in the registry, with its signature verified.
pub struct FoundOs {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Description from the signature.
    pub image: OsImage,
    /// Signed description, as `edge-os` takes it.
    pub envelope: Vec<u8>,
}

impl Registry {
    /// Fetches and verifies the OS image of a version; `None` if the registry has none.
    ///
    /// # Errors
    /// The manifest is no OS image, is not signed by one of the keys for this role, names
    /// another bundle than the signature, lacks it, or the registry does not answer.
    pub async fn os_image(&self, keys: &Keys, version: &str) -> Result<Option<FoundOs>, Error> {
        let tag = format!("{TAG}{version}");
        let Some(manifest) = self.find_manifest(&tag, IMAGE_TYPES[1]).await? else {
            return Ok(None);
        };
        let malformed = |why: &str| Error::Malformed(format!("{tag}: {why}"));
        let artifact: Artifact = serde_json::from_slice(&manifest.bytes)
            .map_err(|_| malformed("not a manifest of an OS image"))?;
        let layer = |kind: &str| artifact.layers.iter().find(|l| l.media_type == kind);
        let (Some(signed), Some(bundle)) = (layer(ENVELOPE_TYPE), layer(BUNDLE_TYPE)) else {
            return Err(malformed("not a manifest of an OS image"));
        };
        if artifact.artifact_type != ARTIFACT_TYPE || signed.size > MAX_ENVELOPE_BYTES as u64 {
            return Err(malformed("not a manifest of an OS image"));
        }
        let name = format!("description {}", signed.digest);
        let request = Request {
            any_host: true,
            ..Request::get(
                self.path(&format!("blobs/{}", signed.digest)),
                &name,
                MAX_ENVELOPE_BYTES,
            )
        };
        let envelope = self.http.send(&request).await?.body;
        let image = OsImage::verify(keys, &envelope)?;
        // Both are signed; the manifest is not, and whoever can push can replace it.
        if image.version != version {
            return Err(malformed(&format!("signed as version {}", image.version)));
        }
        if bundle.digest.as_str() != image.bundle || bundle.size != image.bundle_size {
            return Err(malformed("the bundle is not the signed one"));
        }
        Ok(Some(FoundOs {
            digest: manifest.digest,
            image,
            envelope,
        }))
    }

    /// Pushes the manifest of an OS image whose bundle the registry has; returns its digest.
    ///
    /// # Errors
    /// The version exists with other content, or the registry refuses or does not answer.
    #[cfg(feature = "push")]
    pub async fn push_os_image(&self, image: &OsImage, envelope: Vec<u8>) -> Result<Digest, Error> {
        use super::push::{EMPTY, OCI_MANIFEST};

        let size = envelope.len();
        let signed = self.push_blob(envelope).await?;
        let config = self.push_blob(b"{}".to_vec()).await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": ARTIFACT_TYPE,
            "config": { "mediaType": EMPTY, "size": 2, "digest": config },
            "layers": [
                { "mediaType": ENVELOPE_TYPE, "size": size, "digest": signed },
                { "mediaType": BUNDLE_TYPE, "size": image.bundle_size, "digest": image.bundle },
            ],
        });
        let tag = format!("{TAG}{}", image.version);
        self.push_manifest(&tag, manifest.to_string().into_bytes(), OCI_MANIFEST)
            .await
    }
}
