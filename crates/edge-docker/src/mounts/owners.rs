//! Owner of the files and directories that a container mounts: the user of the container,
//! so that a program that is not root can write to them.
//!
//! Only the source of a mount is changed, not what is below it ([`super::content`]), and only when the user
//! is another one than at the last start. An extended attribute notes the user, so that
//! an owner that somebody else sets afterwards stays. Containers cannot change an
//! attribute of the class `trusted`. See `docs/decisions/0044-owners-of-mounts.md`.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use edge_common::contract::{label, login};
use edge_common::{Root, log};
use edge_docker_policy::cli::users;
use edge_docker_policy::mounts::{CloneRecord, Owner};
use rustix::fs::{AtFlags, Gid, Uid, XattrFlags, chownat, fstat, getxattr, setxattr};
use rustix::io::Errno;
use serde_json::Value;

use super::clones;
use super::content::Content;
use crate::engine::client;

/// Extended attribute with the user of the last start, `UID:GID`.
const ATTRIBUTE: &str = "trusted.edge.user";
/// Size limit of an archive with `/etc/passwd` or `/etc/group` of a container, in bytes.
const MAX_ARCHIVE_BYTES: usize = 1024 * 1024;

/// Gives the mounts of the container `id`, which is about to start, to its user.
/// `container` is the engine's `inspect` response.
pub(crate) async fn give(root: &Root, id: &str, container: &Value) -> Result<()> {
    match record(root, container)? {
        Some(record) => give_to(root, id, user_of(container), &record).await,
        None => Ok(()),
    }
}

/// Returns the content of the mounts of the container `id`; `None` if it has no mounts, or
/// a user to whom nothing is given.
pub(crate) async fn content(root: &Root, id: &str, container: &Value) -> Result<Option<Content>> {
    match record(root, container)? {
        Some(record) => content_of(root, id, user_of(container), record).await,
        None => Ok(None),
    }
}

/// Returns the content of the mounts of `record` for `user`, as [`content`] does.
pub(crate) async fn content_of(
    root: &Root,
    id: &str,
    user: &str,
    record: CloneRecord,
) -> Result<Option<Content>> {
    let owner = look_up(root, id, user).await?;
    let Some(owner) = owner.filter(|owner| owner.user != login::ID) else {
        return Ok(None);
    };
    let sources = clones::sources(root, &record)?;
    Ok(Some(Content {
        record,
        sources,
        owner,
    }))
}

/// Returns the record of the mounts of a container; `None` if it has none.
fn record(root: &Root, container: &Value) -> Result<Option<CloneRecord>> {
    let key = container["Config"]["Labels"][label::MOUNTS].as_str();
    // Empty for a container without mounts.
    let key = key.filter(|key| !key.is_empty());
    key.map(|key| clones::record(root, key)).transpose()
}

fn user_of(container: &Value) -> &str {
    container["Config"]["User"].as_str().unwrap_or_default()
}

/// Gives the mounts of `record`, which belong to the container `id`, to `user`, as
/// `USER[:GROUP]`.
pub(crate) async fn give_to(root: &Root, id: &str, user: &str, record: &CloneRecord) -> Result<()> {
    let Some(owner) = look_up(root, id, user).await? else {
        log::warn(format_args!(
            "the image has no user {user}: the owner of {} stays",
            record.directory
        ));
        return Ok(());
    };
    // A name that the image gives to the number of the device's login user.
    if owner.user == login::ID {
        return Ok(());
    }
    for source in clones::sources(root, record)? {
        give_source(&source, owner)
            .with_context(|| format!("changing the owner of a mount of {}", record.directory))?;
    }
    Ok(())
}

fn give_source(source: &OwnedFd, owner: Owner) -> Result<()> {
    // Functions for extended attributes do not take a descriptor of O_PATH.
    let path = format!("/proc/self/fd/{}", source.as_raw_fd());
    let noted = format!("{}:{}", owner.user, owner.group);
    let mut value = [0; 32];
    let length = getxattr(&path, ATTRIBUTE, &mut value);
    let is_noted = length.is_ok_and(|length| value.get(..length) == Some(noted.as_bytes()));
    // Directories of before belong to root, or to a user whom a program that starts as
    // root has chosen.
    let is_new_root = owner.user == 0 && length.is_err();
    if is_noted || is_new_root {
        return Ok(());
    }
    let before = fstat(source)?;
    if (before.st_uid, before.st_gid) != (owner.user, owner.group) {
        let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
        chownat(
            source.as_fd(),
            "",
            Some(user),
            Some(group),
            AtFlags::EMPTY_PATH,
        )?;
    }
    // Noted afterwards: an interruption in between repeats the change.
    match setxattr(&path, ATTRIBUTE, noted.as_bytes(), XattrFlags::empty()) {
        // A file system without such attributes: the owner is set at every start.
        Err(Errno::NOTSUP) => Ok(()),
        result => Ok(result?),
    }
}

/// Returns the numbers of `USER[:GROUP]`; `None` for a name that the container lacks.
async fn look_up(root: &Root, id: &str, user: &str) -> Result<Option<Owner>> {
    if user.is_empty() {
        return Ok(Some(Owner { user: 0, group: 0 }));
    }
    if let Some(owner) = users::owner(user) {
        return Ok(Some(owner));
    }
    let passwd = read(root, id, "/etc/passwd").await?;
    let group = match user.contains(':') {
        true => read(root, id, "/etc/group").await?,
        false => String::new(),
    };
    Ok(users::owner_of_names(user, &passwd, &group))
}

/// Returns a text file of the container; empty if it is absent or no regular file.
async fn read(root: &Root, id: &str, file: &str) -> Result<String> {
    let path = format!("/containers/{id}/archive?path={file}");
    let Some(bytes) = client::download(root, &path, MAX_ARCHIVE_BYTES).await? else {
        return Ok(String::new());
    };
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut text = Vec::new();
    if let Some(entry) = archive.entries()?.next() {
        let mut entry = entry.with_context(|| format!("reading {file} of the container"))?;
        if entry.header().entry_type().is_file() {
            entry.read_to_end(&mut text)?;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
