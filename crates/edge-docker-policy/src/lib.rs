//! Container policy of a device: text and JSON in, a decision out.
//!
//! Decides what a command line may request, what a container may be, which containers
//! may be stored on the disk, and which requests the engine may carry out. edge-docker
//! reads the trust anchors and the command line, calls this crate, and carries out the
//! plan that it returns.
//!
//! Nothing here opens a file, a socket or a process, and no dependency offers to: a
//! decision depends on its arguments alone, and fuzzers reach it directly. See
//! `docs/decisions/0022-pure-policy-crate.md`.

pub mod api;
pub mod cli;
pub mod create_body;
pub mod decide;
pub mod grants;
pub mod identity;
mod limits;
pub mod mounts;
pub mod refusal;
pub mod stored;
pub mod strict_json;
