//! Release sets: their form, and signatures by several keys.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../keys/mod.rs"]
mod keys;
mod signatures;
mod text;
