//! Steps of the demo, in order; each function asserts what the title of its step says.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::testbed::{Testbed, until};
use super::{Step, build, device, registry};
use crate::shell;

/// Number of steps before the step that boots the test VM again.
pub(super) const BEFORE_REBOOT: usize = 16;

/// Titles and functions of all steps, from power-on to a running signed container.
pub(super) const STEPS: [Step; 18] = [
    ("build the programs and the base of the VM", build::programs),
    ("local cloud up", cloud),
    ("container engine for builds", Testbed::start_engine),
    ("test VM built", vm),
    ("test VM boots, its data partition empty", boot),
    ("formatted by edge-partition, mounted", formatted),
    ("provisioned by edge-provision", provisioned),
    ("heartbeat in the shadow", heartbeat),
    ("boot order, from the journal (s)", |t| {
        device::boot_order(t)
    }),
    ("sample app built", app_build),
    ("pushed and signed", app_push),
    ("deployed: verified, pulled, started", app_deploy),
    ("answers over HTTP inside the test VM", |t| answers(t)),
    ("unsigned image refused", |t| refused(t, "evil-v1", false)),
    ("tampered image refused", |t| refused(t, "evil-v2", true)),
    ("plain docker refused to user edge", no_way_around),
    ("a unit put into /data/services; reboot", reboot),
    ("nothing done twice; app and unit are back", again),
];

fn cloud(testbed: &mut Testbed) -> Result<String> {
    // `--no-aws`, since no step uses the AWS API, whose server would have to be installed
    // first.
    shell::read(testbed.part("cloud", "up").arg("--no-aws"))?;
    Ok(format!(
        "MQTT on port {}, registry {}",
        testbed.endpoint("iot_port")?,
        testbed.endpoint("registry")?
    ))
}

fn vm(testbed: &mut Testbed) -> Result<String> {
    let mut command = testbed.part("vm", "build");
    command.arg("--cloud").arg(testbed.path("cloud"));
    command.arg("--bin-dir").arg(testbed.programs());
    shell::read(&mut command)?;
    testbed.vm("thing_name")
}

fn boot(testbed: &mut Testbed) -> Result<String> {
    shell::read(&mut testbed.part("vm", "up"))?;
    let root = testbed.root("findmnt -no OPTIONS / | cut -d, -f1; ps -p 1 -o comm=")?;
    ensure!(
        root == "ro\nsystemd\n",
        "root file system or PID 1 are not as expected: {root}"
    );
    Ok("read-only root, systemd is PID 1".into())
}

