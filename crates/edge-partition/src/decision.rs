//! Decision to format, check, grow or refuse the data partition: a pure function of the
//! findings about its content.

use std::path::Path;

use edge_common::exit::Failure;

use crate::exit_code::{DAMAGED, FOREIGN_CONTENT, UNREADABLE};
use crate::ext4::{self, Superblock};
use crate::probe::Content;

/// Properties of the data partition on which the decision depends.
#[derive(Debug)]
pub(crate) struct Findings {
    pub content: Content,
    /// Whether the marker of an unfinished format is set (see `format_marker`).
    pub marked: bool,
    pub superblock: Option<Superblock>,
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
    let half_made =
        findings.marked && !findings.superblock.as_ref().is_some_and(|s| s.ever_mounted);
    let interrupted = "creating its file system was interrupted";
    let decision = match &findings.content {
        Content::Empty => Decision::Format("it holds nothing"),
        Content::Unknown(_) if half_made => Decision::Format(interrupted),
        Content::Known(kind) if half_made && kind.starts_with("ext") => {
            Decision::Format(interrupted)
        }
        Content::Known(kind) if kind == "ext4" => use_ext4(findings),
        // blkid does not recognise a damaged superblock. The label `data` shows that
        // this tool created the file system, and e2fsck repairs the superblock from a
        // copy.
        Content::Unknown(_)
            if findings
                .superblock
                .as_ref()
                .is_some_and(|s| s.labelled_data) =>
        {
            use_ext4(findings)
        }
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
    ext4::growth(superblock.bytes, findings.bytes).map_or(Decision::Check, Decision::Grow)
}

/// Creates the error of a refusal, including advice for the operator.
pub(crate) fn refusal(device: &Path, code: u8, reason: &str) -> anyhow::Error {
    let hint = if code == FOREIGN_CONTENT && reason.starts_with("holds") {
        ": not formatting it; if nobody needs that, clear it with `wipefs --all` and \
         `blkdiscard`, and start again"
    } else {
        ": not touching it"
    };
    Failure::error(code, format_args!("{} {reason}{hint}", device.display()))
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
