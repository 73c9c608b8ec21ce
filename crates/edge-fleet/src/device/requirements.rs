//! Requirements of a release set, which are compared before anything changes.

use edge_common::{Root, file};
use edge_signature::architecture;
use edge_signature::set::ReleaseSet;

use crate::converge::{Refused, World};

/// File that names the device image.
const OS_RELEASE: &str = "/etc/os-release";
/// Size limit of that file, in bytes.
const MAX_OS_RELEASE_BYTES: u64 = 64 * 1024;
/// Free space that a set with a new image needs at least, in bytes: layers and their
/// unpacked content share the partition with the state of the device.
const MIN_FREE_BYTES: u64 = 200_000_000;
const MB: u64 = 1_000_000;

/// Compares the requirements of a set with the device.
///
/// # Errors
/// The first requirement that is not met.
pub(crate) fn check(root: &Root, set: &ReleaseSet, world: &World) -> Result<(), Refused> {
    let refuse = |rule: &str, message: String| {
        let rule = rule.into();
        Err(Refused { rule, message })
    };
    let free = free_bytes(root);
    let unmet = set
        .requires
        .unmet(architecture(), free, &image_version(root));
    if let Some(message) = unmet {
        let rule = match set.requires.disk_mb {
            Some(wanted) if wanted > free / MB => "disk",
            _ => "requires",
        };
        return refuse(rule, message);
    }
    let runs = |name: &str, digest: &str| {
        let app = world.apps.get(name);
        app.is_some_and(|app| app.deployed.digest == digest)
    };
    let mut apps = set.apps.iter();
    let is_new = apps.any(|app| !runs(&app.name, app.digest.as_str()));
    if is_new && free < MIN_FREE_BYTES {
        let (free, wanted) = (free / MB, MIN_FREE_BYTES / MB);
        let message = format!("{free} MB are free on /data, a new image needs {wanted} MB");
        return refuse("disk", message);
    }
    Ok(())
}

/// Returns the bytes on /data that a program may occupy; 0 if they are not known.
fn free_bytes(root: &Root) -> u64 {
    let stat = rustix::fs::statvfs(root.path("/data"));
    stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns the version of the device image; empty if it states none.
fn image_version(root: &Root) -> String {
    let text = file::read_text(&root.path(OS_RELEASE), MAX_OS_RELEASE_BYTES).unwrap_or_default();
    let value = |key: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_string())
    };
    let version = value("IMAGE_VERSION").or_else(|| value("VERSION_ID"));
    version.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use edge_signature::set::Requires;

    use super::*;

    #[test]
    fn an_unmet_requirement_is_named_by_its_rule() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        for name in ["/data", "/etc"] {
            file::create_directory(&root.path(name), 0o755).unwrap();
        }
        let text = b"ID=edge-ai\nVERSION_ID=\"2026.11\"\n";
        file::write(&root.path(OS_RELEASE), text, 0o644).unwrap();
        let world = World::default();
        let mut set = ReleaseSet::new("barn", 7, 9, &["*"]);
        let rule = |set: &ReleaseSet| check(&root, set, &world).map_err(|refused| refused.rule);
        assert_eq!(rule(&set), Ok(()));
        for (requires, expected) in [
            (r#"{"arch":"riscv64"}"#, "requires"),
            (r#"{"image":"2026.12"}"#, "requires"),
            (r#"{"disk_mb":9000000000}"#, "disk"),
        ] {
            set.requires = serde_json::from_str::<Requires>(requires).unwrap();
            assert_eq!(rule(&set), Err(expected.to_string()), "{requires}");
        }
        set.requires = serde_json::from_str(r#"{"image":"2026.11"}"#).unwrap();
        assert_eq!(rule(&set), Ok(()));
        assert_eq!(image_version(&Root::at("/nowhere")), "");
        assert_eq!(free_bytes(&Root::at("/nowhere")), 0);
    }
}
