//! Which signatures count: made by cosign 2.6.5, made by us, and made wrong.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod cosign;
#[path = "../keys/mod.rs"]
mod keys;
mod ours;
