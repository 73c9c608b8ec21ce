//! Container policy of a device, as pure functions from text and JSON to a decision.
//!
//! The crate decides which options a command line may contain, how a container may be
//! configured, which stored containers the engine may start, and which requests the
//! engine may carry out. edge-docker reads the trust anchors and the command line, calls
//! this crate, and carries out the plan that it returns.
//!
//! This crate opens no file or socket and starts no process, and its dependencies are
//! built without such features: a decision depends only on the arguments, and fuzzers
//! call it directly. See `docs/decisions/0022-pure-policy-crate.md`.

pub mod api;
pub mod bounds;
pub mod break_glass;
pub mod cli;
pub mod create_body;
pub mod decide;
pub mod dockerfile;
pub mod grants;
pub mod identity;
pub mod image_labels;
mod limits;
pub mod mounts;
pub mod refusal;
pub mod run_spec;
pub mod stored;
pub mod strict_json;
