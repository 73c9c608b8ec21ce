//! edge-os, killed at its system calls: the firmware is never asked for a slot that is not
//! complete, and the next start comes to the same end.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::ffi::OsString;

use anyhow::{Result, ensure};
use device::engine::engine;
use device::{Device, follow};
use edge_os::journal::{Journal, Phase, Recorded};
use edge_os::reason::Cause;
use edge_sim::kill_points::{Point, Reach, kill_at_points};
use edge_sim::testbed::example;

/// Distance between two points: 1 in the campaign, `cargo xtask campaign kill`.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(100)
}

fn command(device: &Device, arguments: &[&str]) -> Vec<OsString> {
    let head = [example("os_at_root"), device.path("/")];
    let path = |a: &&str| match a.strip_prefix('@') {
        Some(path) => device.path(path).into_os_string(),
        None => a.into(),
    };
    let head = head.map(OsString::from);
    head.into_iter().chain(arguments.iter().map(path)).collect()
}

fn installing(device: &Device) -> Vec<OsString> {
    command(
        device,
        &["install", "@/os.dsse.json", "--bundle", "@/os.raucb"],
    )
}

fn settling(device: &Device) -> Vec<OsString> {
    command(device, &["settle"])
}

fn journal(device: &Device) -> Result<Journal> {
    match Recorded::load(&device.root()) {
        Recorded::Known(journal) => Ok(*journal),
        Recorded::Absent => Ok(Journal::default()),
        Recorded::Damaged(why) => anyhow::bail!("{why}"),
    }
}

/// Checks that whatever the firmware starts next is a whole system.
fn startable(device: &Device) -> Result<()> {
    let status = |slot| device.read(&format!("RootfsStatusSlot{slot}"));
    ensure!(status("A") == Some(0), "slot A is given up");
    if device.read("BootChainFwNext").is_some() {
        ensure!(device.ran("/usr/bin/rauc").is_some(), "not written");
        ensure!(status("B") == Some(0), "slot B is not startable");
    }
    Ok(())
}

fn runs(device: &Device, arguments: &[&str]) -> Result<()> {
    let (code, message) = device.run(arguments);
    ensure!(code == 0, "{arguments:?}: {code}: {message}");
    Ok(())
}

/// After the kill the power fails; the firmware follows a request if there is one.
fn after_install(device: &Device, _: &Point) -> Result<()> {
    startable(device)?;
    if device.read("BootChainFwNext").is_some() {
        follow(device, "APP_b");
        runs(device, &["mark", "initrd"])?;
        runs(device, &["settle"])?;
        ensure!(journal(device)?.phase == Phase::Committed, "no commit");
        return Ok(());
    }
    device.runs("APP");
    runs(device, &["settle"])?;
    ensure!(journal(device)?.back.is_none(), "came back from nowhere");
    let (code, message) = device.install();
    ensure!(code == 0, "the next installation: {code}: {message}");
    startable(device)?;
    ensure!(device.read("BootChainFwNext") == Some(1), "not requested");
    Ok(())
}

fn sound() -> Device {
    let device = Device::new();
    engine(&device, "Up 2 days (healthy)", 403);
    device
}

fn armed() -> Device {
    let device = sound();
    assert_eq!(device.install(), (0, String::new()));
    device
}

fn on_trial() -> Device {
    let device = armed();
    follow(&device, "APP_b");
    assert_eq!(device.run(&["mark", "initrd"]).0, 0);
    device
}

#[test]
fn kill_installation_is_complete_or_none() {
    let tally = kill_at_points(Reach::First, every(), sound, installing, after_install).unwrap();
    println!("install: {tally}");
    assert!(tally.killed > 50, "{tally}");
}

#[test]
fn kill_commit_is_completed_by_the_next_start() {
    let check = |device: &Device, _: &Point| {
        // The firmware starts the slot that it was asked for, once more.
        device.runs("APP_b");
        runs(device, &["settle"])?;
        let journal = journal(device)?;
        ensure!(journal.phase == Phase::Committed, "{:?}", journal.phase);
        ensure!(journal.back.is_none(), "a reason without a failure");
        let floor = edge_os::floor::read(&device.root(), &[]);
        ensure!(floor == 20, "floor {floor}");
        ensure!(device.read("RootfsStatusSlotB") == Some(0), "slot B");
        ensure!(
            device.read("BootChainFwNext").is_none(),
            "a request is left"
        );
        Ok(())
    };
    let tally = kill_at_points(Reach::First, every(), on_trial, settling, check).unwrap();
    println!("commit: {tally}");
    assert!(tally.killed > 50, "{tally}");
}

#[test]
fn kill_return_keeps_its_reason() {
    // The firmware did not look at the request.
    let returned = || {
        let device = armed();
        device.runs("APP");
        device
    };
    let check = |device: &Device, _: &Point| {
        device.runs("APP");
        runs(device, &["settle"])?;
        let journal = journal(device)?;
        let cause = journal.back.map(|b| b.cause);
        ensure!(cause == Some(Cause::NeverLeft), "{cause:?}");
        ensure!(
            device.read("BootChainFwNext").is_none(),
            "a request is left"
        );
        Ok(())
    };
    let tally = kill_at_points(Reach::First, every(), returned, settling, check).unwrap();
    println!("return: {tally}");
    assert!(tally.killed > 50, "{tally}");
}

#[test]
fn kill_rollback_takes_back_or_waits() {
    let taking_back = |device: &Device| command(device, &["rollback"]);
    let check = |device: &Device, _: &Point| {
        startable(device)?;
        if device.read("BootChainFwNext").is_some() {
            runs(device, &["rollback"])?;
        }
        ensure!(
            device.read("BootChainFwNext").is_none(),
            "a request is left"
        );
        device.runs("APP");
        runs(device, &["settle"])?;
        let (code, message) = device.install();
        ensure!(
            code == 0 || message.contains("known-bad"),
            "{code}: {message}"
        );
        Ok(())
    };
    let tally = kill_at_points(Reach::First, every(), armed, taking_back, check).unwrap();
    println!("rollback: {tally}");
    assert!(tally.killed > 20, "{tally}");
}
