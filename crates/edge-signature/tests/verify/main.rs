//! Verification of signatures by cosign 2.6.5, by edge-app, and of malformed ones.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod cosign;
mod edge;
#[path = "../keys/mod.rs"]
mod keys;
mod roles;
mod strangers;
