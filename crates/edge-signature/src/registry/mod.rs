//! Client of one repository of a registry.
//!
//! Manifests and signatures are read with reqwest and not with oci-client, which uploads
//! blobs for edge-app: oci-client sets no time limits by default, does not limit the size
//! of a response, and chooses an image of an index on its own
//! (docs/decisions/0003-oci-client-on-the-laptop-only.md).

#[cfg(feature = "push")]
mod blob_upload;
mod client;
mod credentials;
mod http;
mod layout;
mod lists;
mod os;
#[cfg(feature = "push")]
mod push;
mod response;
mod run_specs;
mod sets;
mod signatures;
mod token;
#[cfg(feature = "push")]
mod uploads;

#[cfg(feature = "push")]
pub use blob_upload::BlobUpload;
pub use client::Registry;
pub use credentials::{Credentials, docker_config_keys};
pub use layout::Layout;
pub use os::FoundOs;
