//! Container policy of a device: text and JSON in, a decision out.
//!
//! Nothing here opens a file, a socket or a process, so that the compiler proves that
//! a decision depends on its arguments alone, and fuzzers reach it directly.
//! edge-docker reads the trust anchors and the command line, asks this crate, and
//! carries out the plan that it returns.

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
