//! Requests that reach the socket of the engine, for any command line.
//!
//! A recorder listens where the engine would; a check written without the
//! policy's code looks at every body that arrives.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../../../edge-docker-policy/tests/checker/mod.rs"]
mod checker;
mod client;
mod corpus;
#[path = "../device/dice.rs"]
mod dice;
mod generated;
mod ids;
mod recorder;
mod test_root;
