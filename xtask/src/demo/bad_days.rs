//! Steps with a killed engine, a full data partition and the limits of a caller. They need
//! the app hello in service and leave it so.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::steps::answers;
use super::testbed::Testbed;
use crate::shell;

/// Command of user edge, as the rule of sudo permits it.
pub(super) const EDGE_DOCKER: &str = "sudo -n /usr/bin/edge-docker";

/// Steps after the second boot of the test VM.
pub(super) const STEPS: [Step; 3] = [
    ("/data applies project quotas", quotas),
    ("hard limits of the caller have no effect", limits),
    ("engine and containerd killed: apps run again", killed),
];

/// Step that takes minutes, most of them for the inodes.
pub(super) const FULL: Step = ("/data full: space is freed by edge, deployed again", full);

/// Step that boots the test VM twice.
pub(super) const RESCUE: Step = ("no /data: the engineer gets in as always", rescue);

fn quotas(testbed: &mut Testbed) -> Result<String> {
    // Not from /proc/mounts, which omits options that the superblock states.
    let script = "grep -x prjquota /proc/fs/ext4/$(basename $(readlink -f /run/edge-ai/data-partition))/options";
    Ok(testbed.root(script)?.trim().into())
}

/// Needs CAP_SYS_RESOURCE, which root lacks on some machines of the tests.
fn limits(testbed: &mut Testbed) -> Result<String> {
    let count =
        |testbed: &Testbed| testbed.root("edge-docker ledger | grep -c 'allowed logout' || :");
    let before: usize = count(testbed)?.trim().parse()?;
    testbed.root(
        "for limit in nofile=9 fsize=0 cpu=1 as=100000000 stack=262144; do \
         prlimit --$limit edge-docker logout || exit 1; done",
    )?;
    let after: usize = count(testbed)?.trim().parse()?;
    ensure!(after == before + 5, "{before} records, then {after}");
    Ok(String::new())
}

fn killed(testbed: &mut Testbed) -> Result<String> {
    let mut ssh = testbed.ssh("vm-root", include_str!("engine_killed.sh"))?;
    Ok(shell::read(&mut ssh)?.trim().into())
}

fn full(testbed: &mut Testbed) -> Result<String> {
    let image = format!("{}@{}", testbed.endpoint("registry")?, testbed.digest);
    let edge = |args: &str| shell::read(&mut testbed.ssh("vm", &format!("{EDGE_DOCKER} {args}"))?);
    edge(&format!("run -d --name filler {image}"))?;
    let free = testbed.root(include_str!("fill_disk.sh"))?;
    let free: Vec<_> = free.split_whitespace().collect();
    ensure!(free == ["0", "0"], "{free:?} bytes and inodes are left");
    for args in [
        "ps -a",
        "images",
        "logs --tail 2 filler",
        "stop -t 1 hello",
        "stop -t 1 filler",
        "rm hello",
        "rm filler",
        "system prune -f",
    ] {
        edge(args)?;
    }
    edge(&format!("rmi {image}"))?;
    shell::read(&mut testbed.app(&["deploy", "hello", "vm", "--version", "v1"]))?;
    answers(testbed)
}

/// Boots a device without its data partition, then with it again.
fn rescue(testbed: &mut Testbed) -> Result<String> {
    let known_hosts = testbed.path("vm/known_hosts");
    let kept = testbed.path("vm/known_hosts.kept");
    shell::read(&mut testbed.part("vm", "stop"))?;
    label(testbed, "GONE")?;
    fs::rename(&known_hosts, &kept).context("keeping the host keys")?;
    let booted = shell::read(&mut testbed.part("vm", "up"));
    let found = booted.and_then(|_| without_data(testbed));
    shell::read(&mut testbed.part("vm", "stop"))?;
    label(testbed, "DATA")?;
    fs::rename(&kept, &known_hosts).context("restoring the host keys")?;
    let found = found?;
    shell::read(&mut testbed.part("vm", "up"))?;
    answers(testbed)?;
    Ok(found)
}

/// Renames the data partition on the disk of the test VM, which is off.
fn label(testbed: &Testbed, name: &str) -> Result<()> {
    let mut sfdisk = shell::command("sfdisk");
    sfdisk.args(["--quiet", "--part-label"]);
    shell::read(sfdisk.arg(testbed.path("vm/disk.img")).args(["16", name])).map(drop)
}

/// Checks what docs/decisions/0039-a-device-without-data.md says: same user, keys and rule
/// of sudo, a host key that the console shows, and no report.
fn without_data(testbed: &Testbed) -> Result<String> {
    let edge = |script: &str| shell::output(&mut testbed.ssh("vm", script)?);
    let name = edge("id -un; ! mountpoint -q /data && systemctl is-active edge-rescue-ssh")?;
    let name = String::from_utf8_lossy(&name.stdout).into_owned();
    ensure!(name == "edge\nactive\n", "edge is not let in: {name}");
    for (script, allowed) in [
        ("sudo -n -l /usr/bin/edge-docker ps", true),
        ("sudo -n true", false),
        ("sudo -n /bin/sh -c id", false),
    ] {
        ensure!(
            edge(script)?.status.success() == allowed,
            "{script}: not {allowed}"
        );
    }
    let states = testbed.root("systemctl is-active data.mount docker ssh edge-heartbeat || :")?;
    let active = states.lines().filter(|state| *state == "active").count();
    ensure!(active == 0, "units run without /data: {states}");
    let known = testbed.path("vm/known_hosts");
    let mut keygen = shell::command("ssh-keygen");
    let known = shell::read(keygen.args(["-l", "-f"]).arg(known))?;
    let fingerprint = known.split_whitespace().nth(1).context("no fingerprint")?;
    let console = fs::read(testbed.path("vm/console.log")).context("reading the console")?;
    let console = String::from_utf8_lossy(&console).into_owned();
    ensure!(
        console.contains(fingerprint),
        "the console does not show {fingerprint}"
    );
    Ok(format!(
        "edge, without a shell of root's; {fingerprint} on the console"
    ))
}
