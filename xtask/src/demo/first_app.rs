//! Demo step that follows `docs/first-app.md`: all its commands, in one shell.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::testbed::Testbed;
use crate::shell;

const PAGE: &str = "docs/first-app.md";
/// Heading from which on the commands are run; those before install programs.
const BEGIN: &str = "\n## A project and an app\n";
/// Base image of the template, which is made here from a program of this machine, since
/// the demo takes nothing from other registries.
const BASE: &str = "busybox:1.37";
/// Lines that must be in the output, in this order.
const EXPECTED: [&str; 10] = [
    "version one, start 1",
    "visits",
    "version two, start 2",
    "v2 runs already",
    "no-such-program",
    "exit code 8",
    "v1",
    "version two, start 1",
    "v2",
    "removed",
];

/// Runs the commands of the page with the test VM as the device.
pub(super) fn follow(testbed: &mut Testbed) -> Result<String> {
    let text = fs::read_to_string(shell::repository().join(PAGE)).context(PAGE)?;
    let (_, steps) = text.split_once(BEGIN).context("no steps in the page")?;
    base_image(testbed)?;
    let mut sh = testbed.in_project("sh")?;
    sh.args(["-euc", &commands(steps)]).env("DEVICE", "vm");
    let start = Instant::now();
    let output = shell::output(&mut sh)?;
    let seconds = start.elapsed().as_secs();
    let printed = [&output.stdout[..], &output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    ensure!(output.status.success(), "{}: {printed}", output.status);
    let mut rest = &*String::from_utf8_lossy(&output.stdout);
    for line in EXPECTED {
        let at = rest.find(line);
        let at = at.with_context(|| format!("{line:?} is missing in: {rest}; {printed}"))?;
        rest = &rest[at + line.len()..];
    }
    Ok(format!("{seconds} s"))
}

/// Returns the blocks of commands of a page, one after the other. Messages are joined with
/// the output, so that their order shows.
fn commands(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("\n```").next());
    let blocks: Vec<_> = blocks.collect();
    format!("exec 2>&1\n{}\n", blocks.join("\n"))
}

/// Imports the base image of the template: busybox, and links with the names of its
/// programs.
fn base_image(testbed: &Testbed) -> Result<()> {
    let listed = shell::read(shell::command("/usr/bin/busybox").arg("--list"))?;
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name("/usr/bin/busybox", "bin/busybox")?;
    for name in listed.lines().filter(|name| *name != "busybox") {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, format!("bin/{name}"), "busybox")?;
    }
    let mut directory = tar::Header::new_gnu();
    directory.set_entry_type(tar::EntryType::Directory);
    directory.set_mode(0o1777);
    directory.set_size(0);
    archive.append_data(&mut directory, "tmp/", &[][..])?;
    let mut import = testbed.in_project("docker")?;
    import.args(["import", "--change", "ENV PATH=/bin", "-", BASE]);
    import.stdin(Stdio::piped());
    let output = shell::feed(&mut import, &archive.into_inner()?)?;
    ensure!(output.status.success(), "{}", shell::tail(&output));
    Ok(())
}
