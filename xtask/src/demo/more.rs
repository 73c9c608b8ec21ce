//! Additional demo steps (`--all`): further refusals, and operation without the cloud.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::steps::{answers, login};
use super::testbed::Testbed;
use crate::shell;

/// Steps that continue from the state in which the demo ends.
pub(super) const STEPS: [Step; 7] = [
    ("sandbox: unsigned, in a directory of its own", sandbox),
    ("logs, stop, remove", manage),
    ("signed by another key: refused", stranger),
    ("wrong password: refused", wrong_password),
    ("cloud down: signature cannot be verified", unverifiable),
    ("cloud down: a verified image still starts", offline),
    ("into a VPN, and SSH over it alone", vpn),
];

fn sandbox(testbed: &mut Testbed) -> Result<String> {
    shell::read(&mut testbed.app(&["sandbox", "hello", "vm"]))?;
    let answer = answers(testbed)?;
    ensure!(
        answer.ends_with("request 1"),
        "not a directory of its own: {answer}"
    );
    // The mount source in the container is a mount clone of the directory, so both have
    // the same device and inode number.
    let same = testbed.root(
        "stat -c %d:%i /data/sandbox/hello \
         $(docker inspect hello -f '{{range .Mounts}}{{.Source}}{{end}}') | uniq",
    )?;
    ensure!(
        same.lines().count() == 1,
        "another directory is mounted: {same}"
    );
    Ok(answer)
}

fn manage(testbed: &mut Testbed) -> Result<String> {
    let logs = shell::read(&mut testbed.app(&["logs", "-n", "5", "hello", "vm"]))?;
    ensure!(logs.contains("listening on port 8080"), "logs: {logs}");
    shell::read(&mut testbed.app(&["stop", "hello", "vm"]))?;
    let state = testbed.root("docker inspect hello -f '{{.State.Running}}'")?;
    ensure!(state == "false\n", "still running");
    for _ in 0..2 {
        shell::read(&mut testbed.app(&["remove", "hello", "vm"]))?;
    }
    let left =
        testbed.root("docker ps -aq --filter name=hello; cat /data/sandbox/hello/counter")?;
    ensure!(left == "1\n", "left: {left}");
    Ok("its data stay".into())
}

fn stranger(testbed: &mut Testbed) -> Result<String> {
    let project = testbed.path("project");
    shell::read(&mut testbed.app(&["keygen", "stranger.key"]))?;
    let config = project.join("edge-app.yaml");
    let original = fs::read_to_string(&config)?;
    let changed = original.replace(&testbed.endpoint("signing_key")?, "stranger.key");
    put(&config, &changed)?;
    put(
        &project.join("hello/Dockerfile"),
        "FROM scratch\nCOPY hello /evil\n",
    )?;
    shell::read(&mut testbed.app(&["build", "hello", "--version", "evil"]))?;
    shell::read(&mut testbed.app(&["push", "hello", "--version", "evil"]))?;
    let out = shell::output(&mut testbed.app(&["deploy", "hello", "vm", "--version", "evil"]))?;
    put(&config, &original)?;
    expect(&out, 6, "a key that is not trusted")
}

fn wrong_password(testbed: &mut Testbed) -> Result<String> {
    shell::read(&mut testbed.ssh("vm", "sudo -n /usr/bin/edge-docker logout")?)?;
    let failed = login(testbed, "wrong")
        .err()
        .context("a wrong password was accepted")?;
    let image = format!("{}:hello-v1", testbed.endpoint("registry")?);
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut testbed.ssh("vm", &pull)?)?;
    expect(&out, 124, "wrong or no credentials").map(|refusal| format!("{failed:#}; {refusal}"))
}

fn unverifiable(testbed: &mut Testbed) -> Result<String> {
    shell::read(&mut testbed.part("cloud", "down"))?;
    let image = format!("{}:hello-v1", testbed.endpoint("registry")?);
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut testbed.ssh("vm", &pull)?)?;
    expect(&out, 124, "the registry does not answer")
}

fn offline(testbed: &mut Testbed) -> Result<String> {
    let image = format!("{}@{}", testbed.endpoint("registry")?, testbed.digest);
    let run = format!(
        "sudo -n /usr/bin/edge-docker run -d --name hello -p 8080:8080 -v /data/apps/hello:/data {image}"
    );
    shell::read(&mut testbed.ssh("vm", &run)?)?;
    answers(testbed)
}

fn expect(out: &std::process::Output, code: i32, reason: &str) -> Result<String> {
    let tail = shell::tail(out);
    ensure!(
        out.status.code() == Some(code) && tail.contains(reason),
        "{}: {tail}",
        out.status
    );
    Ok(format!("exit {code}: {tail}"))
}

#[expect(clippy::disallowed_methods, reason = "a temporary file of the demo")]
fn put(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Checks the VPN with a copy of `wg` on the test VM. Must be the last step, since it
/// changes the root file system of the VM.
fn vpn(testbed: &mut Testbed) -> Result<String> {
    let wg = fs::File::open("/usr/bin/wg").context("wg is missing: scripts/setup installs it")?;
    let mut ssh = testbed.ssh("vm-root", include_str!("vpn.sh"))?;
    Ok(shell::read(ssh.stdin(wg))?.trim().into())
}