fn formatted(testbed: &mut Testbed) -> Result<String> {
    let journal = testbed.root("journalctl -b -u edge-partition-setup -o cat --no-pager")?;
    ensure!(
        journal.contains("formatted") || journal.contains("formatting"),
        "the journal shows no formatting: {journal}"
    );
    let mount = testbed.root("findmnt -no SOURCE,FSTYPE,LABEL /data")?;
    ensure!(
        mount.contains("ext4") && mount.contains("data"),
        "not mounted: {mount}"
    );
    Ok(mount.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn provisioned(testbed: &mut Testbed) -> Result<String> {
    // `systemctl start` waits for the provisioning that is running, and returns at once
    // if it is complete.
    testbed.root("systemctl start edge-bootstrap.service")?;
    let time = testbed.root("cat /data/.provisioned")?;
    let files = testbed.root("stat -c '%a %n' /data/config/aws-iot/private.key")?;
    ensure!(
        files.starts_with("600 "),
        "the private key is open: {files}"
    );
    Ok(time.trim().to_string())
}

fn heartbeat(testbed: &mut Testbed) -> Result<String> {
    let file = testbed
        .path("cloud/shadows")
        .join(format!("{}.json", testbed.vm("thing_name")?));
    let shadow = until(Duration::from_secs(60), "a shadow", || {
        Ok(fs::read_to_string(&file)
            .ok()
            .and_then(|t| serde_json::from_str::<Value>(&t).ok()))
    })?;
    let reported = shadow["state"]["reported"]
        .as_object()
        .context("a shadow that reports nothing")?;
    let keys: Vec<_> = reported.keys().map(String::as_str).collect();
    Ok(keys.join(" "))
}

fn app_build(testbed: &mut Testbed) -> Result<String> {
    let project = testbed.path("project");
    fs::create_dir(&project)?;
    shell::run(
        shell::command("cp")
            .args(["-r", "docs/examples/hello"])
            .arg(&project),
    )?;
    shell::read(
        shell::command("make")
            .arg("-s")
            .arg("-C")
            .arg(project.join("hello")),
    )?;
    let text = format!(
        "registry: {}\nca: {}\ncredentials:\n  username: {}\n  password_file: {}\n\
         signing_key: {}\nplatform: linux/amd64\ndevices:\n  vm:\n    host: vm\n    ssh_config: {}\n",
        testbed.endpoint("registry")?,
        testbed.endpoint("ca_file")?,
        testbed.endpoint("registry_user")?,
        testbed.endpoint("registry_password_file")?,
        testbed.endpoint("signing_key")?,
        testbed.vm("ssh_config")?,
    );
    #[expect(clippy::disallowed_methods, reason = "a temporary file of the demo")]
    fs::write(project.join("edge-app.yaml"), text)?;
    shell::read(&mut testbed.app(&["build", "hello", "--version", "v1"]))?;
    Ok("FROM scratch, no outside registry".into())
}

fn app_push(testbed: &mut Testbed) -> Result<String> {
    let printed = shell::read(&mut testbed.app(&["push", "hello", "--version", "v1"]))?;
    let at = printed.find("sha256:").context("no digest was printed")?;
    testbed.digest = printed[at..].chars().take(71).collect();
    Ok(testbed.digest.chars().take(19).collect())
}

fn app_deploy(testbed: &mut Testbed) -> Result<String> {
    shell::read(&mut testbed.app(&["deploy", "hello", "vm", "--version", "v1"]))?;
    Ok(String::new())
}

pub(super) fn answers(testbed: &Testbed) -> Result<String> {
    let script = "curl -fsS --retry 60 --retry-all-errors --retry-delay 1 http://127.0.0.1:8080/";
    Ok(testbed
        .root(script)?
        .lines()
        .next()
        .unwrap_or_default()
        .to_string())
}

fn refused(testbed: &Testbed, tag: &str, signature: bool) -> Result<String> {
    registry::tamper(testbed, "hello-v1", tag, signature)?;
    let image = format!("{}:{tag}", testbed.endpoint("registry")?);
    let password = fs::read_to_string(testbed.endpoint("registry_password_file")?)?;
    login(testbed, password.trim())?;
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut testbed.ssh("vm", &pull)?)?;
    ensure!(!out.status.success(), "{image} was pulled");
    let known = testbed.root("docker images --digests --format '{{.Tag}}'")?;
    ensure!(!known.contains(tag), "{image} reached the engine");
    Ok(format!(
        "exit {}: {}",
        out.status.code().unwrap_or(-1),
        shell::tail(&out)
    ))
}

pub(super) fn login(testbed: &Testbed, password: &str) -> Result<()> {
    let user = testbed.endpoint("registry_user")?;
    let host = testbed.endpoint("registry_host")?;
    let login =
        format!("sudo -n /usr/bin/edge-docker login --username {user} --password-stdin {host}");
    let out = shell::feed(&mut testbed.ssh("vm", &login)?, password.as_bytes())?;
    ensure!(out.status.success(), "{}", shell::tail(&out));
    Ok(())
}

fn no_way_around(testbed: &mut Testbed) -> Result<String> {
    for command in [
        "docker ps",
        "sudo -n docker ps",
        "sudo -n /usr/bin/edge-docker run --privileged alpine",
    ] {
        let out = shell::output(&mut testbed.ssh("vm", command)?)?;
        ensure!(!out.status.success(), "user edge may run: {command}");
    }
    Ok("socket, sudo docker, run --privileged".into())
}

fn reboot(testbed: &mut Testbed) -> Result<String> {
    let image = format!("{}@{}", testbed.endpoint("registry")?, testbed.digest);
    let unit = format!(
        "[Unit]\nAfter=docker.service\n[Service]\nExecStart=/usr/bin/edge-docker run --rm --name probe {image}\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    testbed.root(&format!(
        "printf '{}' > /data/services/probe.service; sync",
        unit.replace('\n', "\\n")
    ))?;
    testbed.root(
        "ls -li --time-style=full-iso /data/config/aws-iot /data/.provisioned > /data/log/before",
    )?;
    shell::read(&mut testbed.part("vm", "stop"))?;
    shell::read(&mut testbed.part("vm", "up"))?;
    Ok(String::new())
}

fn again(testbed: &mut Testbed) -> Result<String> {
    let answer = answers(testbed)?;
    let journal = testbed.root("journalctl -b -u edge-partition-setup -o cat --no-pager")?;
    ensure!(!journal.contains("formatt"), "formatted again: {journal}");
    let skipped = testbed.root("systemctl show -P ConditionResult edge-bootstrap.service")?;
    ensure!(skipped.trim() == "no", "edge-bootstrap ran again");
    testbed.root("ls -li --time-style=full-iso /data/config/aws-iot /data/.provisioned | cmp - /data/log/before")
        .context("the identity changed")?;
    until(Duration::from_secs(60), "probe.service running", || {
        let out =
            testbed.root("systemctl is-active probe.service; docker ps --format '{{.Names}}'");
        Ok(out
            .ok()
            .filter(|o| o.starts_with("active") && o.contains("probe")))
    })?;
    ensure!(!answer.is_empty(), "the app does not answer");
    Ok(answer)
}
