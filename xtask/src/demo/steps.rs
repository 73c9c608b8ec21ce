//! The steps, in order. Each one asserts what its title says.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{World, until};
use super::{Step, device, registry};
use crate::shell;

/// So many of [`STEPS`] come before the twin boots again.
pub const BEFORE_REBOOT: usize = 16;

/// From power-on to a signed container running.
pub const STEPS: [Step; 18] = [
    ("build the programs", build),
    ("stand-in cloud up", cloud),
    ("container engine for builds", World::start_engine),
    ("twin built", twin),
    ("twin boots, its data partition empty", boot),
    ("formatted by edge-partition, mounted", formatted),
    ("provisioned by edge-provision", provisioned),
    ("heartbeat in the shadow", heartbeat),
    ("boot order, from the journal (s)", |w| {
        device::boot_order(w)
    }),
    ("sample app built", app_build),
    ("pushed and signed", app_push),
    ("deployed: verified, pulled, started", app_deploy),
    ("answers over HTTP inside the twin", |w| answers(w)),
    ("unsigned image refused", |w| refused(w, "evil-v1", false)),
    ("tampered image refused", |w| refused(w, "evil-v2", true)),
    ("plain docker refused to user edge", no_way_around),
    ("a unit put into /data/services; reboot", reboot),
    ("nothing done twice; app and unit are back", again),
];

fn build(_: &mut World) -> Result<String> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    shell::run(shell::cargo().args(["build", "--quiet", "-p", "edge-sim", "-p", "edge-app"]))?;
    Ok(String::new())
}

fn cloud(world: &mut World) -> Result<String> {
    shell::read(&mut world.part("cloud", "up"))?;
    Ok(format!(
        "MQTT on port {}, registry {}",
        world.endpoint("iot_port")?,
        world.endpoint("registry")?
    ))
}

fn twin(world: &mut World) -> Result<String> {
    let mut command = world.part("vm", "build");
    command.arg("--cloud").arg(world.path("cloud"));
    command.arg("--bin-dir").arg(world.programs());
    shell::read(&mut command)?;
    world.vm("thing_name")
}

fn boot(world: &mut World) -> Result<String> {
    shell::read(&mut world.part("vm", "up"))?;
    let root = world.root("findmnt -no OPTIONS / | cut -d, -f1; ps -p 1 -o comm=")?;
    ensure!(
        root == "ro\nsystemd\n",
        "root file system or PID 1 are not as expected: {root}"
    );
    Ok("read-only root, systemd is PID 1".into())
}

