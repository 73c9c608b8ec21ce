//! Facts about layers in the user's cache: the compressed blob of each layer that was
//! uploaded, and the layer that each digest of an engine names.

use std::path::PathBuf;

use anyhow::Result;
use edge_common::file;
use edge_signature::{Digest, Registry};

use crate::exit_code::registry_error;
use crate::image::cache;

/// Media type of a layer that is compressed with gzip.
pub(super) const GZIP_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a layer that is compressed with zstd.
pub(super) const ZSTD_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Media type of a layer that is not compressed.
const TAR_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media types of docker, in the order of the three above.
const DOCKER_TYPES: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
];
const TYPES: [&str; 3] = [GZIP_TYPE, ZSTD_TYPE, TAR_TYPE];
/// Size limit of a cache file, in bytes.
const MAX_CACHE_BYTES: u64 = 4096;

/// Descriptor of a compressed layer, as the manifest lists it.
pub(super) struct Blob {
    /// Media type of the OCI specification.
    pub(super) media_type: &'static str,
    /// Size in bytes.
    pub(super) size: u64,
    /// Digest of the compressed layer.
    pub(super) digest: Digest,
}

/// Returns the OCI media type of a layer with the media type `text`, of docker or of OCI.
pub(super) fn media_type(text: &str) -> Option<&'static str> {
    let at = |types: [&str; 3]| types.iter().position(|t| *t == text);
    at(TYPES).or_else(|| at(DOCKER_TYPES)).map(|n| TYPES[n])
}

/// Returns the compressed layer of an earlier upload, if the registry still has it.
pub(super) async fn find_uploaded(registry: &Registry, diff_id: &str) -> Result<Option<Blob>> {
    let text =
        cache_file("layers", diff_id).and_then(|p| file::read_text(&p, MAX_CACHE_BYTES).ok());
    let Some(blob) = text.as_deref().and_then(parse) else {
        return Ok(None);
    };
    let size = registry.blob_size(&blob.digest).await;
    let size = size.map_err(registry_error)?;
    Ok((size == Some(blob.size)).then_some(blob))
}

/// Remembers the compressed blob of a layer.
pub(super) fn remember_uploaded(diff_id: &str, blob: &Blob) {
    if let Some(path) = cache_file("layers", diff_id) {
        let text = format!("{} {} {}\n", blob.media_type, blob.size, blob.digest);
        cache::write(&path, &text);
    }
}

/// Returns the diff ID of the layer that an engine names `digest`.
pub(super) fn diff_id(digest: &Digest) -> Option<String> {
    let path = cache_file("digests", digest.as_str())?;
    let text = file::read_text(&path, MAX_CACHE_BYTES).ok()?;
    let text = text.trim_end();
    hex(text).map(|_| text.into())
}

/// Remembers that an engine names the layer with the given diff ID `digest`.
pub(super) fn remember_diff_id(digest: &Digest, diff_id: &str) {
    if hex(diff_id).is_some()
        && self::diff_id(digest).as_deref() != Some(diff_id)
        && let Some(path) = cache_file("digests", digest.as_str())
    {
        cache::write(&path, &format!("{diff_id}\n"));
    }
}

/// Returns the cache file of a digest. It is validated, since it becomes part of a path.
fn cache_file(kind: &str, digest: &str) -> Option<PathBuf> {
    let hex = hex(digest)?;
    Some(cache::directory()?.join(kind).join(hex))
}

fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

fn parse(text: &str) -> Option<Blob> {
    let mut fields = text.split_whitespace();
    Some(Blob {
        media_type: media_type(fields.next()?)?,
        size: fields.next()?.parse().ok()?,
        digest: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_and_paths() {
        let digest = Digest::of(b"x");
        let blob = parse(&format!("{GZIP_TYPE} 7 {digest}\n")).unwrap();
        assert_eq!(
            (blob.media_type, blob.size, blob.digest),
            (GZIP_TYPE, 7, digest)
        );
        for text in ["", "other 7 sha256:00", GZIP_TYPE, "application/x 1 2"] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert_eq!(media_type(DOCKER_TYPES[2]), Some(TAR_TYPE));
        for digest in ["sha256:../../../etc/passwd", "sha512:00", ""] {
            assert!(cache_file("layers", digest).is_none(), "{digest}");
        }
    }
}
