//! Engine of AWS IoT Jobs: the published rules, with a clock that the test turns.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod cloud;
mod executions;
mod jobs;
mod operators;
mod requests;
mod wire;
