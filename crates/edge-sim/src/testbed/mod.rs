//! Testbed of the integration tests of all tools: a local cloud, a device's root
//! file system, and the programs of this workspace. The helpers panic after a
//! failure, so that the test fails.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the code of tests, shared by several crates"
)]

mod bundles;
mod cloud;
mod command_line;
mod device_root;
mod images;
mod programs;

pub use bundles::{Bundle, rauc};
pub use cloud::{Cloud, StrictEndpoint, edge_sim};
pub use command_line::{check_help, check_needs_root, check_wrong_usage};
pub use device_root::{DeviceRoot, IdentityFile};
pub use images::{build_context, build_image, push_image};
pub use programs::{example, program};

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// Runs a command; returns its exit code (128 + N after a signal N) and its
/// standard output followed by its standard error.
pub fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    let signal = output.status.signal().unwrap_or(0);
    let code = output.status.code().unwrap_or(128 + signal);
    (code, String::from_utf8_lossy(&text).into_owned())
}
