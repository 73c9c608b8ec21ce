//! The registry client against a server in memory: signed images, unsigned ones, and a server
//! that fails, floods and lies.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod images;
#[path = "../keys/mod.rs"]
mod keys;
mod misbehaviour;
mod run_specs;
#[path = "../server/mod.rs"]
mod server;
mod sets;
mod several;
mod signatures;
