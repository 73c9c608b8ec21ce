//! Health of the device, before an update and on a new slot.

use std::time::SystemTime;

use edge_common::contract::path::CLOUD_TIME;
use edge_common::refusal::Connection;
use edge_common::{Root, file, log};

use crate::decide::Observed;
use crate::engine;
use crate::gate::{Before, Check, Now};
use crate::image::Running;

/// File by which the gate tries whether `/data` is writable.
const TRIED: &str = "/data/os/.tried";

/// Collects the health of the device before an update. An engine that does not answer has
/// no healthy apps.
pub fn before(root: &Root) -> Before {
    let apps = engine::apps_before(root);
    let apps = apps.unwrap_or_else(|error| {
        log::warn(format_args!("apps do not count: {error:#}"));
        Default::default()
    });
    let reported = std::fs::metadata(root.path(CLOUD_TIME)).and_then(|m| m.modified());
    let ago = reported
        .ok()
        .and_then(|t| SystemTime::now().duration_since(t).ok());
    Before {
        apps,
        reported_ago: ago.map(|a| a.as_secs()),
    }
}

/// Collects the health of a new slot.
pub fn now(root: &Root, observed: &Observed) -> Now {
    let (engine, apps) = match engine::apps(root) {
        Ok(apps) => (Check::Good, apps),
        Err(error) => (Check::Pending(format!("{error:#}")), Default::default()),
    };
    let policy = match engine {
        Check::Good => engine::policy(root),
        _ => Check::Pending("the engine does not answer".into()),
    };
    Now {
        image: image(root, observed),
        data: data(root),
        engine,
        policy,
        cloud: cloud(root),
        apps,
    }
}

fn image(root: &Root, observed: &Observed) -> Check {
    let slot = Some(observed.root.number());
    let variables = &observed.variables;
    if variables.os_current != slot || variables.fw_current != slot {
        return Check::Bad("root and firmware are of different slots".into());
    }
    let running = match Running::load(root) {
        Ok(running) => running,
        Err(error) => return Check::Bad(format!("{error:#}")),
    };
    let kernel = file::read_text(&root.path("/proc/sys/kernel/osrelease"), 1024);
    match kernel {
        Ok(kernel) if kernel.trim() == running.kernel => Check::Good,
        Ok(kernel) => Check::Bad(format!(
            "kernel {} runs, the image has {}",
            kernel.trim(),
            running.kernel
        )),
        Err(error) => Check::Bad(format!("{error:#}")),
    }
}

fn data(root: &Root) -> Check {
    // `log` exists only on the mounted file system.
    if !root.path("/data/log").is_dir() {
        return Check::Pending("/data is not mounted".into());
    }
    let path = root.path(TRIED);
    let tried = file::write(&path, b"", 0o600).and_then(|()| file::remove(&path));
    match tried {
        Ok(_) => Check::Good,
        Err(error) => Check::Bad(format!("/data is not writable: {error:#}")),
    }
}

fn cloud(root: &Root) -> Check {
    match Connection::load(root) {
        Some(Connection {
            refused_since: None,
        }) => Check::Good,
        Some(_) => Check::Pending("the cloud refuses the device's identity".into()),
        None => Check::Pending("the device has not connected yet".into()),
    }
}
