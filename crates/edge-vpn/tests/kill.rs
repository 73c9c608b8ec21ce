//! edge-vpn and each of its helpers, killed at their system calls, then run again: the
//! device is in the VPN each time. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod test_root;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use edge_sim::kill_points::{Point, Reach, kill_at_points};
use test_root::{THING, TOKEN, TestRoot};

/// Distance between two points: 1 in the campaign, `cargo xtask campaign kill`.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(100)
}

fn command_line(root: &TestRoot) -> Vec<OsString> {
    root.command_line(&["--budget", "5"])
        .into_iter()
        .map(OsString::from)
        .collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Checks the state right after the kill: no secret that others can read, no truncated
/// file.
fn check_interrupted(root: &TestRoot, secret: Option<&str>) -> Result<()> {
    for (path, (text, mode, _)) in root.tree() {
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_secret = secret.is_some_and(|s| text.contains(s)) || path.ends_with("private.key");
        ensure!(
            !is_secret || mode & 0o077 == 0,
            "{} is open: {mode:o}",
            path.display()
        );
        let complete = !path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .starts_with(".new-");
        ensure!(
            !complete || text.ends_with(['\n', '}']),
            "{} is truncated",
            path.display()
        );
    }
    Ok(())
}

/// Checks that the next run is ready, and that the one after it changes nothing.
fn check_recovery(root: &TestRoot) -> Result<()> {
    let (code, output) = root.run(&[]);
    ensure!(code == 0, "the next run ends with {code}: {output}");
    let before = root.tree();
    let (code, output) = root.run(&[]);
    ensure!(
        code == 0 && output.is_empty(),
        "the run after that ends with {code}: {output}"
    );
    ensure!(
        root.tree() == before,
        "the run after that changed something"
    );
    Ok(())
}

fn nordvpn(root: &TestRoot, _: &Point) -> Result<()> {
    check_interrupted(root, Some(TOKEN))?;
    check_recovery(root)?;
    let kept = names(&root.path("data/config/nordvpn"));
    ensure!(kept == ["meshnet-hostname", "token"], "left: {kept:?}");
    let hostname = root.read("data/config/nordvpn/meshnet-hostname");
    ensure!(hostname == "me-alps.nord\n", "hostname {hostname:?}");
    ensure!(root.read("state/nick").trim() == THING, "no nickname");
    let journal = root.read("state/journal");
    ensure!(
        journal.contains("start edge-vpn-client.service"),
        "the unit is not started"
    );
    Ok(())
}

const HUB: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn wireguard_root() -> TestRoot {
    let peer = format!(
        r#"{{"public_key":"{HUB}","endpoint":"192.0.2.1:1","allowed_ips":["100.64.0.0/10"]}}"#
    );
    let root = TestRoot::new(&format!(
        r#"{{"provider":"wireguard","range":"100.64.0.0/10","address":"100.64.0.15","peers":[{peer}]}}"#
    ));
    root.program("usr/sbin/ip", include_str!("test_root/ip.sh"));
    root.program("usr/bin/wg", include_str!("test_root/wg.sh"));
    root
}

fn wireguard(root: &TestRoot, _: &Point) -> Result<()> {
    check_interrupted(root, None)?;
    let key = "data/config/wireguard/private.key";
    let before = fs::read(root.path(key)).ok();
    check_recovery(root)?;
    let after = fs::read(root.path(key)).context("no key")?;
    ensure!(before.is_none_or(|b| b == after), "the key was replaced");
    let used = root.read("state/private");
    ensure!(used.as_bytes() == after, "another key is in use");
    let kept = names(&root.path("data/config/wireguard"));
    ensure!(
        kept == ["address", "hostname", "private.key", "public.key"],
        "left: {kept:?}"
    );
    ensure!(root.read("state/wg-peers").starts_with(HUB), "no peer");
    ensure!(root.path("state/up").exists(), "the interface is down");
    Ok(())
}

type Check = fn(&TestRoot, &Point) -> Result<()>;

/// Kills the program itself, and in the campaign its helpers too, which are programs of
/// others.
fn campaign(name: &str, prepare: fn() -> TestRoot, check: Check) {
    let reaches = [Reach::First, Reach::Helpers];
    let count = if every() == 1 { 2 } else { 1 };
    for reach in reaches.into_iter().take(count) {
        let tally = kill_at_points(reach, every(), prepare, command_line, check);
        let tally = tally.unwrap_or_else(|e| panic!("{name}, {reach:?}: {e:#}"));
        println!("edge-vpn, {name}, {reach:?}: {tally}");
        assert!(tally.killed > 60, "{tally}");
    }
}

#[test]
fn kill_nordvpn_at_its_system_calls() {
    campaign("NordVPN", TestRoot::nordvpn, nordvpn);
}

#[test]
fn kill_wireguard_at_its_system_calls() {
    campaign("WireGuard", wireguard_root, wireguard);
}
