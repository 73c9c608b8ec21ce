//! The escape by a mount inside another: a container exchanges the directory of
//! its second mount for a link to `/` and lets itself be started again. Docker
//! alone then shows it the host (`cargo test -p edge-docker --test escapes` says so).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::world::{World, until};
use crate::shell;

/// Before the reboot of the demo.
pub const START: Step = ("a mount inside a mount becomes a link to /", start);
/// After it.
pub const END: Step = ("neither restart nor reboot showed the host", end);

/// A static shell: `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
const GATE: &str = "sudo -n /usr/bin/edge-docker";
const DIRECTORY: &str = "/data/sandbox/escape";
/// What the container does.
const SCRIPT: &str = include_str!("../../../crates/edge-docker/tests/escape.sh");

fn start(world: &mut World) -> Result<String> {
    build(world)?;
    launch(world, "first")?;
    shell::read(&mut world.ssh("vm", &format!("{GATE} restart -t 0 first"))?)?;
    looks(world, "first", 2)?;
    world.root("systemctl restart docker.service")?;
    let swept = kept_away(world, "first")?;
    launch(world, "second")?;
    Ok(swept)
}

/// Starts one and waits until it has looked for its way out.
fn launch(world: &World, name: &str) -> Result<()> {
    let run = format!(
        "{GATE} run -d --restart always --name {name} -v {DIRECTORY}/{name}:/data \
         -v {DIRECTORY}/{name}/models:/models sandbox/escape sh -c '{SCRIPT}'"
    );
    shell::read(&mut world.ssh("vm", &run)?)?;
    looks(world, name, 1)
}

fn looks(world: &World, name: &str, times: usize) -> Result<()> {
    until(Duration::from_secs(120), "its next life", || {
        Ok((seen(world, name)?.len() >= times).then_some(()))
    })
}

/// A shell in an image of the sandbox, built by the device itself.
fn build(world: &World) -> Result<()> {
    let busybox = fs::read(BUSYBOX).context("install busybox-static")?;
    let recipe = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", &recipe[..]), ("busybox", &busybox)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, content)?;
    }
    let mut ssh = world.ssh("vm", &format!("{GATE} build -q -t sandbox/escape -"))?;
    let out = shell::feed(&mut ssh, &archive.into_inner()?)?;
    ensure!(out.status.success(), "building: {}", shell::said(&out));
    Ok(())
}

fn end(world: &mut World) -> Result<String> {
    let swept = kept_away(world, "second")?;
    let looks = seen(world, "first")?.len() + seen(world, "second")?.len();
    world.root(&format!("rm -r {DIRECTORY}"))?;
    Ok(format!("{looks} looks; {swept}"))
}

/// The engine has started anew on the link: the container is not there, the
/// journal says why, and it never saw the host.
fn kept_away(world: &World, name: &str) -> Result<String> {
    let link = world.root(&format!("readlink {DIRECTORY}/{name}/models"))?;
    ensure!(link == "/\n", "no link lies there: {link}");
    let start = shell::output(&mut world.ssh("vm", &format!("{GATE} start {name}"))?)?;
    ensure!(!start.status.success(), "{name} starts on a link");
    for list in seen(world, name)? {
        let shows = |name: &&str| list.lines().any(|line| line == *name);
        let host = ["proc", "sys", "etc"].iter().any(shows);
        ensure!(!host, "{name} saw the host: {list}");
    }
    let journal = world.root("journalctl -b -u docker.service -o cat --no-pager")?;
    let swept = journal
        .lines()
        .rfind(|l| l.contains("quarantined container"));
    let swept = swept.context("the boot audit does not report why it is not there")?;
    Ok(swept.into())
}

/// Each list of what the container found below its second mount.
fn seen(world: &World, name: &str) -> Result<Vec<String>> {
    let each = "for f in seen-*; do [ ! -e $f ] || { echo = $f; cat $f; }; done";
    let names = world.root(&format!("cd {DIRECTORY}/{name} && {each}"))?;
    let lists = names.split("= seen-").skip(1);
    Ok(lists.map(String::from).collect())
}
