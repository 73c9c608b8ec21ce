//! `status`: what runs on devices.

use anyhow::Result;
use edge_common::contract::phase;
use edge_common::exit::Failure;
use edge_common::log;

use crate::device::apps::{self, OnDevice};
use crate::device::ssh::Device;
use crate::exit_code::{PARTIAL, UNREACHABLE};
use crate::output::table;
use crate::project::config::Project;

/// Prints what runs on devices. One that does not tell makes it an error.
///
/// # Errors
/// A device that does not tell.
pub(crate) async fn status(project: &Project, names: &[String], json: bool) -> Result<()> {
    for name in names {
        Device::new(project, name)?;
    }
    let told = apps::on_all(project, names).await;
    if json {
        table::json(&told)?;
    } else {
        print(&told);
    }
    let silent: Vec<_> = told.iter().filter_map(|t| t.error.as_deref()).collect();
    for error in &silent {
        log::warn(error);
    }
    if silent.is_empty() {
        return Ok(());
    }
    let code = if silent.len() == names.len() {
        UNREACHABLE
    } else {
        PARTIAL
    };
    let (silent, all) = (silent.len(), names.len());
    let why = format!("{silent} of {all} devices do not tell");
    Err(Failure::error(code, why))
}

fn print(told: &[OnDevice]) {
    let mut rows = Vec::new();
    for device in told.iter().filter(|t| t.error.is_none()) {
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
    for device in told {
        for switch in &device.switches {
            let (name, phase) = (&switch["name"], &switch["phase"]);
            if let (Some(name), Some(phase::BACK | phase::DOWN | phase::TRIAL)) =
                (name.as_str(), phase.as_str())
            {
                let why = switch["reason"].as_str().unwrap_or_default();
                let why = if why.is_empty() { "under way" } else { why };
                let line = format!("{}: the last switch of {name}: {why}", device.device);
                println!("{}", log::printable(&line));
            }
        }
    }
}
