//! Size and count limits of data that arrives before a signature is verified.
//!
//! Anyone who can write to the repository controls this data, and edge-docker, which runs
//! as root on a device with a few gigabytes of memory, keeps the data in memory. A size
//! limit is compared with the announced size before a download and with the bytes that
//! arrive.

use edge_common::contract::limit::RUN_SPEC_BYTES;

/// Size limit of a signed payload, in bytes. Payloads of cosign have about 300 bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Size limit of a bundle, in bytes: a payload in Base64, and evidence of a transparency
/// log that is not read.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 128 * 1024;
/// Size limit of a run specification, in bytes.
pub(crate) const MAX_RUN_SPEC_BYTES: usize = RUN_SPEC_BYTES as usize;
/// Size limit of a manifest, index or list page, in bytes: the limit that registries
/// themselves apply.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Size limit of the manifest of a release set, in bytes.
pub(crate) const MAX_SET_MANIFEST_BYTES: usize = 64 * 1024;
/// Maximum number of manifests in an index.
pub(crate) const MAX_INDEX_ENTRIES: usize = 256;
/// Maximum number of signatures in a cached signature: one for each app and version that
/// the image is signed for.
pub(crate) const MAX_KEPT_SIGNATURES: usize = 64;
/// Maximum number of signatures of one image that are verified in each format. Each
/// signature costs a download, so without a limit one signer could add so many that a
/// device does not reach the signatures of others.
pub(crate) const MAX_SIGNATURES: usize = 64;
