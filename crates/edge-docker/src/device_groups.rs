//! Groups of granted devices: a process that is not root can open a device node only as a
//! member of the node's group, for example `video` or `dialout`.
//!
//! The numbers are those of the device, which an image cannot know, so they come with the
//! grant and not with `--group-add`. They permit no other device: the engine's device
//! cgroup lets a container open only the granted nodes.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use edge_common::Root;
use edge_docker_policy::create_body::HostConfig;

/// Device nodes that stand for all of a GPU: the runtime adds the others, which belong to
/// the same group.
const GPU_NODES: [&str; 2] = ["/dev/nvmap", "/dev/nvidia0"];

/// Groups of the granted device nodes of a container.
pub(crate) struct Groups {
    /// Group numbers, in the order of the nodes.
    pub(crate) numbers: Vec<u32>,
    /// Whether a node is absent, so that its group is not known.
    pub(crate) is_partial: bool,
}

/// Adds the groups of the granted device nodes to `host`.
pub(crate) fn add(root: &Root, host: &mut HostConfig) {
    // The engine reports an absent device; a node of the GPU may be absent.
    for group in of(root, host).numbers {
        host.add_device_group(group);
    }
}

/// Returns the groups of the granted device nodes of `host`.
pub(crate) fn of(root: &Root, host: &HostConfig) -> Groups {
    let mut paths = host.device_paths();
    if host.has_gpu() {
        paths.extend(GPU_NODES.map(String::from));
    }
    let mut numbers = Vec::new();
    let mut is_partial = false;
    for path in paths {
        let Ok(node) = fs::metadata(root.path(&path)) else {
            is_partial = true;
            continue;
        };
        // A granted directory or file of another kind has an owner for other reasons.
        if node.file_type().is_char_device() || node.file_type().is_block_device() {
            numbers.push(node.gid());
        }
    }
    Groups {
        numbers,
        is_partial,
    }
}
