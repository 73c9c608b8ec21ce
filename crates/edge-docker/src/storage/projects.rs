//! Projects of the apps: each directory of an app has a project of its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::path;
use edge_quota::{Limits, Project, Quota};
use rustix::fs::{Dir, OFlags};

use super::assign;
use super::file_system::{FIRST, FileSystem};
use crate::mounts::beneath;

/// Numbers of the projects of apps.
const RANGE: RangeInclusive<u32> = FIRST..=FIRST + 4095;

/// Projects of all directories of apps, by directory.
pub(super) struct Projects(BTreeMap<String, u32>);

impl Projects {
    /// Reads the projects of all directories in `/data/apps` and `/data/sandbox`.
    pub(super) fn read(root: &Root) -> Result<Self> {
        let mut projects = BTreeMap::new();
        for parent in [path::APPS, path::SANDBOX] {
            let Some(open) = open_parent(root, parent)? else {
                continue;
            };
            for entry in Dir::read_from(&open).with_context(|| format!("reading {parent}"))? {
                let entry = entry.with_context(|| format!("reading {parent}"))?;
                let name = entry.file_name();
                let flags = OFlags::DIRECTORY | OFlags::RDONLY;
                // A link, or what is no directory, has no project.
                let Ok(app) = beneath::open(&open, name, flags) else {
                    continue;
                };
                let project = edge_quota::project(&app).unwrap_or_default();
                let name = name.to_string_lossy();
                if RANGE.contains(&project.id) && ![".", ".."].contains(&&*name) {
                    projects.insert(format!("{parent}/{name}"), project.id);
                }
            }
        }
        Ok(Self(projects))
    }

    /// Returns the directories that have a project.
    pub(super) fn directories(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Returns the project of an app's directory.
    pub(super) fn of(&self, directory: &str) -> Option<u32> {
        self.0.get(directory).copied()
    }

    /// Returns the project of an app's directory. One that has none yet, or that of another
    /// app, gets a free one for all that is in it; an absent directory is created.
    pub(super) fn assign(
        &mut self,
        root: &Root,
        directory: &str,
        file_system: &FileSystem,
    ) -> Result<u32> {
        let open = open(root, directory)?;
        let own = edge_quota::project(&open).context("reading its project")?;
        let id = self.choose(directory, own.id, |id| file_system.quota(id))?;
        let whole = Project {
            id,
            is_inherited: true,
        };
        if own != whole {
            self.0.insert(directory.into(), id);
            assign::all(&open, id)?;
        }
        Ok(id)
    }

    /// Chooses the project of a directory, which has `own` so far: a project belongs to one
    /// directory alone, and one that was used before has no files and no limits.
    fn choose(
        &self,
        directory: &str,
        own: u32,
        quota: impl Fn(u32) -> Result<Quota>,
    ) -> Result<u32> {
        let is_free = |id: u32| !self.0.iter().any(|(d, i)| d != directory && *i == id);
        if RANGE.contains(&own) && is_free(own) {
            return Ok(own);
        }
        for id in RANGE.filter(|id| is_free(*id)) {
            if is_unused(&quota(id)?) {
                return Ok(id);
            }
        }
        anyhow::bail!("all {} projects are in use", RANGE.count())
    }

    /// Removes the project of an app's directory that is empty, so that it is free for
    /// another app.
    pub(super) fn release(&mut self, root: &Root, directory: &str) -> Result<()> {
        let open = open(root, directory)?;
        let is_entry = |name: &std::ffi::CStr| !matches!(name.to_bytes(), b"." | b"..");
        let mut entries = Dir::read_from(&open)?;
        if entries.any(|entry| entry.is_ok_and(|e| is_entry(e.file_name()))) {
            return Ok(());
        }
        self.0.remove(directory);
        Ok(edge_quota::set_project(&open, Project::default())?)
    }
}

fn is_unused(quota: &Quota) -> bool {
    quota.used_bytes == 0 && quota.used_files == 0 && quota.limits == Limits::default()
}

/// Opens the directory of an app, or creates it.
fn open(root: &Root, directory: &str) -> Result<OwnedFd> {
    let (parent, app) = beneath::parent(root, directory)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let open = beneath::open_or_create(&parent, app, flags, || Ok(()));
    open.with_context(|| format!("opening {directory}"))
}

/// Opens `/data/apps` or `/data/sandbox`; `None` if it is absent.
fn open_parent(root: &Root, parent: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    match rustix::fs::openat(rustix::fs::CWD, root.path(parent), flags, mode) {
        Ok(open) => Ok(Some(open)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("opening {parent}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/data/apps/a";

    fn projects(known: &[(&str, u32)]) -> Projects {
        Projects(known.iter().map(|(d, i)| ((*d).into(), *i)).collect())
    }

    fn choose(known: &[(&str, u32)], own: u32, used: &[u32]) -> Result<u32> {
        projects(known).choose(A, own, |id| {
            Ok(Quota {
                used_files: used.contains(&id).into(),
                ..Quota::default()
            })
        })
    }

    #[test]
    fn a_project_belongs_to_one_directory() {
        assert_eq!(choose(&[], 0, &[]).unwrap(), FIRST);
        // The number that an administrator has set is not taken over.
        assert_eq!(choose(&[], 7, &[]).unwrap(), FIRST);
        let others = [("/data/apps/b", FIRST), ("/data/sandbox/a", FIRST + 1)];
        assert_eq!(choose(&others, 0, &[]).unwrap(), FIRST + 2);
        // Files without a directory: the top layer of a container whose data was deleted.
        assert_eq!(choose(&others, 0, &[FIRST + 2]).unwrap(), FIRST + 3);
        // The own number stays, unless an edited disk shows it twice.
        assert_eq!(choose(&others, FIRST + 9, &[]).unwrap(), FIRST + 9);
        assert_eq!(choose(&others, FIRST, &[]).unwrap(), FIRST + 2);
        let known = [("/data/apps/b", FIRST), (A, FIRST + 5)];
        assert_eq!(choose(&known, FIRST + 5, &[]).unwrap(), FIRST + 5);
    }

    #[test]
    fn the_end_of_the_numbers_is_an_error() {
        let used: Vec<u32> = RANGE.collect();
        let error = choose(&[], 0, &used).unwrap_err();
        assert!(error.to_string().contains("4096"), "{error}");
    }
}
