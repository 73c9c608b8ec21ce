//! Result of a verification.

use crate::annotations::Annotations;
use crate::reference::Digest;

/// Result of a verification: an image with a trusted signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Digest of the manifest that the caller asked to verify.
    pub digest: Digest,
    /// Signed annotations: app, version, release number, grants and the digest of the run
    /// specification.
    pub annotations: Annotations,
    /// Bytes of the run specification, which have the signed digest. A cached signature
    /// always has them if `annotations.run` is stated; where signatures are only listed or
    /// compared, they are not downloaded.
    pub run: Option<Vec<u8>>,
    /// Tag in the reference of a v2 payload.
    pub(crate) tag: Option<String>,
    /// SHA-256 of the signer's public key in DER, in hexadecimal.
    pub signer: String,
}
