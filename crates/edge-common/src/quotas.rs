//! State of the project quotas of an ext4 file system, as the kernel shows it.

use crate::{Root, file};

/// Size limit of the list of options, in bytes.
const MAX_OPTIONS_BYTES: u64 = 16 * 1024;

/// Returns whether the ext4 file system on a device, for example `nvme0n1p16`, applies
/// limits of projects; `None` if the device has no mounted ext4 file system.
///
/// Not from the table of mounts, which omits options that the superblock states.
pub fn apply(root: &Root, device: &str) -> Option<bool> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if device.is_empty() || !device.chars().all(is_plain) {
        return None;
    }
    let options = root.path(format!("/proc/fs/ext4/{device}/options"));
    let options = file::read_text(&options, MAX_OPTIONS_BYTES).ok()?;
    Some(options.lines().any(|option| option == "prjquota"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_found_as_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(apply(&root, "sda1"), None);
        let path = root.path("/proc/fs/ext4/sda1/options");
        file::create_directory(path.parent().unwrap(), 0o755).unwrap();
        for (options, expected) in [
            ("rw\nbsddf\nprjquota\n", true),
            ("rw\nnoprjquota\n", false),
            ("usrquota\ngrpquota\n", false),
            ("prjquota2", false),
            ("", false),
        ] {
            file::put(&path, options.as_bytes(), 0o644).unwrap();
            assert_eq!(apply(&root, "sda1"), Some(expected), "{options}");
        }
        for device in ["", "..", "../ext4/sda1", "sda1/"] {
            assert_eq!(apply(&root, device), None, "{device}");
        }
    }
}
