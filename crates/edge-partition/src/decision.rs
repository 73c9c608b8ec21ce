//! Decision to format, check, grow or refuse the data partition: a pure function of the
//! findings about its content.

use std::path::Path;

use edge_common::exit::Failure;

use crate::exit_code::{DAMAGED, FOREIGN_CONTENT, NEWER, UNREADABLE};
use crate::ext4::{self, Superblock};
use crate::probe::Content;

/// Properties of the data partition on which the decision depends.
#[derive(Debug)]
pub(crate) struct Findings {
    pub content: Content,
    /// Whether the marker of an unfinished format is set (see `format_marker`).
    pub marked: bool,
    /// First superblock, or a copy if the first one is damaged.
    pub superblock: Option<Superblock>,
    /// Whether [`Findings::superblock`] is a copy.
    pub copied: bool,
    /// Whether files were found by a copy of the superblock.
    pub files: bool,
    /// Size of the partition, in bytes.
    pub bytes: u64,
    /// Whether the partition is mounted or in exclusive use by another program.
    pub busy: bool,
}

/// Action that prepares the partition for `data.mount`, or a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Create an ext4 file system; the string is the reason, for the log.
    Format(&'static str),
    /// Use the partition unchanged, because it is already in use.
    Keep,
    /// Use the file system without a check, because e2fsck does not know its features.
    KeepUnchecked(String),
    /// Check the file system, and repair it if necessary.
    Check,
    /// Grow the file system to this size in bytes.
    Grow(u64),
    /// Leave the partition unchanged and fail with this exit code and reason.
    Refuse(u8, String),
}

/// Chooses the action for a partition. Only a partition that certainly contains no data
/// is formatted, and only ext4 is used. In doubt the partition is refused, because
/// overwritten data are lost for ever, while a refusal only costs an operator some
/// time.
pub(crate) fn decide(findings: &Findings) -> Decision {
    // A file system whose creation by this tool was interrupted, and which was never
    // mounted, contains no data.
    let superblock = findings.superblock.as_ref();
    let half_made = findings.marked && !superblock.is_some_and(|s| s.ever_mounted);
    let ours = superblock.is_some_and(|s| s.labelled_data);
    let interrupted = "creating its file system was interrupted";
    let decision = match &findings.content {
        Content::Empty => Decision::Format("it holds nothing"),
        Content::Unknown(_) if half_made => Decision::Format(interrupted),
        Content::Known(kind) if half_made && kind.starts_with("ext") => {
            Decision::Format(interrupted)
        }
        Content::Known(kind) if kind == "ext4" => use_ext4(findings),
        // blkid does not recognise a damaged superblock, or another kind of ext. The label
        // `data` shows that this tool created the file system, and e2fsck repairs the
        // superblock from a copy. Copies without files may be left from an earlier use.
        Content::Unknown(_) if ours && (findings.files || !findings.copied) => use_ext4(findings),
        Content::Known(kind) if kind.starts_with("ext") && ours && findings.files => {
            use_ext4(findings)
        }
        Content::Unknown(_) if superblock.is_some() => Decision::Refuse(
            FOREIGN_CONTENT,
            "holds unknown data and the remains of an ext4 file system".into(),
        ),
        Content::Known(kind) | Content::Unknown(kind) => {
            Decision::Refuse(FOREIGN_CONTENT, format!("holds {kind}"))
        }
    };
    match decision {
        Decision::Format(_) if findings.busy => {
            Decision::Refuse(FOREIGN_CONTENT, "is in use".into())
        }
        decision => decision,
    }
}

fn use_ext4(findings: &Findings) -> Decision {
    // e2fsck and resize2fs damage a mounted file system.
    if findings.busy {
        return Decision::Keep;
    }
    let Some(superblock) = &findings.superblock else {
        return Decision::Refuse(UNREADABLE, "has no superblock".into());
    };
    // The partition is smaller than its file system. No repair restores the blocks
    // beyond its end, but an operator may enlarge the partition again.
    if superblock.bytes > findings.bytes {
        return Decision::Refuse(
            DAMAGED,
            format!(
                "has {} bytes, its file system {}",
                findings.bytes, superblock.bytes
            ),
        );
    }
    let [compatible, incompatible, reading] = superblock.unknown_features;
    if incompatible != 0 || reading != 0 {
        let reason = format!(
            "has features of a newer version (incompatible {incompatible:#x}, read-only \
             {reading:#x}): boot the newer image"
        );
        return Decision::Refuse(NEWER, reason);
    }
    if compatible != 0 {
        let reason = format!("it has features of a newer version ({compatible:#x})");
        return Decision::KeepUnchecked(reason);
    }
    ext4::growth(superblock.bytes, findings.bytes).map_or(Decision::Check, Decision::Grow)
}

