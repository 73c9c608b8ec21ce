//! Container signatures as cosign makes them: resolve, verify, make.
//!
//! edge-docker verifies with it, edge-app signs with it. Formats:
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md> and
//! <https://github.com/containers/image/blob/main/docs/containers-signature.5.md>.

#![cfg_attr(
    not(feature = "registry"),
    allow(dead_code, reason = "what only a registry's client uses")
)]

#[cfg(feature = "registry")]
mod blobs;
mod bundle;
mod error;
#[cfg(feature = "registry")]
mod http;
mod keys;
#[cfg(feature = "registry")]
mod lists;
mod manifest;
mod names;
mod proof;
#[cfg(feature = "registry")]
mod push;
mod reference;
#[cfg(feature = "registry")]
mod registry;
mod sign;
mod signed;
mod verify;

pub use error::Error;
pub use keys::Keys;
pub use manifest::{Descriptor, Manifest, architecture};
pub use names::{valid_app, valid_version};
pub use proof::Proof;
pub use reference::{Digest, ImageRef, Repository};
#[cfg(feature = "registry")]
pub use registry::{Credentials, Registry};
pub use sign::{payload, sign_with_pem};
pub use signed::{Draft, Format, Signed};
pub use verify::{Annotations, Verified, verify};
