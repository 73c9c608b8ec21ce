//! Step with an app that fills what it may store, while other apps go on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::steps::answers;
use super::testbed::Testbed;
use super::{Step, until};
use crate::shell;

/// Step after the second boot of the test VM. Needs the app hello in service and leaves it
/// so.
pub(super) const STEP: Step = ("an app fills its storage, others go on", run);

/// Time in which the engine starts the apps again.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// Statically linked shell for the container image, from the package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
/// Program that tries to change the project of a file, shared with the tests of
/// edge-docker.
const ATTRIBUTES: &str = "crates/edge-docker/tests/attributes/program.rs";
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
    COPY attributes /bin/attributes\nVOLUME /volume\n";
const APP: &str = "name: small\nstorage: 48m\nvolumes: [\".:/data\"]\ncommand: [sleep, \"100000\"]\n\
    stop_grace_period: 1s\n";
/// Writes to the mount, the top layer and the volume; the second and the third have no room
/// left by then.
const FILL: &str = "dd if=/dev/zero of=/data/full bs=1M count=100; stat -c %s /data/full; \
    for f in /full /volume/full; do dd if=/dev/zero of=$f bs=1M count=1 && echo $f is not full; done; :";

fn run(testbed: &mut Testbed) -> Result<String> {
    build(testbed)?;
    let app = |args: &[&str]| shell::read(&mut testbed.app(args));
    app(&["push", "small", "--version", "v1"])?;
    app(&["deploy", "small", "vm", "--version", "v1"])?;
    let filled = inside(testbed, &format!("({FILL}) 2>&1"))?;
    let errors = filled.matches("Disk quota exceeded").count();
    ensure!(errors == 3 && !filled.contains("is not full"), "{filled}");
    others(testbed)?;
    project_stays(testbed)?;
    let explained = edge(testbed, &format!("explain {}", image(testbed)?))?;
    let storage = explained.lines().find(|line| line.starts_with("storage"));
    let storage = storage.context("explain does not show the storage")?;
    ensure!(storage.ends_with("of 50.3 MB (signed)"), "{storage}");
    // The engine makes mount points in the new top layer, for which there is room. The app
    // itself has none afterwards.
    app(&["deploy", "small", "vm", "--version", "v1", "--force"])?;
    let filled = inside(
        testbed,
        "(dd if=/dev/zero of=/data/more bs=1M count=2) 2>&1; :",
    )?;
    ensure!(filled.contains("Disk quota exceeded"), "{filled}");
    testbed.root("systemctl restart docker")?;
    until(BOOT_TIMEOUT, "the full app", || {
        let names = edge(testbed, "ps --format {{.Names}}").unwrap_or_default();
        Ok(names.lines().any(|name| name == "small").then_some(()))
    })?;
    inside(testbed, "rm /data/full && echo x >/data/more && echo x >/x")?;
    edge(testbed, "rm -f small small-previous")?;
    let explained = edge(testbed, &format!("explain {}", image(testbed)?))?;
    ensure!(explained.contains("(signed, not in effect)"), "{explained}");
    testbed.root("rm -r /data/apps/small")?;
    answers(testbed)?;
    Ok(storage.into())
}

fn build(testbed: &Testbed) -> Result<()> {
    let directory = testbed.path("project/small");
    fs::create_dir(&directory)?;
    fs::copy(BUSYBOX, directory.join("busybox")).context("install busybox-static")?;
    let mut rustc = shell::command("rustc");
    rustc.args(["--edition=2021", "-O", "-Ctarget-feature=+crt-static", "-o"]);
    rustc.arg(directory.join("attributes"));
    shell::run(rustc.arg(shell::repository().join(ATTRIBUTES)))?;
    for (name, text) in [("Dockerfile", DOCKERFILE), ("app.yaml", APP)] {
        #[expect(clippy::disallowed_methods, reason = "a temporary file of the demo")]
        fs::write(directory.join(name), text)?;
    }
    shell::read(&mut testbed.app(&["build", "small", "--version", "v1"])).map(drop)
}

fn image(testbed: &Testbed) -> Result<String> {
    Ok(format!("{}:small-v1", testbed.endpoint("registry")?))
}

fn edge(testbed: &Testbed, args: &str) -> Result<String> {
    shell::read(&mut testbed.ssh("vm", &format!("sudo -n /usr/bin/edge-docker {args}"))?)
}

/// Runs a script in the container.
fn inside(testbed: &Testbed, script: &str) -> Result<String> {
    edge(testbed, &format!("exec small sh -c '{script}'"))
}

/// Asserts that a process of another app writes, and that this one would not as part of the
/// full app. Root itself is not limited.
fn others(testbed: &Testbed) -> Result<()> {
    let limited = "setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource";
    let write =
        |app: &str| format!("{limited} dd if=/dev/zero of=/data/apps/{app}/large bs=1M count=64");
    testbed.root(&format!("{} && rm /data/apps/hello/large", write("hello")))?;
    let full = shell::output(&mut testbed.ssh("vm-root", &write("small"))?)?;
    ensure!(!full.status.success(), "the limit does not hold for root");
    shell::read(&mut testbed.app(&["deploy", "hello", "vm", "--version", "v1", "--force"]))?;
    answers(testbed).map(drop)
}

/// Asserts that the container can change neither project nor flags of its files.
fn project_stays(testbed: &Testbed) -> Result<()> {
    let projects = "lsattr -pd /data/apps/small /data/apps/small/full";
    let before = testbed.root(projects)?;
    let tried = inside(
        testbed,
        "attributes /data/full; attributes /data; attributes /full; :",
    )?;
    let changes: Vec<_> = tried.lines().filter(|l| l.starts_with("set-")).collect();
    ensure!(changes.len() >= 10, "{tried}");
    ensure!(changes.iter().all(|line| line.ends_with(" 1")), "{tried}");
    ensure!(tried.contains("get-attributes 0"), "{tried}");
    let after = testbed.root(projects)?;
    ensure!(
        before == after && before.contains("1000"),
        "{before}{after}"
    );
    Ok(())
}
