//! Images: identity, signature and release number, and the ways onto the device.

pub(crate) mod build;
mod failure;
pub(crate) mod identify;
pub(crate) mod load;
pub(crate) mod login;
mod progress;
pub(crate) mod pull;
pub(crate) mod push;
mod release_numbers;
pub(crate) mod signatures;
mod zstd;
