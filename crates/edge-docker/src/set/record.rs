//! Record of the committed number and of revoked digests: a file, and a copy of it.
//!
//! As with release numbers, both can be edited or removed by somebody who has the disk; the
//! copy makes that visible, as long as not both are changed alike, and the stricter one
//! counts. It is no proof that is verified with the keys of today: a revocation has to
//! outlive the key that signed it. It can only forbid.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::{SET_COPIES, SETS};
use edge_common::{Root, file, log};
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;
use edge_signature::set::ReleaseSet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name of the file in both directories.
const NAME: &str = "record";
/// Version of the format.
const VERSION: u32 = 1;
/// Maximum number of digests about which a set has stated something.
const MAX_STATEMENTS: usize = 4096;
/// Size limit of the record in bytes, for [`MAX_STATEMENTS`].
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// Committed number, and what sets have stated about digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    v: u32,
    /// Lowest number of a set that this device takes.
    #[serde(default)]
    pub(crate) floor: u64,
    /// Digest of the set that was committed last.
    #[serde(default)]
    pub(crate) committed: Option<Digest>,
    /// Newest statement about each digest.
    #[serde(default)]
    pub(crate) digests: BTreeMap<Digest, Statement>,
    /// Fields of a later version, kept as they are.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Statement of a release set about the digest of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// Number of the set.
    pub(crate) number: u64,
    /// Whether it revokes the digest or restores it.
    pub(crate) revoked: bool,
}

impl Record {
    /// Adds the statements of a set. Of several about one digest the one with the highest
    /// number counts, in whatever order the sets come.
    pub(super) fn apply(&mut self, set: &ReleaseSet) {
        let revoked = set.revoked.iter().map(|digest| (digest, true));
        let restored = set.restored.iter().map(|digest| (digest, false));
        for (digest, revoked) in revoked.chain(restored) {
            let number = set.serial;
            self.state(digest.clone(), Statement { number, revoked });
        }
    }

    fn state(&mut self, digest: Digest, new: Statement) {
        let old = self.digests.get(&digest);
        // Of two sets with one number, the one that forbids counts.
        let rank = |s: &Statement| (s.number, s.revoked);
        if old.is_none_or(|old| rank(&new) > rank(old)) {
            self.digests.insert(digest, new);
        }
    }

    /// Returns whether images with this digest may not start.
    pub(crate) fn is_revoked(&self, digest: &Digest) -> bool {
        self.digests.get(digest).is_some_and(|s| s.revoked)
    }

    /// Returns what is wrong if the record has too many digests.
    pub(super) fn require_space(&self) -> Result<(), String> {
        let count = self.digests.len();
        match count > MAX_STATEMENTS {
            true => Err(format!(
                "{count} digests are revoked or restored on this device, more than \
                 {MAX_STATEMENTS}"
            )),
            false => Ok(()),
        }
    }

    /// Writes both files.
    pub(super) fn write(&mut self, root: &Root) -> Result<()> {
        self.v = VERSION;
        let text = serde_json::to_vec(self).context("encoding the record of release sets")?;
        for directory in [SETS, SET_COPIES] {
            file::create_directory(&root.path(directory), 0o700)?;
            file::ensure(&root.path(directory).join(NAME), &text, 0o600)?;
        }
        Ok(())
    }

    /// Returns the stricter combination of two records.
    fn merged(mut self, other: Self) -> Self {
        if other.floor > self.floor {
            self.floor = other.floor;
            self.committed = other.committed;
        }
        for (digest, statement) in other.digests {
            self.state(digest, statement);
        }
        self
    }
}

/// Excludes other processes that change the record.
pub(super) fn lock(root: &Root) -> Result<File> {
    file::create_directory(&root.path(SETS), 0o700)?;
    edge_common::lock::exclusive(&root.path(SETS))
}

