//! Programs of this workspace that a test runs, found beside the test itself.
//!
//! Cargo tells a test the paths of the programs of its own crate only, and a
//! dependency on the program of another crate cannot be declared in stable Rust:
//! a test that lacks one fails and names the command that builds it.

use std::path::PathBuf;

use crate::host;

/// Returns the path of a program of the workspace.
///
/// # Panics
/// If it is not built.
pub fn program(name: &str) -> PathBuf {
    host::program(name).unwrap()
}

/// Returns the path of an example of the workspace.
///
/// # Panics
/// If it is not built.
pub fn example(name: &str) -> PathBuf {
    host::example(name).unwrap()
}
