//! Blobs that the engine uploads: small ones are kept, large ones are forwarded while they
//! arrive.

use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use edge_signature::Digest;
use hyper::body::Bytes;
use openssl::sha::Sha256;

use super::shared::{Received, Shared, Target, Upload};
use crate::exit_code::registry_error;
use crate::output::progress::Progress;

/// Size in bytes up to which a blob is kept: the configuration is among these, and a small
/// layer is compared with those in the registry before it is sent.
const SMALL_BYTES: usize = 1024 * 1024;

impl Upload {
    /// Starts an upload.
    pub(super) fn new() -> Self {
        Self {
            hash: Sha256::new(),
            size: 0,
            kept: Vec::new(),
            forward: None,
        }
    }

    /// Returns the number of bytes that arrived.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes, and forwards them if the blob is not small.
    pub(super) async fn add(&mut self, shared: &Shared, bytes: Bytes) -> Result<()> {
        self.hash.update(&bytes);
        self.size += bytes.len() as u64;
        let small = self.forward.is_none() && self.kept.len() + bytes.len() <= SMALL_BYTES;
        let kept = match &shared.target {
            Target::Memory { limit, .. } => {
                let held = shared.held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if held > *limit {
                    shared.state().too_large = true;
                    return Err(anyhow!("more than {limit} bytes of new layers"));
                }
                true
            }
            Target::Registry(_) => small,
            Target::Discard => small && self.size <= SMALL_BYTES as u64,
        };
        if kept {
            self.kept.extend_from_slice(&bytes);
            return Ok(());
        }
        shared.count(self.size, bytes.len() as u64);
        let Target::Registry(registry) = &shared.target else {
            self.kept = Vec::new();
            return Ok(());
        };
        if self.forward.is_none() {
            let mut upload = registry.begin_blob().await.map_err(registry_error)?;
            let kept = Bytes::from(std::mem::take(&mut self.kept));
            upload.send(kept).await.map_err(registry_error)?;
            self.forward = Some(upload);
        }
        match &mut self.forward {
            Some(upload) => upload.send(bytes).await.map_err(registry_error),
            None => Ok(()),
        }
    }

    /// Ends the upload of the blob `digest`. Returns `None` if other bytes arrived.
    pub(super) async fn finish(self, digest: &Digest) -> Result<Option<Received>> {
        let hex = edge_common::hex::encode(self.hash.finish());
        if digest.hex() != hex {
            return Ok(None);
        }
        let complete = self.kept.len() as u64 == self.size;
        if let Some(upload) = self.forward {
            upload.finish(digest).await.map_err(registry_error)?;
        }
        Ok(Some(Received {
            size: self.size,
            content: complete.then_some(self.kept),
        }))
    }
}

impl Shared {
    /// Adds bytes of a large blob to the progress, which the first of them starts.
    fn count(&self, size: u64, bytes: u64) {
        let label = match self.target {
            Target::Discard => "docker prepares the next change",
            _ => "sending new layers",
        };
        let mut state = self.state();
        let progress = state.progress.get_or_insert_with(|| {
            let progress = Progress::new(label, None);
            progress.add(size - bytes);
            progress
        });
        progress.add(bytes);
    }
}
