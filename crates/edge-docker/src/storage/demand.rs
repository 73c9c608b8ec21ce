//! Storage that an app demands, and the limits that follow from it.

use edge_common::policy;
use edge_docker_policy::bounds::MIN_STORAGE_BYTES;
use edge_docker_policy::identity::Identity;
use edge_docker_policy::run_spec::RunSpec;
use edge_quota::Limits;
use edge_signature::Verified;

use super::file_system::Size;

/// Number of files that every app may have.
const MIN_FILES: u64 = 16 * 1024;
/// Size of a block, in bytes. A file that is not empty occupies one at least, so that a
/// limit of bytes is reached before that of the files.
const BLOCK_BYTES: u64 = 4096;
/// Share of all files that an app may have, in percent, whatever its limit of bytes.
const MAX_FILES_PERCENT: u64 = 80;

/// Storage that an app demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Directory of the app's data.
    pub(crate) directory: String,
    /// `storage` of its signed run specification in bytes; 0 if it states none.
    pub(crate) bytes: u64,
}

impl Demand {
    /// Returns the demand of an app, by its verified signature.
    pub(crate) fn of(identity: &Identity, verified: Option<&Verified>) -> Self {
        let spec = verified.and_then(|v| v.run.as_deref());
        // One that is malformed cannot start; its container of before has the default.
        let spec = spec.and_then(|bytes| RunSpec::parse(bytes).ok());
        Self {
            directory: identity.directory(),
            bytes: spec.map_or(0, |spec| spec.storage.try_into().unwrap_or(0)),
        }
    }

    /// Returns the limits of the app's project on a file system of `size`.
    pub(super) fn limits(&self, default: policy::Storage, size: &Size) -> Limits {
        let share = size.files / 100 * MAX_FILES_PERCENT;
        match (self.bytes, default) {
            (0, policy::Storage::Percent(_)) => Limits {
                bytes: default.of(size.bytes).max(MIN_STORAGE_BYTES),
                files: default.of(size.files).max(1),
            },
            (bytes, _) => {
                let bytes = if bytes == 0 { default.of(0) } else { bytes };
                // The kernel counts in kilobytes, and the engine compares with that.
                let bytes = bytes
                    .max(MIN_STORAGE_BYTES)
                    .div_ceil(1024)
                    .saturating_mul(1024);
                Limits {
                    bytes,
                    files: (bytes / BLOCK_BYTES).max(MIN_FILES).min(share.max(1)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        bytes: 100 << 30,
        files: 6_000_000,
    };

    fn limits(bytes: u64, default: policy::Storage) -> (u64, u64) {
        let directory = "/data/apps/a".into();
        let limits = Demand { directory, bytes }.limits(default, &SIZE);
        (limits.bytes, limits.files)
    }

    #[test]
    fn limits_follow_from_the_demand_or_the_default() {
        let percent = policy::Storage::Percent(80);
        assert_eq!(limits(0, percent).1, 4_800_000);
        assert_eq!(limits(0, percent).0, (100 << 30) / 100 * 80);
        let size = policy::Storage::Bytes(8 << 30);
        assert_eq!(limits(0, size), (8 << 30, 2 << 20));
        assert_eq!(limits(64 << 20, size), (64 << 20, MIN_FILES));
        assert_eq!(limits(1, size), (MIN_STORAGE_BYTES, MIN_FILES));
        assert_eq!(limits((2 << 20) + 1, size).0, (2 << 20) + 1024);
        assert_eq!(limits(1 << 50, size), (1 << 50, 4_800_000));
        assert_eq!(limits(u64::MAX, size).1, 4_800_000);
    }
}
