//! Container images: identity, signature and release number, and the commands that pull,
//! load, build and push them.

pub(crate) mod build;
mod build_limits;
pub(crate) mod bundle;
mod context;
pub(crate) mod failure;
pub(crate) mod identify;
pub(crate) mod load;
pub(crate) mod login;
mod progress;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod release_numbers;
pub(crate) mod signatures;
pub(crate) mod unused;
mod zstd;
