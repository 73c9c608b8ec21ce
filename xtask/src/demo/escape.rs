//! The escape by a mount inside another: a container exchanges the folder of
//! its second mount for a link to `/` and lets itself be started again. Docker
//! alone then shows it the host (`cargo test -p edge-sim --test gate` says so).

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
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
const FOLDER: &str = "/data/sandbox/escape";
/// What the container does in its first life, and in all that follow.
const SCRIPT: &str = "b=/bin/busybox
if [ ! -e /data/done ]; then
  $b mv /data/models /data/gone && $b ln -s / /data/models && $b touch /data/done
  exit 1
fi
$b ls -a /models >/data/.seen && $b mv /data/.seen /data/seen-$($b date +%s)
$b sleep 1000";

fn start(world: &mut World) -> Result<String> {
    build(world)?;
    let gate = "sudo -n /usr/bin/edge-docker";
    let run = format!(
        "{gate} run -d --restart always --name escape -v {FOLDER}:/data \
         -v {FOLDER}/models:/models sandbox/escape sh -c '{SCRIPT}'"
    );
    shell::read(&mut world.ssh("twin", &run)?)?;
    let looked = |world: &World, times: usize| {
        until(Duration::from_secs(120), "its next life", || {
            Ok((seen(world)?.len() >= times).then_some(()))
        })
    };
    looked(world, 1)?;
    shell::read(&mut world.ssh("twin", &format!("{gate} restart -t 0 escape"))?)?;
    looked(world, 2)?;
    world.root("systemctl restart docker.service")?;
    hidden(world)
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
    let build = "sudo -n /usr/bin/edge-docker build -q -t sandbox/escape -";
    let mut ssh = world.ssh("twin", build)?;
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ssh.stderr(Stdio::piped()).spawn().context("starting ssh")?;
    let mut input = child.stdin.take().context("standard input")?;
    input.write_all(&archive.into_inner()?)?;
    drop(input);
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "building: {}", shell::said(&out));
    Ok(())
}

fn end(world: &mut World) -> Result<String> {
    let link = world.root(&format!("readlink {FOLDER}/models"))?;
    ensure!(link == "/\n", "no link lies there: {link}");
    let state = world.root("docker inspect escape -f '{{.State.Running}}'")?;
    ensure!(state != "true\n", "it runs on a link");
    let start =
        shell::output(&mut world.ssh("twin", "sudo -n /usr/bin/edge-docker start escape")?)?;
    ensure!(!start.status.success(), "it starts on a link");
    let words = hidden(world)?;
    world.root("docker rm -f escape >/dev/null 2>&1; rm -rf /data/sandbox/escape")?;
    Ok(format!("{words}; {}", shell::said(&start)))
}

/// Each list of what the container found below its second mount.
fn seen(world: &World) -> Result<Vec<String>> {
    let names = world.root(&format!(
        "cd {FOLDER} && for f in seen-*; do echo = $f; cat $f; done"
    ))?;
    let lists = names
        .split("= seen-")
        .skip(1)
        .filter(|l| !l.starts_with('*'));
    Ok(lists.map(String::from).collect())
}

fn hidden(world: &World) -> Result<String> {
    let seen = seen(world)?;
    for list in &seen {
        let shows = |name: &&str| list.lines().any(|line| line == *name);
        ensure!(
            !["proc", "sys", "etc"].iter().any(shows),
            "it saw the host: {list}"
        );
    }
    Ok(format!("it looked {} times", seen.len()))
}
