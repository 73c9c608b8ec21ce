//! Memory limit of all apps together, as a drop-in of `edge-apps.slice`.
//!
//! Apps have no limit of their own by default, since GPU and processors share the memory
//! and only the owner of a device knows what each app needs. The slice keeps them
//! together from taking the memory of the engine and of sshd.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::{Root, file};

/// Memory that is left to the operating system, in bytes.
const RESERVED_BYTES: u64 = 768 << 20;
/// Drop-in, relative to the output directory of the generator.
const DROP_IN: &str = "edge-apps.slice.d/50-memory.conf";
/// Size limit of `/proc/meminfo`, in bytes.
const MAX_MEMINFO_BYTES: u64 = 64 * 1024;

/// Writes the drop-in with the limit of this device below `normal`.
pub(crate) fn write(root: &Root, normal: &Path) -> Result<()> {
    let text = file::read_text(&root.path("/proc/meminfo"), MAX_MEMINFO_BYTES)?;
    let total = total(&text).context("/proc/meminfo has no MemTotal")?;
    let path = normal.join(DROP_IN);
    file::create_directory(path.parent().unwrap_or(normal), 0o755)?;
    let drop_in = format!("[Slice]\nMemoryMax={}\n", limit(total));
    file::write(&path, drop_in.as_bytes(), 0o644)
}

/// Returns the memory of the device, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the limit of all apps, at least half of the memory: a device with little of it
/// is for its apps, too.
fn limit(total: u64) -> u64 {
    total.saturating_sub(RESERVED_BYTES).max(total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_get_all_but_768_mib_and_at_least_half() {
        assert_eq!(limit(8 << 30), (8 << 30) - (768 << 20));
        assert_eq!(limit(1 << 30), 512 << 20);
        assert_eq!(limit(0), 0);
    }

    #[test]
    fn the_memory_is_read_in_kibibytes() {
        let text = "MemTotal:        7990144 kB\nMemFree:  1 kB\n";
        assert_eq!(total(text), Some(7_990_144 * 1024));
        for bad in [
            "",
            "MemTotal:",
            "MemTotal: x kB",
            "MemTotal: 99999999999999999999 kB",
        ] {
            assert_eq!(total(bad), None, "{bad}");
        }
    }
}
