//! State of one endpoint: what was uploaded, for which target.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_signature::{BlobUpload, Digest, Registry};
use openssl::sha::Sha256;
use tokio::sync::Notify;

use crate::output::progress::Progress;

/// Receiver of the layers.
pub(crate) enum Target {
    /// Registry, to which each layer is forwarded while it arrives.
    Registry(Arc<Registry>),
    /// Memory, for a device that has the layers with the given diff IDs.
    Memory {
        /// Diff IDs of the layers on the device.
        present: HashSet<String>,
        /// Maximum number of bytes that are kept.
        limit: u64,
    },
    /// Nothing: the engine only computes the digests of its layers, and knows them when
    /// the image changes.
    Discard,
}

/// State that the connections share.
pub(super) struct Shared {
    pub(super) secret: String,
    pub(super) image: String,
    pub(super) target: Target,
    pub(super) contacted: AtomicBool,
    pub(super) held: AtomicU64,
    pub(super) failed: Notify,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) uploads: HashMap<String, Upload>,
    pub(super) received: BTreeMap<Digest, Received>,
    /// Digests that the target has, with their sizes.
    pub(super) present: BTreeMap<Digest, u64>,
    /// Digests that the target lacks, although the engine has been told otherwise.
    pub(super) denied: BTreeSet<Digest>,
    pub(super) manifest: Option<Vec<u8>>,
    pub(super) failure: Option<anyhow::Error>,
    pub(super) too_large: bool,
    pub(super) progress: Option<Progress>,
}

pub(super) struct Received {
    pub(super) size: u64,
    pub(super) content: Option<Vec<u8>>,
}

/// Upload of a blob in progress.
pub(super) struct Upload {
    pub(super) hash: Sha256,
    pub(super) size: u64,
    pub(super) kept: Vec<u8>,
    pub(super) forward: Option<BlobUpload>,
}

impl Shared {
    /// Locks the state, also after a panic of another task.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the push with an error.
    pub(super) fn fail(&self, error: anyhow::Error) {
        self.state().failure.get_or_insert(error);
        self.failed.notify_one();
    }
}
