//! Inputs of a run: the list of jobs, and the demand of an engineer.

use std::io::ErrorKind;

use anyhow::{Context, Result};
use edge_common::contract::limit::FLEET_FILE_BYTES;
use edge_common::contract::path::{FLEET_JOBS, FLEET_REQUEST, REPOSITORY};
use edge_common::{Root, file, log};
use serde::Deserialize;

use crate::converge::{Disk, Door, Jobs, Request, admit};
use crate::{device, jobs, reference};

/// Size limit of a demand and of the URL of the repository, in bytes.
const MAX_SMALL_BYTES: u64 = 4096;

/// Content of the file with a demand.
#[derive(Deserialize)]
struct Demand {
    /// Digest of a set that edge-docker keeps, with or without `sha256:`.
    set: String,
}

/// Reads AWS's list; `None` if none was received.
///
/// # Errors
/// The list is damaged; edge-heartbeat writes it again.
pub(crate) fn jobs(root: &Root) -> Result<Option<Jobs>> {
    let path = root.path(FLEET_JOBS);
    if is_absent(&path) {
        return Ok(None);
    }
    let text = file::read(&path, FLEET_FILE_BYTES)?;
    let jobs = jobs::parse(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(Some(jobs))
}

/// Reads the demand of an engineer. One that cannot be carried out is removed, and the log
/// says why.
///
/// # Errors
/// edge-docker does not answer.
pub(crate) fn request(root: &Root, disk: &Disk) -> Result<Option<Request>> {
    let path = root.path(FLEET_REQUEST);
    if is_absent(&path) {
        return Ok(None);
    }
    let request = match parse(root) {
        Ok(digest) => match device::kept(root, &digest)? {
            Ok((name, number)) => demanded(root, &digest, &name, number, disk),
            Err(error) => Err(error),
        },
        Err(error) => Err(format!("{error:#}")),
    };
    match request {
        Ok(request) => Ok(Some(request)),
        Err(error) => {
            log::error(format_args!("the demanded set is not carried out: {error}"));
            file::remove(&path)?;
            Ok(None)
        }
    }
}

/// Removes the demand: it is durable in another file now.
///
/// # Errors
/// The file cannot be removed.
pub(crate) fn forget_request(root: &Root) -> Result<()> {
    file::remove(&root.path(FLEET_REQUEST)).map(drop)
}

fn is_absent(path: &std::path::Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn parse(root: &Root) -> Result<String> {
    let path = root.path(FLEET_REQUEST);
    let text = file::read(&path, MAX_SMALL_BYTES)?;
    let demand: Demand =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    let hex = demand.set.strip_prefix("sha256:").unwrap_or(&demand.set);
    Ok(format!("sha256:{hex}"))
}

fn demanded(
    root: &Root,
    digest: &str,
    name: &str,
    number: u64,
    disk: &Disk,
) -> Result<Request, String> {
    let repository = file::read_text(&root.path(REPOSITORY), MAX_SMALL_BYTES);
    let repository = repository.map_err(|error| format!("{error:#}"))?;
    let set = format!("{}@{digest}", repository.trim());
    let desired = reference::desired(&set, name, number)?;
    let is_candidate = |candidate: &crate::converge::Candidate| candidate.set == desired.set;
    if !disk.candidate.as_ref().is_some_and(is_candidate) {
        admit(disk, &desired)?;
    }
    Ok(Request {
        desired,
        door: Door::Command,
    })
}
