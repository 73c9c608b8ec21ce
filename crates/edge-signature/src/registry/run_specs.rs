//! Run specifications in the registry: each is a blob, which a manifest under the tag
//! `sha256-HEX.run` protects from the registry's collection of garbage.

#[cfg(feature = "push")]
use serde_json::json;

use super::client::Registry;
use super::http::Request;
use crate::error::Error;
use crate::limits::MAX_RUN_SPEC_BYTES;
use crate::reference::Digest;

/// Media type of a run specification, and artifact type of its manifest.
#[cfg(feature = "push")]
const RUN_SPEC: &str = "application/vnd.edge-ai.run.v1+json";

impl Registry {
    /// Downloads the run specification whose digest a signature states.
    ///
    /// Only the blob is requested, by the signed digest. The manifest under the tag is not
    /// read: whoever can push can replace it.
    ///
    /// # Errors
    /// The registry has no such blob, refuses or does not answer, or the received bytes
    /// have another digest or are too large.
    pub async fn run_spec(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let name = format!("run specification {digest}");
        let request = Request {
            any_host: true,
            ..Request::get(
                self.path(&format!("blobs/{digest}")),
                &name,
                MAX_RUN_SPEC_BYTES,
            )
        };
        let bytes = self.http.send(&request).await?.body;
        if Digest::of(&bytes) != *digest {
            return Err(Error::Malformed(format!(
                "{name}: the registry sent other content"
            )));
        }
        Ok(bytes)
    }

    /// Pushes a run specification: the bytes as a blob, and a manifest under the tag
    /// `sha256-HEX.run`. Returns the digest of the bytes, which is to be signed.
    ///
    /// # Errors
    /// The bytes are more than 64 KiB, or the registry refuses or does not answer.
    #[cfg(feature = "push")]
    pub async fn push_run_spec(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        use super::push::{EMPTY, OCI_MANIFEST};

        let size = bytes.len();
        if size > MAX_RUN_SPEC_BYTES {
            return Err(Error::Malformed(format!(
                "the run specification has {size} bytes, more than {MAX_RUN_SPEC_BYTES}"
            )));
        }
        let digest = self.push_blob(bytes).await?;
        let config = self.push_blob(b"{}".to_vec()).await?;
        // The manifest contains nothing that varies, so a tag that exists has this content
        // already; the tags of the repository are immutable.
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": RUN_SPEC,
            "config": { "mediaType": EMPTY, "size": 2, "digest": config },
            "layers": [{ "mediaType": RUN_SPEC, "size": size, "digest": digest }],
        });
        let bytes = manifest.to_string().into_bytes();
        let tag = run_spec_tag(&digest);
        let old = self.find_manifest(&tag, OCI_MANIFEST).await?;
        if old.is_none_or(|old| old.bytes != bytes) {
            self.push_manifest(&tag, bytes, OCI_MANIFEST).await?;
        }
        Ok(digest)
    }
}

/// Returns the tag of the manifest that keeps the run specification `digest`:
/// `sha256-HEX.run`.
#[cfg(feature = "push")]
fn run_spec_tag(digest: &Digest) -> String {
    format!("sha256-{}.run", digest.hex())
}
