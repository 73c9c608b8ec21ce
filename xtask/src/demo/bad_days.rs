//! Steps with a killed engine, a full data partition and the limits of a caller. They need
//! the app hello in service and leave it so.

use anyhow::{Result, ensure};

use super::Step;
use super::steps::answers;
use super::testbed::Testbed;
use crate::shell;

const EDGE_DOCKER: &str = "sudo -n /usr/bin/edge-docker";

/// Steps after the second boot of the test VM.
pub(super) const STEPS: [Step; 3] = [
    ("/data applies project quotas", quotas),
    ("hard limits of the caller have no effect", limits),
    ("engine and containerd killed: apps run again", killed),
];

/// Step that takes minutes, most of them for the inodes.
pub(super) const FULL: Step = ("/data full: space is freed by edge, deployed again", full);

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
