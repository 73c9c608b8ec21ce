//! Steps behind the demo's: what else is refused, and what works without the
//! cloud.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::steps::{answers, login};
use super::world::World;
use crate::shell;

/// They go on where the demo ends.
pub const STEPS: [Step; 7] = [
    ("sandbox: unsigned, in a directory of its own", sandbox),
    ("logs, stop, remove", manage),
    ("signed by another key: refused", stranger),
    ("wrong password: refused", wrong_password),
    ("cloud down: cannot tell", cannot_tell),
    ("cloud down: what was verified still starts", offline),
    ("into a VPN, and SSH over it alone", vpn),
];

fn sandbox(world: &mut World) -> Result<String> {
    shell::read(&mut world.app(&["sandbox", "hello", "vm"]))?;
    let words = answers(world)?;
    ensure!(
        words.ends_with("request 1"),
        "not a directory of its own: {words}"
    );
    // The source is a pin of the directory: the same inode of the same file system.
    let same = world.root(
        "stat -c %d:%i /data/sandbox/hello \
         $(docker inspect hello -f '{{range .Mounts}}{{.Source}}{{end}}') | uniq",
    )?;
    ensure!(
        same.lines().count() == 1,
        "another directory is mounted: {same}"
    );
    Ok(words)
}

fn manage(world: &mut World) -> Result<String> {
    let logs = shell::read(&mut world.app(&["logs", "-n", "5", "hello", "vm"]))?;
    ensure!(logs.contains("listening on port 8080"), "logs: {logs}");
    shell::read(&mut world.app(&["stop", "hello", "vm"]))?;
    let state = world.root("docker inspect hello -f '{{.State.Running}}'")?;
    ensure!(state == "false\n", "still running");
    for _ in 0..2 {
        shell::read(&mut world.app(&["remove", "hello", "vm"]))?;
    }
    let left = world.root("docker ps -aq --filter name=hello; cat /data/sandbox/hello/counter")?;
    ensure!(left == "1\n", "left: {left}");
    Ok("its data stay".into())
}

fn stranger(world: &mut World) -> Result<String> {
    let project = world.path("project");
    shell::read(&mut world.app(&["keygen", "stranger.key"]))?;
    let config = project.join("edge-app.yaml");
    let good = fs::read_to_string(&config)?;
    let evil = good.replace(&world.endpoint("signing_key")?, "stranger.key");
    put(&config, &evil)?;
    put(
        &project.join("hello/Dockerfile"),
        "FROM scratch\nCOPY hello /evil\n",
    )?;
    shell::read(&mut world.app(&["build", "hello", "--version", "evil"]))?;
    shell::read(&mut world.app(&["push", "hello", "--version", "evil"]))?;
    let out = shell::output(&mut world.app(&["deploy", "hello", "vm", "--version", "evil"]))?;
    put(&config, &good)?;
    expect(&out, 6, "a key that is not trusted")
}

fn wrong_password(world: &mut World) -> Result<String> {
    shell::read(&mut world.ssh("vm", "sudo -n /usr/bin/edge-docker logout")?)?;
    let failed = login(world, "wrong")
        .err()
        .context("a wrong password was taken")?;
    let image = format!("{}:hello-v1", world.endpoint("registry")?);
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut world.ssh("vm", &pull)?)?;
    expect(&out, 124, "wrong or no credentials").map(|said| format!("{failed:#}; {said}"))
}

fn cannot_tell(world: &mut World) -> Result<String> {
    shell::read(&mut world.part("cloud", "down"))?;
    let image = format!("{}:hello-v1", world.endpoint("registry")?);
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut world.ssh("vm", &pull)?)?;
    expect(&out, 124, "the registry does not answer")
}

fn offline(world: &mut World) -> Result<String> {
    let image = format!("{}@{}", world.endpoint("registry")?, world.digest);
    let run = format!(
        "sudo -n /usr/bin/edge-docker run -d --name hello -p 8080:8080 -v /data/apps/hello:/data {image}"
    );
    shell::read(&mut world.ssh("vm", &run)?)?;
    answers(world)
}

fn expect(out: &std::process::Output, code: i32, words: &str) -> Result<String> {
    let said = shell::said(out);
    ensure!(
        out.status.code() == Some(code) && said.contains(words),
        "{}: {said}",
        out.status
    );
    Ok(format!("exit {code}: {said}"))
}

#[expect(clippy::disallowed_methods, reason = "a throw-away file of the demo")]
fn put(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The last one: it changes the twin's root file system.
fn vpn(world: &mut World) -> Result<String> {
    let wg = fs::File::open("/usr/bin/wg").context("wg is missing: scripts/setup installs it")?;
    let mut ssh = world.ssh("vm-root", include_str!("vpn.sh"))?;
    Ok(shell::read(ssh.stdin(wg))?.trim().into())
}
