//! Deployments that an interruption left open, or that somebody else carries out.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::contract::phase;
use edge_common::{Root, log};
use serde::Deserialize;

use super::docker;

/// Time limit of finishing all interrupted deployments.
const RECOVER: Duration = Duration::from_secs(30 * 60);
/// Time for which another deployment may last: the longest trial, and its steps.
const OTHER: Duration = Duration::from_secs(75 * 60);
/// Interval at which another deployment is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Last deployment of an app.
#[derive(Deserialize)]
pub(crate) struct Deployment {
    name: String,
    phase: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    log: String,
}

impl Deployment {
    fn is_open(&self) -> bool {
        [phase::TRIAL, phase::KEEP].contains(&&*self.phase)
    }

    /// Returns why the deployment failed, with the last lines of the app's log.
    pub(crate) fn failure(&self) -> String {
        [self.reason.trim(), self.log.trim()].join("\n")
    }
}

/// Returns the last deployments, of one app or of all.
///
/// # Errors
/// edge-docker does not answer.
pub(crate) fn deployments(root: &Root, app: Option<&str>) -> Result<Vec<Deployment>> {
    let mut args = vec!["replace", "--status"];
    args.extend(app);
    let list = docker::look(root, &args)?;
    let parsed = list.lines().filter_map(|l| serde_json::from_str(l).ok());
    Ok(parsed.collect())
}

fn open(root: &Root) -> Result<Vec<String>> {
    let open = deployments(root, None)?.into_iter();
    Ok(open.filter(Deployment::is_open).map(|d| d.name).collect())
}

/// Finishes interrupted deployments, and waits for those that another process carries out:
/// until then nobody knows which version of an app runs.
///
/// # Errors
/// edge-docker does not answer, or a deployment lasts too long.
pub(crate) fn finish(root: &Root) -> Result<()> {
    let mut names = open(root)?;
    if names.is_empty() {
        return Ok(());
    }
    log::info(format_args!(
        "finishing the deployment of {}",
        names.join(", ")
    ));
    let recovered = docker::run(root, &["replace", "--recover"], RECOVER)?;
    if !recovered.success() {
        // It says so again at each change of the app, which then counts as failed.
        log::warn(format_args!("recovering: {}", recovered.summary()));
        return Ok(());
    }
    let end = Instant::now() + OTHER;
    names = open(root)?;
    while !names.is_empty() {
        if Instant::now() >= end {
            let names = names.join(", ");
            bail!("{names}: another deployment does not end: edge-docker replace --status");
        }
        sleep(LOOK_EVERY);
        names = open(root)?;
    }
    Ok(())
}
