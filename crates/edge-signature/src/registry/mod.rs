//! Client of one repository of a registry.
//!
//! Reading is done here, over reqwest: oci-client, which uploads for edge-app, sets no time
//! limits, does not limit the size of what it reads, and follows an index by itself
//! (docs/decisions/0003-oci-client-on-the-laptop-only.md).

mod client;
mod credentials;
mod http;
mod lists;
#[cfg(feature = "push")]
mod push;
mod response;
mod signatures;
mod token;
#[cfg(feature = "push")]
mod uploads;

pub use client::Registry;
pub use credentials::Credentials;
