//! Programs of this workspace that a test runs, found beside the test itself.
//!
//! Cargo passes a test the paths of the programs of its own crate only. A
//! dependency on another crate's program cannot be declared in stable Rust, so
//! a test that lacks one fails and names the command that builds it.

use std::path::PathBuf;

/// Directory of the programs that were built with the running one.
fn directory() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let mut directory = executable.parent().unwrap();
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory = directory.parent().unwrap();
    }
    directory.into()
}

/// Path of the program `name` of the workspace.
///
/// # Panics
/// If it is not built.
pub fn program(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// Path of the example `name` of the workspace.
///
/// # Panics
/// If it is not built.
pub fn example(name: &str) -> PathBuf {
    let path = directory().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace --examples",
        path.display()
    );
    path
}
