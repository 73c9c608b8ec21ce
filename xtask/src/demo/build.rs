//! First step of the demo: builds the programs and the base system of the test VM.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Testbed;
use crate::shell;

/// Builds the programs and, in parallel, the base system of the test VM: cargo needs the
/// processors, while the base system mostly waits for downloads.
pub(super) fn programs(testbed: &mut Testbed) -> Result<String> {
    shell::run(&mut cargo(&["--bin", "edge-sim"]))?;
    let mut base = testbed.sim(&["vm", "base"]);
    let base = base.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let base = base.context("building the base system of the test VM")?;
    let built = build(testbed);
    let output = base.wait_with_output();
    built?;
    let output = output.context("building the base system of the test VM")?;
    ensure!(
        output.status.success(),
        "building the base system of the test VM: {}",
        shell::tail(&output)
    );
    Ok(String::new())
}

fn build(testbed: &Testbed) -> Result<()> {
    shell::run(&mut cargo(&["--bins"]))?;
    if testbed.release() {
        shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    }
    Ok(())
}

/// Returns a cargo command that shares all compiled crates with the tests. cargo compiles
/// a crate again for each set of features, and the sets are equal only if the whole
/// workspace is selected.
fn cargo(targets: &[&str]) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--workspace"]).args(targets);
    // At a terminal cargo shows its progress, since minutes without output look like a
    // fault.
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    cargo
}
