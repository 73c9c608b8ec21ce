//! Checks of all systemd units in the repository with `systemd-analyze verify` and
//! `systemd-analyze security`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{shell, sizes};

/// Limit of the exposure level (0 to 10) that `systemd-analyze security` prints for a
/// service of this repository.
const LIMIT: f32 = 4.0;
/// Services with the limit [`SAME_NAMESPACE_LIMIT`]. edge-docker clones the mounts of a
/// container in the mount namespace of the engine, so they cannot have one of their own.
const SAME_NAMESPACE: [&str; 3] = [
    "edge-docker-ticket-end.service",
    "edge-fleet.service",
    "edge-vpn-client.service",
];
const SAME_NAMESPACE_LIMIT: f32 = 4.8;
/// Services that are rated without a limit: the sessions of engineers are their child
/// processes, and a sandbox of the service would be one of sudo and edge-docker, too.
const SESSIONS: [&str; 1] = ["edge-rescue-ssh.service"];
/// Directory of the manual pages, relative to the staged root.
const MANUAL: &str = "usr/share/man";

/// Verifies all units and rates all services; returns false if there is a finding or a
/// service is over the limit.
pub(crate) fn run() -> Result<bool> {
    let units = find()?;
    let root = stage(&units)?;
    enable(root.path(), &units)?;
    let verified = verify(root.path(), &units)?;
    let rated = rate(&units)?;
    Ok(verified && rated)
}

fn find() -> Result<Vec<PathBuf>> {
    let list = shell::read(shell::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.service",
        "*.mount",
        "*.path",
        "*.timer",
        "*.socket",
        "*.target",
    ]))?;
    let ours = |l: &&str| !l.contains("/tests/") && !l.contains(".d/");
    Ok(list
        .lines()
        .filter(ours)
        .map(|l| shell::repository().join(l))
        .collect())
}

/// Creates a temporary root directory with the units of this machine and of the
/// repository, placeholders for the programs that they start, and the manual pages.
fn stage(units: &[PathBuf]) -> Result<tempfile::TempDir> {
    let root = tempfile::tempdir()?;
    let place = root.path().join("usr/lib/systemd/system");
    let bin = root.path().join("usr/bin");
    fs::create_dir_all(&bin)?;
    let sbin = root.path().join("usr/sbin");
    fs::create_dir_all(&sbin)?;
    fs::copy("/bin/true", sbin.join("nft"))?;
    fs::create_dir_all(root.path().join("usr/lib/systemd"))?;
    shell::run(
        shell::command("cp")
            .args(["-a", "/usr/lib/systemd/system"])
            .arg(&place),
    )?;
    for unit in units {
        fs::copy(unit, place.join(unit.file_name().context("unit name")?))?;
    }
    let generators = root.path().join("usr/lib/systemd/system-generators");
    fs::create_dir_all(&generators)?;
    for program in sizes::PROGRAMS.into_iter().chain([
        "systemctl",
        "systemd-tmpfiles",
        "ssh-keygen",
        "mv",
        "rm",
        "sync",
        "mount",
        "nvidia-ctk",
        "dockerd",
        "containerd",
        "sh",
        "docker",
    ]) {
        fs::copy("/bin/true", bin.join(program))?;
    }
    fs::copy("/bin/true", generators.join("edge-generator"))?;
    let sbin = root.path().join("usr/sbin");
    fs::create_dir_all(&sbin)?;
    for program in ["nvme", "sshd"] {
        fs::copy("/bin/true", sbin.join(program))?;
    }
    manual(root.path())?;
    Ok(root)
}

/// Copies the manual pages of `docs/man` to the directories of their sections, where
/// `man` finds them.
fn manual(root: &Path) -> Result<()> {
    let pages = fs::read_dir(shell::repository().join("docs/man"));
    for page in pages.context("reading docs/man")? {
        let page = page?.path();
        let section = page.extension().context("a page without a section")?;
        let directory = format!("man{}", section.to_string_lossy());
        let directory = root.join(MANUAL).join(directory);
        fs::create_dir_all(&directory)?;
        fs::copy(&page, directory.join(page.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Enables all units that can be enabled, as in the device image: ordering cycles appear
/// only among all units of a boot.
fn enable(root: &Path, units: &[PathBuf]) -> Result<()> {
    for unit in units {
        if fs::read_to_string(unit)?.contains("[Install]") {
            let name = unit.file_name().context("unit name")?;
            let mut systemctl = shell::command("systemctl");
            systemctl
                .args(["--quiet", "--root"])
                .arg(root)
                .arg("enable");
            shell::read(systemctl.arg(name))?;
        }
    }
    Ok(())
}

fn verify(root: &Path, units: &[PathBuf]) -> Result<bool> {
    let names: Vec<_> = units.iter().filter_map(|u| u.file_name()).collect();
    let output = shell::output(
        shell::command("systemd-analyze")
            .arg("verify")
            // With this option, `systemd-analyze` asks `man` for each page that a unit
            // names.
            .arg("--man=yes")
            .env("MANPATH", root.join(MANUAL))
            .arg(format!("--root={}", root.display()))
            .args(&names)
            .arg("multi-user.target"),
    )?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = |line: &&str| names.iter().any(|n| line.contains(&*n.to_string_lossy()));
    let findings: Vec<_> = messages.lines().filter(ours).collect();
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "systemd-analyze verify: {} units, {} findings",
        names.len(),
        findings.len()
    );
    Ok(findings.is_empty())
}

fn rate(units: &[PathBuf]) -> Result<bool> {
    let mut passed = true;
    for unit in units
        .iter()
        .filter(|u| u.extension().is_some_and(|e| e == "service"))
    {
        let name = unit
            .file_name()
            .context("unit name")?
            .to_string_lossy()
            .into_owned();
        let text = shell::output(
            shell::command("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager"])
                .arg(unit),
        )?;
        let printed = String::from_utf8_lossy(&text.stdout).into_owned();
        let score =
            score(&printed).with_context(|| format!("rating {name}: {}", shell::tail(&text)))?;
        let is_one_of = |services: &[&str]| services.contains(&&*name);
        let limit = if is_one_of(&SESSIONS) {
            f32::INFINITY
        } else if is_one_of(&SAME_NAMESPACE) {
            SAME_NAMESPACE_LIMIT
        } else {
            LIMIT
        };
        let verdict = if score <= limit { "" } else { "over the limit" };
        passed &= score <= limit;
        println!("{name:<32} {score:>4.1}  {verdict}");
    }
    Ok(passed)
}

/// Parses the exposure level in `→ Overall exposure level for x.service: 3.2 OK 🙂`.
fn score(printed: &str) -> Option<f32> {
    let line = printed
        .lines()
        .find(|l| l.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
