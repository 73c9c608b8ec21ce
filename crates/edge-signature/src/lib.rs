//! Container signatures as cosign makes them: resolve, verify, make.
//!
//! edge-docker verifies with it, edge-app signs with it. Formats:
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md> and
//! <https://github.com/containers/image/blob/main/docs/containers-signature.5.md>.

#![cfg_attr(
    not(feature = "push"),
    allow(dead_code, reason = "helpers of the features that are off")
)]

#[cfg(feature = "push")]
mod blobs;
#[cfg(feature = "verify")]
mod bundle;
mod error;
#[cfg(feature = "pull")]
mod http;
#[cfg(feature = "verify")]
mod keys;
#[cfg(feature = "pull")]
mod lists;
#[cfg(feature = "verify")]
mod manifest;
mod names;
#[cfg(feature = "verify")]
mod proof;
#[cfg(feature = "push")]
mod push;
mod reference;
#[cfg(feature = "pull")]
mod registry;
#[cfg(feature = "verify")]
mod sign;
#[cfg(feature = "verify")]
mod signed;
#[cfg(feature = "verify")]
mod verify;

pub use error::Error;
#[cfg(feature = "verify")]
pub use keys::Keys;
#[cfg(feature = "verify")]
pub use manifest::{Descriptor, Manifest, architecture};
pub use names::{valid_app, valid_version};
#[cfg(feature = "verify")]
pub use proof::Proof;
pub use reference::{Digest, ImageRef, Repository};
#[cfg(feature = "pull")]
pub use registry::{Credentials, Registry};
#[cfg(feature = "verify")]
pub use sign::{payload, sign_with_pem};
#[cfg(feature = "verify")]
pub use signed::{Draft, Format, Signed};
#[cfg(feature = "verify")]
pub use verify::{Annotations, Verified, verify};
