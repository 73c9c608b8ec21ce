//! Step with wrong clocks: a board without a battery starts in 1970, and a damaged clock may
//! be slow or in the far future. Nothing synchronises the clock of the test VM; the step
//! sets it in the place of chrony.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::steps::answers;
use super::testbed::{Testbed, until};
use super::{Step, bad_days};
use crate::shell;

/// Step that boots the test VM seven times, and another one once. Needs the app hello in
/// service and leaves it so.
pub(super) const STEP: Step = (
    "clock of 1970, 20 min slow, of 2040: reached, apps run",
    run,
);

/// Time in which a device reports once nothing hinders it any more: pauses between
/// attempts grow to five minutes.
const REPORT_TIMEOUT: Duration = Duration::from_secs(420);
/// Time in which the engine starts the app after a boot.
const APP_TIMEOUT: Duration = Duration::from_secs(300);
/// Time in which a unit of the boot logs what it waits for.
const LOG_TIMEOUT: Duration = Duration::from_secs(420);
/// Time in which a new device provisions itself once the clock is right.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(300);
/// Time by which the slow clock is late.
const SLOW: Duration = Duration::from_secs(20 * 60);

/// Day, in seconds.
const DAY: i64 = 24 * 3600;

/// Wrong clock at power-on.
struct Clock {
    name: &'static str,
    /// Time of the clock for `edge-sim vm up`; `None` for [`SLOW`].
    at: Option<&'static str>,
    /// Seconds by which the device then is late: systemd does not go back before its own
    /// release.
    late: std::ops::RangeInclusive<i64>,
    /// Part of the reason for which there is no report; `None` if the device reports with
    /// this clock.
    silent: Option<&'static str>,
}

const CLOCKS: [Clock; 3] = [
    Clock {
        name: "1970",
        at: Some("1970-01-01T00:00:00"),
        late: 30 * DAY..=i64::MAX,
        silent: Some("not yet valid"),
    },
    Clock {
        name: "slow",
        at: None,
        late: 17 * 60..=23 * 60,
        silent: None,
    },
    Clock {
        name: "2040",
        at: Some("2040-02-29T12:00:00"),
        late: i64::MIN..=-365 * DAY,
        silent: Some("expired"),
    },
];

fn run(testbed: &mut Testbed) -> Result<String> {
    let mut found = Vec::new();
    for clock in &CLOCKS {
        for boot in ["first", "second"] {
            let at = || format!("clock {}, {boot} boot", clock.name);
            found.push(one_boot(testbed, clock, boot == "second").with_context(at)?);
        }
    }
    // What a wrong clock has written must not hinder a right one.
    let before = power_off(testbed)?;
    shell::read(&mut testbed.part("vm", "up"))?;
    serves(testbed)?;
    reported(testbed, before)?;
    shell::read(&mut testbed.part("vm", "stop"))?;
    let fresh = new_device(testbed);
    shell::read(&mut testbed.part("vm", "up"))?;
    answers(testbed)?;
    found.push(fresh?);
    Ok(found.join("; "))
}

/// Boots with a wrong clock and checks the device; with `corrected`, sets the clock at the
/// end, after which the device must report.
fn one_boot(testbed: &Testbed, clock: &Clock, corrected: bool) -> Result<String> {
    let before = power_off(testbed)?;
    let slow = || rfc3339(now().saturating_sub(SLOW.as_secs()));
    let time = clock.at.map_or_else(slow, |at| Ok(at.into()))?;
    shell::read(testbed.part("vm", "up").args(["--clock", &time]))?;
    let date: i64 = testbed.root("date +%s")?.trim().parse()?;
    let late = i64::try_from(now())? - date;
    ensure!(
        clock.late.contains(&late),
        "the clock of the device is {late} s late"
    );
    serves(testbed)?;
    let Some(reason) = clock.silent else {
        reported(testbed, before)?;
        return Ok(format!("{late} s late: reported"));
    };
    until(LOG_TIMEOUT, "the reason why there is no report", || {
        let journal = testbed
            .root("journalctl -b -u edge-heartbeat -u edge-provision-check -o cat --no-pager")?;
        Ok(journal.contains(reason).then_some(()))
    })?;
    ensure!(
        version(testbed)? == before,
        "a report came with a clock that is {late} s late"
    );
    if corrected {
        set_clock(&|script| testbed.root(script))?;
        reported(testbed, before)?;
        return Ok(format!("{late} s late: {reason}, then reported"));
    }
    Ok(format!("{late} s late: {reason}"))
}