/// Creates the error of a refusal, including advice for the operator.
pub(crate) fn refusal(device: &Path, code: u8, reason: &str) -> anyhow::Error {
    // Advice to erase would be followed, and what the partition holds may be our own data.
    let hint = if code == FOREIGN_CONTENT {
        "not formatting it; copy what is needed, then see docs/operations.md"
    } else {
        "not touching it"
    };
    Failure::error(code, format_args!("{} {reason}: {hint}", device.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format_marker;

    fn findings(content: Content) -> Findings {
        Findings {
            content,
            marked: false,
            superblock: None,
            copied: false,
            files: false,
            bytes: 1 << 30,
            busy: false,
        }
    }

    fn known(kind: &str) -> Findings {
        findings(Content::Known(kind.into()))
    }

    fn ext4(bytes: u64, ever_mounted: bool) -> Findings {
        Findings {
            superblock: Some(Superblock {
                bytes,
                ever_mounted,
                labelled_data: true,
                clean: true,
                ..Superblock::default()
            }),
            ..known("ext4")
        }
    }

    fn formats(findings: &Findings) -> bool {
        matches!(decide(findings), Decision::Format(_))
    }

    #[test]
    fn only_an_empty_partition_is_formatted() {
        assert!(formats(&findings(Content::Empty)));
        assert_eq!(decide(&ext4(1 << 30, true)), Decision::Check);
        for other in ["ext3", "xfs", "vfat", "crypto_LUKS", "dos", "swap", ""] {
            let decision = decide(&known(other));
            assert!(
                matches!(decision, Decision::Refuse(FOREIGN_CONTENT, _)),
                "{other}"
            );
        }
        let unknown = findings(Content::Unknown("data".into()));
        assert!(matches!(
            decide(&unknown),
            Decision::Refuse(FOREIGN_CONTENT, _)
        ));
    }

    #[test]
    fn an_interrupted_format_is_repeated_only_if_it_never_held_data() {
        let marked = |found| Findings {
            marked: true,
            ..found
        };
        assert!(formats(&marked(findings(Content::Unknown("x".into())))));
        assert!(formats(&marked(ext4(1 << 30, false))));
        assert!(!formats(&marked(ext4(1 << 30, true))));
        assert!(!formats(&ext4(1 << 30, false)));
        for other in ["crypto_LUKS", "xfs", "signatures of several kinds"] {
            assert!(!formats(&marked(known(other))), "{other}");
        }
        let busy = Findings {
            busy: true,
            ..findings(Content::Empty)
        };
        assert!(!formats(&busy));
    }

    #[test]
    fn only_a_damaged_file_system_of_ours_is_checked() {
        let mut damaged = Findings {
            content: Content::Unknown("x".into()),
            ..ext4(1 << 30, true)
        };
        assert_eq!(decide(&damaged), Decision::Check);
        if let Some(superblock) = &mut damaged.superblock {
            superblock.labelled_data = false;
        }
        assert!(matches!(
            decide(&damaged),
            Decision::Refuse(FOREIGN_CONTENT, _)
        ));
    }

    #[test]
    fn a_copy_of_the_superblock_counts_only_with_files() {
        let copied = |content, files| Findings {
            content,
            copied: true,
            files,
            ..ext4(1 << 30, false)
        };
        let unknown = || Content::Unknown("x".into());
        assert_eq!(decide(&copied(unknown(), true)), Decision::Check);
        assert_eq!(
            decide(&copied(Content::Known("ext2".into()), true)),
            Decision::Check
        );
        for content in [
            unknown(),
            Content::Known("ext2".into()),
            Content::Known("xfs".into()),
        ] {
            let decision = decide(&copied(content, false));
            assert!(matches!(decision, Decision::Refuse(FOREIGN_CONTENT, _)));
        }
        let foreign = decide(&copied(Content::Known("crypto_LUKS".into()), true));
        assert!(matches!(foreign, Decision::Refuse(FOREIGN_CONTENT, _)));
    }

    #[test]
    fn newer_features_are_no_damage() {
        let with = |unknown_features| {
            let mut found = ext4(1 << 30, true);
            if let Some(superblock) = &mut found.superblock {
                superblock.unknown_features = unknown_features;
            }
            decide(&found)
        };
        assert!(matches!(with([1 << 13, 0, 0]), Decision::KeepUnchecked(_)));
        assert!(matches!(with([0, 1 << 25, 0]), Decision::Refuse(NEWER, _)));
        assert!(matches!(with([0, 0, 1 << 20]), Decision::Refuse(NEWER, _)));
    }

    #[test]
    fn sizes_decide_between_check_growth_and_refusal() {
        let size = (1 << 30) - format_marker::RESERVED_BYTES;
        assert_eq!(decide(&ext4(1 << 29, true)), Decision::Grow(size));
        assert_eq!(decide(&ext4(size, true)), Decision::Check);
        assert!(matches!(
            decide(&ext4(1 << 31, true)),
            Decision::Refuse(DAMAGED, _)
        ));
        let busy = Findings {
            busy: true,
            ..ext4(1 << 29, true)
        };
        assert_eq!(decide(&busy), Decision::Keep);
    }
}
