//! Container signatures as cosign makes them: resolve, verify, make.
//!
//! edge-docker verifies with it, edge-app signs with it. Formats:
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md> and
//! <https://github.com/containers/image/blob/main/docs/containers-signature.5.md>.

mod blobs;
mod bundle;
mod error;
mod http;
mod keys;
mod manifest;
mod names;
mod proof;
mod push;
mod reference;
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
pub use registry::{Credentials, Registry};
pub use sign::{payload, sign_with_pem};
pub use signed::{Draft, Format, Signed};
pub use verify::{Annotations, Verified, verify};
