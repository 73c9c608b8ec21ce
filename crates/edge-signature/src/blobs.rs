//! Blobs too large to hold: from a file, or from another registry.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use oci_distribution::RegistryOperation;
use oci_distribution::errors::OciDistributionError;
use oci_distribution::manifest::OciDescriptor;
use tokio::sync::mpsc::Receiver;

use crate::push::failed;
use crate::{Descriptor, Digest, Error, Registry};

impl Registry {
    /// Is the blob there?
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let client = self.uploads().await?;
        let there = client.blob_exists(&self.any(), digest.as_str()).await;
        there.map_err(|e| failed(digest.as_str(), e))
    }

    /// Puts a blob there that comes in pieces, `size` bytes in all. The registry
    /// holds it against its digest.
    ///
    /// # Errors
    /// Unreachable, not allowed, or other content.
    pub async fn push_pieces(
        &self,
        digest: &Digest,
        size: u64,
        pieces: Receiver<Vec<u8>>,
    ) -> Result<(), Error> {
        let pieces = stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok(Bytes::from(piece)), pieces))
        });
        self.push_stream(digest, size, pieces).await
    }

    /// Copies a blob of another registry as it comes; `count` is told the bytes.
    /// Says whether there was anything to copy.
    ///
    /// # Errors
    /// Unreachable or not allowed, here or there; other content.
    pub async fn copy_blob(
        &self,
        from: &Self,
        blob: &Descriptor,
        count: impl Fn(u64) + Send + 'static,
    ) -> Result<bool, Error> {
        if self.has_blob(&blob.digest).await? {
            return Ok(false);
        }
        let name = blob.digest.as_str();
        let descriptor = OciDescriptor {
            digest: name.into(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            media_type: blob.media_type.clone(),
            ..OciDescriptor::default()
        };
        let client = from.client(RegistryOperation::Pull).await?;
        let sized = client.pull_blob_stream(&from.any(), &descriptor).await;
        let pieces = sized
            .map_err(|e| failed(name, e))?
            .stream
            .map(move |piece| {
                let piece = piece.map_err(OciDistributionError::from)?;
                count(piece.len() as u64);
                Ok(piece)
            });
        self.push_stream(&blob.digest, blob.size, pieces).await?;
        Ok(true)
    }

    async fn push_stream(
        &self,
        digest: &Digest,
        size: u64,
        pieces: impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static,
    ) -> Result<(), Error> {
        let client = self.uploads().await?;
        let pushed = client
            .push_blob_stream(&self.any(), pieces, digest.as_str(), Some(size))
            .await;
        pushed.map(|_| ()).map_err(|e| failed(digest.as_str(), e))
    }
}
