//! Paths of this workspace's programs, which are in the build directory of the
//! test.
//!
//! Cargo passes a test only the paths of the programs of its own crate, and a
//! dependency on the program of another crate cannot be declared in stable Rust. A
//! test whose program is missing fails and names the command that builds the
//! program.

use std::path::PathBuf;

use crate::host;

/// Returns the path of a program of the workspace, for example `edge-sim`.
///
/// # Panics
/// If the program is not built.
pub fn program(name: &str) -> PathBuf {
    host::program(name).unwrap()
}

/// Returns the path of an example of the workspace, for example
/// `provision_at_root`.
///
/// # Panics
/// If the example is not built.
pub fn example(name: &str) -> PathBuf {
    host::example(name).unwrap()
}