/// Reads the record; `None` on a device that has taken no set. A difference between the two
/// files is reported; the next write repairs it.
///
/// # Errors
/// Both files are damaged, or one is and the other is absent. Without them, an older set
/// could be taken and a revoked image started, so this is a refusal.
pub(super) fn find(root: &Root) -> Result<Option<Record>> {
    let (first, copy) = (read(root, SETS), read(root, SET_COPIES));
    let (record, damage) = match (first, copy) {
        (Ok(first), Ok(copy)) if first == copy => (first, None),
        (Ok(Some(first)), Ok(Some(copy))) => (Some(first.merged(copy)), Some("differs".into())),
        (Ok(Some(record)), Ok(None)) | (Ok(None), Ok(Some(record))) => {
            (Some(record), Some("is absent".into()))
        }
        (Ok(Some(record)), Err(error)) | (Err(error), Ok(Some(record))) => {
            (Some(record), Some(format!("is damaged ({error:#})")))
        }
        (Ok(None), Ok(None)) => (None, None),
        (Err(error), _) | (_, Err(error)) => {
            return Err(refuse(format_args!(
                "the record of release sets is damaged ({error:#}), so a revoked image or an old \
                 set could be accepted; edge-docker set repair writes the strictest that is left"
            )));
        }
    };
    if let Some(damage) = damage {
        log::error(format_args!(
            "record of release sets: one of the two files {damage}; the stricter one counts"
        ));
    }
    Ok(record)
}

/// Returns what is left of the record, without a damaged file.
pub(super) fn left(root: &Root) -> Record {
    let files = [SETS, SET_COPIES].map(|directory| read(root, directory).ok().flatten());
    let files = files.into_iter().flatten();
    files.reduce(Record::merged).unwrap_or_default()
}

fn read(root: &Root, directory: &str) -> Result<Option<Record>> {
    let Some(text) = super::read(root, directory, NAME, MAX_RECORD_BYTES)? else {
        return Ok(None);
    };
    let record: Record = serde_json::from_slice(&text).context("parsing the record")?;
    if record.v != VERSION {
        bail!("version {} is not known here", record.v);
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use edge_docker_policy::refusal::Refusal;
    use std::os::unix::fs::symlink;

    use super::*;

    fn set(number: u64, revoked: &[&str], restored: &[&str]) -> ReleaseSet {
        let digests = |names: &[&str]| names.iter().map(|n| Digest::of(n.as_bytes())).collect();
        ReleaseSet {
            revoked: digests(revoked),
            restored: digests(restored),
            ..ReleaseSet::new("barn", number, 0, &["*"])
        }
    }

    #[test]
    fn statements_add_up_in_any_order() {
        let sets = [
            set(5, &["a", "b"], &[]),
            set(7, &["c"], &["a"]),
            set(6, &["a"], &["c"]),
            set(7, &["b"], &[]),
            set(7, &[], &["b"]),
        ];
        for start in 0..sets.len() {
            let mut record = Record::default();
            for at in 0..2 * sets.len() {
                record.apply(&sets[(start + at) % sets.len()]);
            }
            let revoked = ["a", "b", "c"].map(|n| record.is_revoked(&Digest::of(n.as_bytes())));
            assert_eq!(revoked, [false, true, true], "{start}");
        }
    }

    #[test]
    fn a_damaged_record_is_that_of_its_copy() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(find(&root).unwrap(), None);
        let mut record = Record {
            floor: 7,
            ..Record::default()
        };
        record.apply(&set(7, &["a"], &[]));
        record.write(&root).unwrap();
        assert_eq!(find(&root).unwrap().as_ref(), Some(&record));
        let valid = std::fs::read(root.path(SETS).join(NAME)).unwrap();
        let text = String::from_utf8(valid.clone()).unwrap();
        let lower = text.replace("\"floor\":7", "\"floor\":3");
        let restored = text.replace("true", "false");
        for place in [SETS, SET_COPIES] {
            let path = root.path(place).join(NAME);
            for damaged in [
                &b""[..],
                b"{",
                b"7",
                b"{}",
                b"{\"v\":2}",
                b"{\"v\":1,\"floor\":-1}",
                &valid[..valid.len() - 1],
                lower.as_bytes(),
                restored.as_bytes(),
                &vec![b' '; 2_000_000],
            ] {
                file::write(&path, damaged, 0o600).unwrap();
                let found = find(&root).unwrap().unwrap();
                assert_eq!(found.floor, 7);
                assert!(found.is_revoked(&Digest::of(b"a")));
            }
            std::fs::remove_file(&path).unwrap();
            assert_eq!(find(&root).unwrap().as_ref(), Some(&record));
            symlink("/nowhere", &path).unwrap();
            assert_eq!(find(&root).unwrap().as_ref(), Some(&record));
            std::fs::remove_file(&path).unwrap();
            record.write(&root).unwrap();
        }
        for place in [SETS, SET_COPIES] {
            file::write(&root.path(place).join(NAME), b"{", 0o600).unwrap();
        }
        let error = find(&root).unwrap_err();
        assert!(error.is::<Refusal>() && error.to_string().contains("set repair"));
        assert_eq!(left(&root), Record::default());
    }
}
