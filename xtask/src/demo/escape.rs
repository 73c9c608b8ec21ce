//! Steps that attempt an escape by nested mounts: a container replaces the directory of
//! its second mount by a symbolic link to `/` and waits for a restart. Docker alone would
//! then mount the host's root directory (`cargo test -p edge-docker --test escapes`
//! asserts that).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::testbed::{Testbed, until};
use crate::shell;

/// Step before the reboot of the test VM, which starts the container.
pub(super) const START: Step = ("a mount inside a mount becomes a link to /", start);
/// Step after the reboot of the test VM, which checks the quarantine.
pub(super) const END: Step = ("neither restart nor reboot showed the host", end);

/// Statically linked shell for the container image, from the package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
const EDGE_DOCKER: &str = "sudo -n /usr/bin/edge-docker";
const DIRECTORY: &str = "/data/sandbox/escape";
/// Shell script that the container runs, shared with the tests of edge-docker.
const SCRIPT: &str = include_str!("../../../crates/edge-docker/tests/escape.sh");

fn start(testbed: &mut Testbed) -> Result<String> {
    build(testbed)?;
    launch(testbed, "first")?;
    shell::read(&mut testbed.ssh("vm", &format!("{EDGE_DOCKER} restart -t 0 first"))?)?;
    looks(testbed, "first", 2)?;
    testbed.root("systemctl restart docker.service")?;
    let reason = quarantined(testbed, "first")?;
    launch(testbed, "second")?;
    Ok(reason)
}

/// Starts a container with two nested mounts and waits until it has listed its second
/// mount.
fn launch(testbed: &Testbed, name: &str) -> Result<()> {
    let run = format!(
        "{EDGE_DOCKER} run -d --restart always --name {name} -v {DIRECTORY}/{name}:/data \
         -v {DIRECTORY}/{name}/models:/models sandbox/escape sh -c '{SCRIPT}'"
    );
    shell::read(&mut testbed.ssh("vm", &run)?)?;
    looks(testbed, name, 1)
}

fn looks(testbed: &Testbed, name: &str, times: usize) -> Result<()> {
    until(
        Duration::from_secs(120),
        "the container started again",
        || Ok((seen(testbed, name)?.len() >= times).then_some(())),
    )
}

/// Builds a sandbox container image with busybox on the device itself.
fn build(testbed: &Testbed) -> Result<()> {
    let busybox = fs::read(BUSYBOX).context("install busybox-static")?;
    let recipe = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", &recipe[..]), ("busybox", &busybox)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, content)?;
    }
    let mut ssh = testbed.ssh("vm", &format!("{EDGE_DOCKER} build -q -t sandbox/escape -"))?;
    let out = shell::feed(&mut ssh, &archive.into_inner()?)?;
    ensure!(out.status.success(), "building: {}", shell::tail(&out));
    Ok(())
}

fn end(testbed: &mut Testbed) -> Result<String> {
    let reason = quarantined(testbed, "second")?;
    let looks = seen(testbed, "first")?.len() + seen(testbed, "second")?.len();
    testbed.root(&format!("rm -r {DIRECTORY}"))?;
    Ok(format!("{looks} listings; {reason}"))
}

/// Asserts that the restarted engine has quarantined the container, and that the
/// container never listed the host's root directory. Returns the reason from the journal.
fn quarantined(testbed: &Testbed, name: &str) -> Result<String> {
    let link = testbed.root(&format!("readlink {DIRECTORY}/{name}/models"))?;
    ensure!(link == "/\n", "the directory is no link: {link}");
    let start = shell::output(&mut testbed.ssh("vm", &format!("{EDGE_DOCKER} start {name}"))?)?;
    ensure!(!start.status.success(), "{name} starts on a link");
    for list in seen(testbed, name)? {
        let shows = |name: &&str| list.lines().any(|line| line == *name);
        let host = ["proc", "sys", "etc"].iter().any(shows);
        ensure!(!host, "{name} saw the host: {list}");
    }
    let journal = testbed.root("journalctl -b -u docker.service -o cat --no-pager")?;
    let reason = journal
        .lines()
        .rfind(|l| l.contains("quarantined container"));
    let reason = reason.context("the boot audit does not name the reason")?;
    Ok(reason.into())
}

/// Returns the directory listings of the second mount that the container wrote, one for
/// each start.
fn seen(testbed: &Testbed, name: &str) -> Result<Vec<String>> {
    let each = "for f in seen-*; do [ ! -e $f ] || { echo = $f; cat $f; }; done";
    let names = testbed.root(&format!("cd {DIRECTORY}/{name} && {each}"))?;
    let lists = names.split("= seen-").skip(1);
    Ok(lists.map(String::from).collect())
}
