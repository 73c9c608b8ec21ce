//! The truth at the engine: what reaches its socket, whatever is typed.
//!
//! A recorder listens where the engine would; a check written without the
//! policy's code looks at every body that arrives.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod check;
mod client;
mod corpus;
mod generated;
mod recorder;
mod world;
