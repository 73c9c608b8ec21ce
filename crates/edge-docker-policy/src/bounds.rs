//! Bounds of what the engine keeps: the number of containers, and mounts and labels of
//! each.

use edge_common::contract::label;

use crate::limits::{MAX_LABEL_BYTES, MAX_LABELS, MAX_MOUNTS, MAX_STORED_MOUNTS};

/// Maximum number of containers of a device, running or not. The boot audit examines each
/// of them before the engine starts.
pub const MAX_CONTAINERS: usize = 128;

/// Smallest limit of what an app stores, in bytes: the room that a start needs, in which the
/// engine creates the mount points of a container.
pub const MIN_STORAGE_BYTES: u64 = 1 << 20;

/// Checks the number of mounts, in memory or not, and number and size of labels. Labels
/// of edge-docker and of the container image do not count: the caller cannot add to them.
///
/// # Errors
/// Text that names what exceeds its bound.
pub fn check<'a>(
    mounts: usize,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    check_with(MAX_MOUNTS, mounts, labels)
}

/// Checks a stored container as [`check`] does. It may have more mounts.
pub(crate) fn check_stored<'a>(
    mounts: usize,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    check_with(MAX_STORED_MOUNTS, mounts, labels)
}

fn check_with<'a>(
    most: usize,
    mounts: usize,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    if mounts > most {
        return Err(format!(
            "{mounts} mounts (-v, --mount, --tmpfs and those of grants), at most {most} are \
             accepted"
        ));
    }
    let own = labels.filter(|(name, _)| !name.starts_with(label::PREFIX));
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in own {
        count += 1;
        bytes += name.len() + value.len();
    }
    if count > MAX_LABELS || bytes > MAX_LABEL_BYTES {
        return Err(format!(
            "{count} labels of {bytes} bytes, at most {MAX_LABELS} of {MAX_LABEL_BYTES} bytes \
             together are accepted"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_themselves_are_accepted() {
        let names: Vec<_> = (0..=MAX_LABELS).map(|n| format!("name{n}")).collect();
        let labels = |count| names.iter().take(count).map(|name| (name.as_str(), ""));
        assert!(check(MAX_MOUNTS, labels(MAX_LABELS)).is_ok());
        assert!(check(MAX_MOUNTS + 1, labels(0)).is_err());
        assert!(check_stored(MAX_STORED_MOUNTS, labels(0)).is_ok());
        assert!(check_stored(MAX_STORED_MOUNTS + 1, labels(0)).is_err());
        assert!(check(0, labels(MAX_LABELS + 1)).is_err());
        let value = "x".repeat(MAX_LABEL_BYTES);
        assert!(check(0, [("", value.as_str())].into_iter()).is_ok());
        assert!(check(0, [("a", value.as_str())].into_iter()).is_err());
        assert!(check(0, [(label::APP, value.as_str())].into_iter()).is_ok());
    }
}
