//! Place in an app: one of the app's own mounts, and the path below it.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::label;
use edge_docker_policy::cli::copy::AppPath;
use edge_docker_policy::mounts::DIRECTORY;
use edge_docker_policy::refusal::refuse;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value;

use crate::mounts::{beneath, clones};
use crate::stored::disk;

/// Mount of a container, as the engine's `inspect` response states it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    is_writable: bool,
}

/// Path in one of an app's own mounts.
pub(super) struct Place {
    /// Source of the mount, opened with `O_PATH`.
    source: OwnedFd,
    /// Path below the mount; empty for the mount itself.
    below: String,
    /// Path in the container, as typed, for messages.
    path: String,
    is_writable: bool,
}

impl Place {
    /// Finds the mount that contains a path of the container. Refuses a path outside of
    /// the app's own mounts, which are its directories and its volumes.
    pub(super) fn find(root: &Root, found: &Value, at: &AppPath<'_>) -> Result<Self> {
        let mounts = Vec::<Mount>::deserialize(&found["Mounts"]).unwrap_or_default();
        let below = |mount: &Mount| {
            let target = mount.destination.trim_matches('/');
            let rest = at.path.strip_prefix(target)?;
            let rest = match rest.strip_prefix('/') {
                Some(rest) => rest,
                // `/data-old` begins with `/data`, too.
                None if rest.is_empty() || target.is_empty() => rest,
                None => return None,
            };
            Some((target.len(), rest.to_string()))
        };
        // The innermost one: a grant may be mounted below the app's own directory.
        let containing = mounts.iter().filter_map(|m| Some((below(m)?, m)));
        let innermost = containing.max_by_key(|((length, _), _)| *length);
        let key = found["Config"]["Labels"][label::MOUNTS].as_str();
        let opened = match &innermost {
            Some((_, mount)) => mount.source(root, key.unwrap_or_default())?,
            None => None,
        };
        match (innermost, opened) {
            (Some(((_, below), mount)), Some(source)) => Ok(Self {
                source,
                below,
                path: format!("/{}", at.path),
                is_writable: mount.is_writable,
            }),
            _ => Err(refuse(format_args!(
                "cp: /{} is refused: it is in none of the app's own mounts; {}",
                at.path,
                listed(&mounts)
            ))),
        }
    }

    /// Opens the file or directory itself, also a link, with `O_PATH`.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        if self.below.is_empty() {
            return self.source.try_clone().context("opening a mount");
        }
        let (parent, name) = self.below.rsplit_once('/').unwrap_or((".", &self.below));
        let parent = self.directory(Path::new(parent));
        let parent = parent.map_err(|error| self.explain(error))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A link is copied as one, so it is no error here.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
        openat2(&parent, name, flags, Mode::empty(), resolve).map_err(|error| self.explain(error))
    }

    /// Opens the directory `path` below the mount.
    pub(super) fn directory(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        beneath::open(
            self.source.as_fd(),
            path,
            OFlags::DIRECTORY | OFlags::RDONLY,
        )
    }

    /// Returns the path below the mount.
    pub(super) fn below(&self) -> &Path {
        Path::new(&self.below)
    }

    /// Returns the name of the file or directory in its parent in the container.
    pub(super) fn name(&self) -> OsString {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.into()
    }

    /// Refuses a mount that the container may not write.
    pub(super) fn require_writable(&self) -> Result<()> {
        match self.is_writable {
            true => Ok(()),
            false => Err(refuse(format_args!(
                "cp: {} is refused: the app mounts it read-only",
                self.path
            ))),
        }
    }

    /// Returns the error about this path.
    pub(super) fn explain(&self, error: Errno) -> anyhow::Error {
        let path = &self.path;
        match error {
            Errno::NOENT => refuse(format_args!("cp: {path} does not exist")),
            error if beneath::leads_elsewhere(error) => refuse(format_args!(
                "cp: {path} is refused: a link, another mount, or no directory is on the way \
                 ({error}); give the path to which it leads"
            )),
            error => anyhow::Error::new(error).context(format!("opening {path}")),
        }
    }
}

impl Mount {
    /// Opens the source of the mount; `None` if it is not the app's own. `key` is that of
    /// the container's mount clones.
    fn source(&self, root: &Root, key: &str) -> Result<Option<OwnedFd>> {
        match self.kind.as_str() {
            "bind" => {
                let own = self.source.strip_prefix(DIRECTORY);
                let own = own.and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
                let Some((_, number)) = own.filter(|(of, _)| *of == key && !key.is_empty()) else {
                    return Ok(None);
                };
                let number = number.parse().context("reading the number of a mount")?;
                let record = clones::record(root, key)?;
                clones::source(root, &record, number)
            }
            "volume" => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                if self.name.starts_with('.') || !self.name.chars().all(is_name) {
                    return Ok(None);
                }
                let data_root = disk::data_root(root)?;
                let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
                let data_root = rustix::fs::openat(CWD, &data_root, flags, Mode::empty());
                let data_root = data_root.context("opening the engine's data")?;
                let path = format!("volumes/{}/_data", self.name);
                let opened = beneath::open(data_root, path, OFlags::DIRECTORY | OFlags::PATH);
                opened.map(Some).context("opening a volume of the app")
            }
            _ => Ok(None),
        }
    }

    fn is_own(&self) -> bool {
        self.kind == "volume" || self.source.starts_with(DIRECTORY)
    }
}

/// Names the app's own mounts for a message.
fn listed(mounts: &[Mount]) -> String {
    let own = mounts.iter().filter(|m| m.is_own());
    let mut own: Vec<_> = own.map(|m| m.destination.as_str()).collect();
    own.sort_unstable();
    match own[..] {
        [] => "it has none".into(),
        _ => format!("they are {}", own.join(", ")),
    }
}