fn formatted(world: &mut World) -> Result<String> {
    let said = world.root("journalctl -b -u edge-partition-setup -o cat --no-pager")?;
    ensure!(
        said.contains("formatted") || said.contains("formatting"),
        "the journal shows no formatting: {said}"
    );
    let mount = world.root("findmnt -no SOURCE,FSTYPE,LABEL /data")?;
    ensure!(
        mount.contains("ext4") && mount.contains("data"),
        "not mounted: {mount}"
    );
    Ok(mount.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn provisioned(world: &mut World) -> Result<String> {
    // Joins the job that is running, or finds it done.
    world.root("systemctl start edge-bootstrap.service")?;
    let time = world.root("cat /data/.provisioned")?;
    let files = world.root("stat -c '%a %n' /data/config/aws-iot/private.key")?;
    ensure!(
        files.starts_with("600 "),
        "the private key is open: {files}"
    );
    Ok(time.trim().to_string())
}

fn heartbeat(world: &mut World) -> Result<String> {
    let file = world
        .path("cloud/shadows")
        .join(format!("{}.json", world.vm("thing_name")?));
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

fn app_build(world: &mut World) -> Result<String> {
    let project = world.path("project");
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
        world.endpoint("registry")?,
        world.endpoint("ca_file")?,
        world.endpoint("registry_user")?,
        world.endpoint("registry_password_file")?,
        world.endpoint("signing_key")?,
        world.vm("ssh_config")?,
    );
    #[expect(clippy::disallowed_methods, reason = "a throw-away file of the demo")]
    fs::write(project.join("edge-app.yaml"), text)?;
    shell::read(&mut world.app(&["build", "hello", "--version", "v1"]))?;
    Ok("FROM scratch, no outside registry".into())
}

fn app_push(world: &mut World) -> Result<String> {
    let said = shell::read(&mut world.app(&["push", "hello", "--version", "v1"]))?;
    let at = said.find("sha256:").context("no digest was printed")?;
    world.digest = said[at..].chars().take(71).collect();
    Ok(world.digest.chars().take(19).collect())
}

fn app_deploy(world: &mut World) -> Result<String> {
    shell::read(&mut world.app(&["deploy", "hello", "vm", "--version", "v1"]))?;
    Ok(String::new())
}

pub fn answers(world: &World) -> Result<String> {
    let script = "curl -fsS --retry 60 --retry-all-errors --retry-delay 1 http://127.0.0.1:8080/";
    Ok(world
        .root(script)?
        .lines()
        .next()
        .unwrap_or_default()
        .to_string())
}

fn refused(world: &World, tag: &str, signature: bool) -> Result<String> {
    registry::tamper(world, "hello-v1", tag, signature)?;
    let image = format!("{}:{tag}", world.endpoint("registry")?);
    let password = fs::read_to_string(world.endpoint("registry_password_file")?)?;
    login(world, password.trim())?;
    let pull = format!("sudo -n /usr/bin/edge-docker pull {image}");
    let out = shell::output(&mut world.ssh("vm", &pull)?)?;
    ensure!(!out.status.success(), "{image} was pulled");
    let known = world.root("docker images --digests --format '{{.Tag}}'")?;
    ensure!(!known.contains(tag), "{image} reached the engine");
    Ok(format!(
        "exit {}: {}",
        out.status.code().unwrap_or(-1),
        shell::said(&out)
    ))
}

pub fn login(world: &World, password: &str) -> Result<()> {
    let user = world.endpoint("registry_user")?;
    let host = world.endpoint("registry_host")?;
    let words =
        format!("sudo -n /usr/bin/edge-docker login --username {user} --password-stdin {host}");
    let out = shell::feed(&mut world.ssh("vm", &words)?, password.as_bytes())?;
    ensure!(out.status.success(), "{}", shell::said(&out));
    Ok(())
}

fn no_way_around(world: &mut World) -> Result<String> {
    for words in [
        "docker ps",
        "sudo -n docker ps",
        "sudo -n /usr/bin/edge-docker run --privileged alpine",
    ] {
        let out = shell::output(&mut world.ssh("vm", words)?)?;
        ensure!(!out.status.success(), "user edge may run: {words}");
    }
    Ok("socket, sudo docker, run --privileged".into())
}

fn reboot(world: &mut World) -> Result<String> {
    let image = format!("{}@{}", world.endpoint("registry")?, world.digest);
    let unit = format!(
        "[Unit]\nAfter=docker.service\n[Service]\nExecStart=/usr/bin/edge-docker run --rm --name probe {image}\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    world.root(&format!(
        "printf '{}' > /data/services/probe.service; sync",
        unit.replace('\n', "\\n")
    ))?;
    world.root(
        "ls -li --time-style=full-iso /data/config/aws-iot /data/.provisioned > /data/log/before",
    )?;
    shell::read(&mut world.part("vm", "stop"))?;
    shell::read(&mut world.part("vm", "up"))?;
    Ok(String::new())
}

fn again(world: &mut World) -> Result<String> {
    let words = answers(world)?;
    let said = world.root("journalctl -b -u edge-partition-setup -o cat --no-pager")?;
    ensure!(!said.contains("formatt"), "formatted again: {said}");
    let skipped = world.root("systemctl show -P ConditionResult edge-bootstrap.service")?;
    ensure!(skipped.trim() == "no", "edge-bootstrap ran again");
    world.root("ls -li --time-style=full-iso /data/config/aws-iot /data/.provisioned | cmp - /data/log/before")
        .context("the identity changed")?;
    until(Duration::from_secs(60), "probe.service running", || {
        let out = world.root("systemctl is-active probe.service; docker ps --format '{{.Names}}'");
        Ok(out
            .ok()
            .filter(|o| o.starts_with("active") && o.contains("probe")))
    })?;
    ensure!(!words.is_empty(), "the app does not answer");
    Ok(words)
}
