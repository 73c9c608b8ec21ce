//! edge-provision is killed at its system calls, and heals.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use edge_sim::endpoint::Behaviour;
use edge_sim::kill;
use edge_sim::testbed::{DeviceRoot, StrictEndpoint, example};

/// All points with `EDGE_EVERY=1`, as `cargo xtask campaign kill` does.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(40)
}

/// The key on disk; nothing if there is none yet.
fn key(device: &DeviceRoot) -> Option<Vec<u8>> {
    fs::read(device.path("data/config/aws-iot/private.key")).ok()
}

/// A certificate never lies there without its key, and no key is ever open.
fn no_harm(device: &DeviceRoot) -> Result<()> {
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

fn good_end(device: &DeviceRoot, before: Option<&[u8]>) -> Result<()> {
    let (code, said) = device.provision(&[]);
    ensure!(code == 0, "the next run ends with {code}: {said}");
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
    let words = |device: &DeviceRoot| -> Vec<OsString> {
        vec![example("provision_at_root").into(), device.path("").into()]
    };
    let tally = kill::sweep(every(), prepare, words, |device, _| {
        no_harm(device)?;
        let before = key(device);
        good_end(device, before.as_deref())
    });
    let tally = tally.unwrap();
    println!("edge-provision: {tally}");
    // Each device asked with one key, also those that were killed.
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
        let (code, said) = device.provision(&[]);
        assert_eq!(code, 0, "{said}");
        device
    };
    let words = |device: &DeviceRoot| -> Vec<OsString> {
        vec![
            example("provision_at_root").into(),
            device.path("").into(),
            "--renew".into(),
        ]
    };
    let tally = kill::sweep(every(), prepare, words, |device, _| {
        no_harm(device)?;
        // What is in use is whole at any moment.
        ensure!(
            device.provision(&["status"]).0 == 0,
            "no valid identity after the cut"
        );
        good_end(device, None)?;
        let (code, said) = device.provision(&["--renew"]);
        ensure!(code == 0, "renewing again ends with {code}: {said}");
        ensure!(
            !device.path("data/config/aws-iot.next").exists(),
            "something is left"
        );
        good_end(device, key(device).as_deref())
    });
    let tally = tally.unwrap();
    println!("edge-provision --renew: {tally}");
    assert!(tally.killed > 80, "{tally}");
}
