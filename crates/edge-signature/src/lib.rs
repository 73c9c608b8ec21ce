//! Container signatures in cosign's two formats: verification, signing, and a client of
//! the registry that stores the signatures.
//!
//! edge-docker verifies signatures before an image runs; edge-app signs and pushes
//! images. The client reads manifests, payloads and signatures of one repository over
//! HTTPS, and with the feature `push` also writes them. The crate opens no file: keys,
//! credentials and CA certificates are arguments. docs/signatures.md describes the rules;
//! the formats are specified in
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md> and
//! <https://github.com/containers/image/blob/main/docs/containers-signature.5.md>.

#![cfg_attr(
    not(feature = "push"),
    allow(dead_code, reason = "helpers of the features that are off")
)]

#[cfg(feature = "verify")]
mod annotations;
#[cfg(feature = "verify")]
mod bundle;
#[cfg(feature = "verify")]
mod bundle_signature;
#[cfg(feature = "verify")]
mod cached;
#[cfg(feature = "verify")]
mod der;
#[cfg(feature = "verify")]
pub mod dsse;
#[cfg(feature = "verify")]
mod encoding;
mod error;
#[cfg(feature = "verify")]
mod json;
#[cfg(feature = "verify")]
mod keys;
#[cfg(feature = "verify")]
mod limits;
#[cfg(feature = "verify")]
mod manifest;
#[cfg(feature = "verify")]
mod merge;
mod names;
#[cfg(feature = "verify")]
pub mod os;
mod reference;
#[cfg(feature = "pull")]
mod registry;
#[cfg(feature = "verify")]
mod select;
#[cfg(feature = "verify")]
pub mod set;
#[cfg(feature = "verify")]
mod signed;
#[cfg(feature = "verify")]
mod simple_signing;
#[cfg(feature = "verify")]
mod verified;
#[cfg(feature = "verify")]
mod verify;

#[cfg(feature = "verify")]
pub use annotations::Annotations;
#[cfg(feature = "verify")]
pub use bundle_signature::{
    BUNDLE_TAIL_BYTES, BundleEnd, BundleSignature, keyring, signed_manifest,
};
#[cfg(feature = "verify")]
pub use cached::CachedSignature;
pub use error::Error;
#[cfg(feature = "verify")]
pub use keys::{Keys, SHOWN_KEY_DIGITS, sign_with_pem};
#[cfg(feature = "verify")]
pub use manifest::{Descriptor, Manifest, architecture};
pub use names::{reserved_suffix, valid_app, valid_version};
pub use reference::{Digest, ImageRef, Repository};
#[cfg(feature = "push")]
pub use registry::BlobUpload;
#[cfg(feature = "pull")]
pub use registry::{Credentials, FoundOs, Layout, Registry, docker_config_keys};
#[cfg(feature = "verify")]
pub use select::Select;
#[cfg(feature = "verify")]
pub use signed::{Draft, Format, Signed};
#[cfg(feature = "verify")]
pub use simple_signing::payload;
#[cfg(feature = "verify")]
pub use verified::Verified;
#[cfg(feature = "verify")]
pub use verify::verify;
