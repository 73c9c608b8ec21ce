//! Sizes of the device programs after stripping, compared with a limit.

use std::fs;

use anyhow::{Context, Result};

use crate::shell;

/// Programs of this workspace that are installed on the device.
pub(crate) const PROGRAMS: [&str; 8] = [
    "edge-partition",
    "edge-provision",
    "edge-vpn",
    "edge-docker",
    "edge-generator",
    "edge-heartbeat",
    "edge-os",
    "edge-fleet",
];

/// Limit in bytes of the sum of the sizes of all stripped programs. The goal is 9 MB, see
/// `docs/measurements.md`.
const LIMIT: u64 = 11_500_000;

/// Builds the release programs, strips copies of them and prints a table of their sizes;
/// returns false if the sum is over the limit.
pub(crate) fn run() -> Result<bool> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    let directory = tempfile::tempdir()?;
    println!("{:<16} {:>9}", "program", "kB");
    let mut sum = 0;
    for program in PROGRAMS {
        let built = shell::target()?.join("release").join(program);
        let copy = directory.path().join(program);
        shell::run(shell::command("strip").arg("-o").arg(&copy).arg(&built))?;
        let size = fs::metadata(&copy).context(program)?.len();
        println!("{program:<16} {:>9.1}", kilobytes(size));
        sum += size;
    }
    println!(
        "{:<16} {:>9.1}  (limit {:.1})",
        "sum",
        kilobytes(sum),
        kilobytes(LIMIT)
    );
    Ok(sum <= LIMIT)
}

#[expect(clippy::cast_precision_loss, reason = "a table of kilobytes")]
fn kilobytes(bytes: u64) -> f64 {
    bytes as f64 / 1000.0
}
