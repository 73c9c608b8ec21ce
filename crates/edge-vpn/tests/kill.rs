//! edge-vpn killed at its system calls, and so each of its helpers: the next run
//! always comes to the same good end. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod world;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use edge_sim::kill_points::{Point, Reach, kill_at_points};
use world::{THING, TOKEN, World};

/// All points with `EDGE_EVERY=1`, as `cargo xtask campaign kill` does.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(100)
}

fn words(world: &World) -> Vec<OsString> {
    world
        .words(&["--budget", "5"])
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

/// No secret lies open at any moment, and what has its place is whole.
fn no_harm(world: &World, secret: Option<&str>) -> Result<()> {
    for (path, (text, mode, _)) in world.tree() {
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_secret = secret.is_some_and(|s| text.contains(s)) || path.ends_with("private.key");
        ensure!(
            !is_secret || mode & 0o077 == 0,
            "{} is open: {mode:o}",
            path.display()
        );
        let placed = !path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .starts_with(".new-");
        ensure!(
            !placed || text.ends_with(['\n', '}']),
            "{} is cut off",
            path.display()
        );
    }
    Ok(())
}

/// The next run is ready, and the one after that changes nothing.
fn good_end(world: &World) -> Result<()> {
    let (code, said) = world.run(&[]);
    ensure!(code == 0, "the next run ends with {code}: {said}");
    let before = world.tree();
    let (code, said) = world.run(&[]);
    ensure!(
        code == 0 && said.is_empty(),
        "the run after that ends with {code}: {said}"
    );
    ensure!(
        world.tree() == before,
        "the run after that changed something"
    );
    Ok(())
}

fn nordvpn(world: &World, _: &Point) -> Result<()> {
    no_harm(world, Some(TOKEN))?;
    good_end(world)?;
    let kept = names(&world.path("data/config/nordvpn"));
    ensure!(kept == ["meshnet-hostname", "token"], "left: {kept:?}");
    let units = names(&world.path("data/services"));
    ensure!(
        units
            .iter()
            .filter(|u| !u.starts_with(".new-"))
            .eq(["vpn-nordvpn.service"]),
        "units: {units:?}"
    );
    let hostname = world.read("data/config/nordvpn/meshnet-hostname");
    ensure!(hostname == "me-alps.nord\n", "hostname {hostname:?}");
    ensure!(world.read("state/nick").trim() == THING, "no nickname");
    ensure!(
        world.path("state/active").exists(),
        "the unit is not started"
    );
    Ok(())
}

const HUB: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn wireguard_world() -> World {
    let peer = format!(
        r#"{{"public_key":"{HUB}","endpoint":"192.0.2.1:1","allowed_ips":["100.64.0.0/10"]}}"#
    );
    let world = World::new(&format!(
        r#"{{"provider":"wireguard","range":"100.64.0.0/10","address":"100.64.0.15","peers":[{peer}]}}"#
    ));
    world.program("usr/sbin/ip", include_str!("world/ip.sh"));
    world.program("usr/bin/wg", include_str!("world/wg.sh"));
    world
}

fn wireguard(world: &World, _: &Point) -> Result<()> {
    no_harm(world, None)?;
    let key = "data/config/wireguard/private.key";
    let before = fs::read(world.path(key)).ok();
    good_end(world)?;
    let after = fs::read(world.path(key)).context("no key")?;
    ensure!(before.is_none_or(|b| b == after), "the key was replaced");
    let used = world.read("state/private");
    ensure!(used.as_bytes() == after, "another key is in use");
    let kept = names(&world.path("data/config/wireguard"));
    ensure!(
        kept == ["address", "hostname", "private.key", "public.key"],
        "left: {kept:?}"
    );
    ensure!(world.read("state/wg-peers").starts_with(HUB), "no peer");
    ensure!(world.path("state/up").exists(), "the interface is down");
    Ok(())
}

type Check = fn(&World, &Point) -> Result<()>;

/// Every day the program itself; its helpers, of which each is a program of
/// somebody else, in the campaign.
fn campaign(name: &str, prepare: fn() -> World, check: Check) {
    let reaches = [Reach::First, Reach::Helpers];
    let count = if every() == 1 { 2 } else { 1 };
    for reach in reaches.into_iter().take(count) {
        let tally = kill_at_points(reach, every(), prepare, words, check);
        let tally = tally.unwrap_or_else(|e| panic!("{name}, {reach:?}: {e:#}"));
        println!("edge-vpn, {name}, {reach:?}: {tally}");
        assert!(tally.killed > 60, "{tally}");
    }
}

#[test]
fn kill_nordvpn_at_its_system_calls() {
    campaign("NordVPN", World::nordvpn, nordvpn);
}

#[test]
fn kill_wireguard_at_its_system_calls() {
    campaign("WireGuard", wireguard_world, wireguard);
}
