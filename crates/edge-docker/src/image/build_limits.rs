//! Limits of the processes that `RUN` starts: memory, and the number of processes.
//!
//! The engine's build request has no limit of processes, so that all containers of builds
//! are in one cgroup, which has it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::Root;
use hyper::Method;

use crate::engine::client;

/// Unit whose cgroup contains the containers of builds, where systemd manages cgroups.
const SLICE: &str = "edge-build.slice";
/// Cgroup of the containers of builds, where the engine manages cgroups.
const CGROUP: &str = "edge-build";
/// Maximum number of processes of all builds together.
const MAX_PROCESSES: u32 = 4096;

/// Returns the parameters of the build request that limit its containers.
pub(super) async fn parameters(root: &Root) -> Result<String> {
    let info = client::request(root, Method::GET, "/info", None).await?;
    let parent = match info["CgroupDriver"].as_str() {
        // The limit of processes is in the unit.
        Some("systemd") => SLICE.to_string(),
        _ => {
            limit_processes(root, info["CgroupVersion"] == "2")?;
            format!("/{CGROUP}")
        }
    };
    let memory = total_memory(root)? / 4 * 3;
    let parent = parent.replace('/', "%2F");
    Ok(format!(
        "&memory={memory}&memswap={memory}&cgroupparent={parent}"
    ))
}

/// Creates the cgroup of builds and sets its limit of processes.
fn limit_processes(root: &Root, is_unified: bool) -> Result<()> {
    let top = match is_unified {
        true => root.path("/sys/fs/cgroup"),
        false => root.path("/sys/fs/cgroup/pids"),
    };
    let cgroup = top.join(CGROUP);
    if is_unified {
        // An error is ignored: the controller may be enabled already, and without it the
        // file below is missing.
        let _ = write(&top.join("cgroup.subtree_control"), b"+pids");
    }
    fs::create_dir_all(&cgroup).context("creating the cgroup of builds")?;
    let limit = MAX_PROCESSES.to_string();
    write(&cgroup.join("pids.max"), limit.as_bytes()).context("limiting the processes of builds")
}

/// Writes a file of a cgroup, which the kernel has created.
fn write(path: &Path, value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value)
}

/// Returns the memory of the device in bytes.
fn total_memory(root: &Root) -> Result<u64> {
    let text = fs::read_to_string(root.path("/proc/meminfo")).context("reading /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(number.context("/proc/meminfo has no MemTotal")? * 1024)
}
