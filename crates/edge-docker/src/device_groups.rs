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

/// Adds the groups of the granted device nodes to `host`.
pub(crate) fn add(root: &Root, host: &mut HostConfig) {
    let mut paths = host.device_paths();
    if host.has_gpu() {
        paths.extend(GPU_NODES.map(String::from));
    }
    for path in paths {
        // The engine reports an absent device; a node of the GPU may be absent.
        let Ok(node) = fs::metadata(root.path(&path)) else {
            continue;
        };
        // A granted directory or file of another kind has an owner for other reasons.
        if node.file_type().is_char_device() || node.file_type().is_block_device() {
            host.add_device_group(node.gid());
        }
    }
}
