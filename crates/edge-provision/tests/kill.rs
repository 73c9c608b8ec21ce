//! edge-provision, killed at its system calls, then run again: it recovers with one key.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use edge_sim::endpoint::Behaviour;
use edge_sim::kill_points::{Reach, kill_at_points};
use edge_sim::testbed::{DeviceRoot, StrictEndpoint, example};

/// Distance between two points: 1 in the campaign, `cargo xtask campaign kill`.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(40)
}

/// Returns the key on disk, if there is one.
fn key(device: &DeviceRoot) -> Option<Vec<u8>> {
    fs::read(device.path("data/config/aws-iot/private.key")).ok()
}

/// Checks the state right after the kill: no certificate without its key, no secret that
/// others can read.
fn check_interrupted(device: &DeviceRoot) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let directory = device.path("data/config/aws-iot");
    let has = |name: &str| directory.join(name).exists();
    ensure!(
        has("private.key") || !has("device.crt"),
        "a certificate without its key"
    );
    ensure!(
        has("device.crt") || !has("config.json"),
        "committed without a certificate"
    );
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let mode = entry.metadata()?.permissions().mode();
        let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
        let secret = text.contains("PRIVATE KEY") || text.contains("token");
        ensure!(
            !secret || mode & 0o077 == 0,
            "{:?} is open: {mode:o}",
            entry.file_name()
        );
    }
    Ok(())
}

/// Runs the device and checks that it is provisioned, with the key of before.
fn check_recovery(device: &DeviceRoot, before: Option<&[u8]>) -> Result<()> {
    let (code, output) = device.provision(&[]);
    ensure!(code == 0, "the next run ends with {code}: {output}");
    let names: Vec<_> = device.identity().into_iter().map(|f| f.0).collect();
    ensure!(
        names == ["config.json", "device.crt", "private.key"],
        "left: {names:?}"
    );
    let after = key(device);
    ensure!(
        before.is_none() || before == after.as_deref(),
        "the key was replaced"
    );
    ensure!(device.provision(&["status"]).0 == 0, "no valid identity");
    Ok(())
}

#[test]
fn kill_provisioning_at_its_system_calls() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let count = AtomicUsize::new(0);
    let prepare = || {
        let serial = format!("k{}", count.fetch_add(1, Ordering::Relaxed));
        DeviceRoot::strict(&cloud, &serial)
    };
    let args = |device: &DeviceRoot| -> Vec<OsString> {
        vec![example("provision_at_root").into(), device.path("").into()]
    };
    let tally = kill_at_points(Reach::Threads, every(), prepare, args, |device, _| {
        check_interrupted(device)?;
        let before = key(device);
        check_recovery(device, before.as_deref())
    });
    let tally = tally.unwrap();
    println!("edge-provision: {tally}");
    // Each device used one key, also those that were killed.
    let devices = count.load(Ordering::Relaxed);
    assert_eq!(cloud.endpoint.keys_seen(), devices, "devices with two keys");
    assert!(tally.killed > 80, "{tally}");
}

#[test]
fn kill_renewing_at_its_system_calls() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let count = AtomicUsize::new(0);
    let prepare = || {
        let serial = format!("r{}", count.fetch_add(1, Ordering::Relaxed));
        let device = DeviceRoot::strict(&cloud, &serial);
        let (code, output) = device.provision(&[]);
        assert_eq!(code, 0, "{output}");
        device
    };
    let args = |device: &DeviceRoot| -> Vec<OsString> {
        vec![
            example("provision_at_root").into(),
            device.path("").into(),
            "--renew".into(),
        ]
    };
    let tally = kill_at_points(Reach::Threads, every(), prepare, args, |device, _| {
        check_interrupted(device)?;
        // The identity in use is valid at any moment.
        ensure!(
            device.provision(&["status"]).0 == 0,
            "no valid identity after the kill"
        );
        check_recovery(device, None)?;
        let (code, output) = device.provision(&["--renew"]);
        ensure!(code == 0, "renewing again ends with {code}: {output}");
        ensure!(
            !device.path("data/config/aws-iot.next").exists(),
            "the directory of the renewal is left"
        );
        check_recovery(device, key(device).as_deref())
    });
    let tally = tally.unwrap();
    println!("edge-provision --renew: {tally}");
    assert!(tally.killed > 80, "{tally}");
}
