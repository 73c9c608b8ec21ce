//! `status`: shows the apps on devices with version, state, health and signer.

use anyhow::Result;
use edge_common::contract::phase;
use edge_common::exit::Failure;
use edge_common::log;

use crate::device::apps::{self, DeviceApps};
use crate::device::ssh::Device;
use crate::exit_code::{PARTIAL, UNREACHABLE};
use crate::output::table;
use crate::project::config::Project;

/// Prints the apps on the devices `names`; returns an error if any device could not be
/// queried.
pub(super) async fn status(project: &Project, names: &[String], json: bool) -> Result<()> {
    // An invalid device name is wrong usage and must not be reported as an unreachable
    // device.
    for name in names {
        Device::new(project, name)?;
    }
    let devices = apps::on_all(project, names).await;
    if json {
        table::print_json(&devices)?;
    } else {
        print(&devices);
    }
    let errors: Vec<_> = devices.iter().filter_map(|d| d.error.as_deref()).collect();
    for error in &errors {
        log::warn(error);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let code = if errors.len() == names.len() {
        UNREACHABLE
    } else {
        PARTIAL
    };
    let (failed, all) = (errors.len(), names.len());
    let why = format!("could not query {failed} of {all} devices");
    Err(Failure::error(code, why))
}

fn print(devices: &[DeviceApps]) {
    let mut rows = Vec::new();
    for device in devices.iter().filter(|d| d.error.is_none()) {
        for app in &device.apps {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
            let signer = match &app.signer {
                Some(signer) => table::short(signer),
                None if app.sandbox => "sandbox".into(),
                None => "-".into(),
            };
            let digest = app.digest.as_deref().map_or("-".into(), table::short);
            rows.push(vec![
                device.device.clone(),
                app.name.clone(),
                text(&app.version),
                digest,
                app.state.clone(),
                text(&app.health),
                signer,
            ]);
        }
        // A reachable device without apps gets a row of its own; only unreachable devices
        // have none.
        if device.apps.is_empty() {
            let mut row = vec![device.device.clone()];
            row.resize(7, "-".into());
            rows.push(row);
        }
    }
    let head = [
        "DEVICE", "APP", "VERSION", "DIGEST", "STATE", "HEALTH", "SIGNER",
    ];
    table::print(&head, &rows);
    for device in devices {
        print_deployments(device);
    }
}

/// Prints a line for each app whose last deployment failed or is in progress: the table
/// shows only the container that runs now, not that a newer version was tried.
fn print_deployments(device: &DeviceApps) {
    for deployment in &device.deployments {
        let (name, phase) = (&deployment["name"], &deployment["phase"]);
        if let (Some(name), Some(phase::BACK | phase::DOWN | phase::TRIAL)) =
            (name.as_str(), phase.as_str())
        {
            let reason = deployment["reason"].as_str().unwrap_or_default();
            let reason = if reason.is_empty() {
                "in progress"
            } else {
                reason
            };
            let device = &device.device;
            let line = format!("{device}: the last deployment of {name}: {reason}");
            println!("{}", log::printable(&line));
        }
    }
}