/// Checks that the device is reached by SSH as root and as edge, that the app answers, and
/// that no unit of ours has failed.
fn serves(testbed: &Testbed) -> Result<()> {
    until(APP_TIMEOUT, "an answer of the app", || {
        Ok(answers(testbed).ok())
    })?;
    let list = format!("{} ps --format '{{{{.Names}}}}'", bad_days::EDGE_DOCKER);
    let names = shell::read(&mut testbed.ssh("vm", &list)?)?;
    ensure!(names.lines().any(|name| name == "hello"), "apps: {names}");
    let failed = testbed
        .root("systemctl list-units --failed --plain --no-legend 'edge-*' docker containerd ssh")?;
    ensure!(failed.trim().is_empty(), "units failed: {failed}");
    Ok(())
}

/// Powers off the test VM and returns the version of its shadow, which only a report
/// changes.
fn power_off(testbed: &Testbed) -> Result<u64> {
    shell::read(&mut testbed.part("vm", "stop"))?;
    version(testbed)
}

fn version(testbed: &Testbed) -> Result<u64> {
    shadow_version(testbed, &testbed.vm("thing_name")?)
}

fn shadow_version(testbed: &Testbed, thing: &str) -> Result<u64> {
    let file = testbed.path("cloud/shadows").join(format!("{thing}.json"));
    let Ok(text) = fs::read(&file) else {
        return Ok(0);
    };
    let shadow: Value = serde_json::from_slice(&text).context("parsing the shadow")?;
    Ok(shadow["version"].as_u64().unwrap_or_default())
}

fn reported(testbed: &Testbed, before: u64) -> Result<()> {
    until(REPORT_TIMEOUT, "a report", || {
        Ok((version(testbed)? > before).then_some(()))
    })
}

/// Sets the clock of a device, as time synchronisation does.
fn set_clock(root: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    root(&format!("date -s @{}", now())).map(drop)
}

/// Boots a device that has no identity with a clock of 1970, then sets the clock: the
/// device must provision itself and report.
fn new_device(testbed: &Testbed) -> Result<String> {
    let directory = testbed.path("new-vm");
    let part = |command: &str| {
        let mut sim = testbed.sim(&["vm", command]);
        sim.arg("--dir").arg(&directory);
        sim
    };
    let mut build = part("build");
    build.arg("--cloud").arg(testbed.path("cloud"));
    shell::read(build.arg("--bin-dir").arg(testbed.programs()))?;
    let booted = shell::read(part("up").args(["--clock", "1970-01-01T00:00:00"]));
    let found = booted.and_then(|_| provisions_late(testbed, &directory));
    shell::read(part("stop").arg("--kill"))?;
    fs::remove_dir_all(&directory).context("removing the new device")?;
    found.context("a new device with a clock of 1970")
}

fn provisions_late(testbed: &Testbed, directory: &std::path::Path) -> Result<String> {
    let root = |script: &str| {
        let mut ssh = shell::command("ssh");
        ssh.arg("-F").arg(directory.join("ssh_config"));
        ssh.args(["-o", "BatchMode=yes", "vm-root", "--", script]);
        shell::read(ssh.stdin(std::process::Stdio::null()))
    };
    until(LOG_TIMEOUT, "the wait for the clock", || {
        let journal = root("journalctl -b -u edge-bootstrap -o cat --no-pager")?;
        Ok(journal.contains("the clock is not set").then_some(()))
    })?;
    let text = fs::read(directory.join("vm.json")).context("reading vm.json")?;
    let names: Value = serde_json::from_slice(&text).context("parsing vm.json")?;
    let thing = names["thing_name"].as_str().context("no thing name")?;
    ensure!(
        shadow_version(testbed, thing)? == 0,
        "a report without an identity"
    );
    set_clock(&root)?;
    until(PROVISION_TIMEOUT, "an identity and a report", || {
        Ok((shadow_version(testbed, thing)? > 0).then_some(()))
    })?;
    Ok("a new device waited for the clock, then provisioned itself".into())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Returns a time as `2026-01-02T03:04:05`.
fn rfc3339(unix: u64) -> Result<String> {
    let time = format!("@{unix}");
    let mut date = shell::command("date");
    let text = shell::read(date.args(["-u", "-d", &time, "+%Y-%m-%dT%H:%M:%S"]))?;
    Ok(text.trim().into())
}
