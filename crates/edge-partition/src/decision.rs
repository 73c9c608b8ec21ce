//! Decision about a partition: a pure function of its content.

use std::path::Path;

use edge_common::exit::Failure;

use crate::exit_code::{DAMAGED, FOREIGN_CONTENT, UNREADABLE};
use crate::ext4::{self, Superblock};
use crate::probe::Content;

/// Findings about a partition.
#[derive(Debug)]
pub(crate) struct Findings {
    pub content: Content,
    /// Whether a format was begun and not finished.
    pub marked: bool,
    pub superblock: Option<Superblock>,
    /// Size of the partition, in bytes.
    pub bytes: u64,
    /// Whether the partition is mounted or held by another program.
    pub busy: bool,
}

/// Action that makes a partition ready, or the reason for taking none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Format it, for this reason.
    Format(&'static str),
    /// Use it as it is.
    Keep,
    /// Check and repair its file system.
    Check,
    /// Grow its file system to this size in bytes.
    Grow(u64),
    /// Touch nothing: exit code and reason.
    Refuse(u8, String),
}

/// Decides what to do: only a partition without anybody's data is formatted, only ext4
/// is used. Overwritten data are lost for ever while a refusal costs an operator a look,
/// so whatever is not certainly empty is refused.
pub(crate) fn decide(findings: &Findings) -> Decision {
    // An interrupted format of our own that was never mounted holds no data.
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
        // blkid does not recognise a damaged superblock. Its label shows that it is ours,
        // and e2fsck repairs it from a copy.
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
    // The partition shrank: no repair restores the blocks beyond its end, and an
    // operator may still enlarge it again.
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

/// Returns the error of a refusal, with what an operator can do.
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
