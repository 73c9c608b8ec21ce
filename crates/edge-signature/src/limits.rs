//! Size and count limits of data that arrives before a signature is verified.
//!
//! Whoever can write to the repository chooses this data, and edge-docker holds it in memory as
//! root on a device of a few gigabytes. A limit is compared with the announced size before a
//! download, and with the bytes that arrive.

/// Size of a signed payload. Cosign's have about 300 bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Size of a bundle: a payload in Base64, and evidence that is not read.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 128 * 1024;
/// Size of a manifest, index or list page: the limit that registries themselves apply.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Manifests that an index may list.
pub(crate) const MAX_INDEX_ENTRIES: usize = 256;
/// Signatures of one image that are verified, in each format. Each costs a download, so without
/// a limit one signer could keep a device from reaching the others.
pub(crate) const MAX_SIGNATURES: usize = 64;
