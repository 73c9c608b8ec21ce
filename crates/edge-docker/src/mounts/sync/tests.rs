use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use edge_common::file;
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;

/// Returns a tar archive with the given entries: name, type, content.
fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;

fn device() -> (TempDir, OwnedFd) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    file::create_directory(&root.path(SANDBOX), 0o755).unwrap();
    let app = open(&root, "hello").unwrap();
    (directory, app)
}

fn synced(app: &OwnedFd, mut input: &[u8]) -> Result<String> {
    let mut output = Vec::new();
    write_batches(app, &mut input, &mut output)?;
    Ok(String::from_utf8(output).unwrap())
}

#[test]
fn batches_follow_one_another_and_each_is_acknowledged() {
    let (directory, app) = device();
    let path = |name: &str| directory.path().join("data/sandbox/hello").join(name);
    let first = archive(&[
        ("./web", DIRECTORY, b""),
        ("web/a/index.html", FILE, b"one"),
        ("run.sh", FILE, b"#!/bin/sh\n"),
    ]);
    let second = archive(&[
        ("web/a/index.html", FILE, b"two"),
        (".wh.run.sh", FILE, b""),
    ]);
    let third = archive(&[(".wh.web", FILE, b""), ("absent/.wh.x", FILE, b"")]);
    let output = synced(&app, &[first, second].concat()).unwrap();
    assert_eq!(output, "3 changed, 0 removed\n1 changed, 1 removed\n");
    assert_eq!(fs::read(path("web/a/index.html")).unwrap(), b"two");
    let mode = fs::metadata(path("web/a/index.html"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755, "no bits beside those of execution");
    assert!(!path("run.sh").exists());
    assert_eq!(synced(&app, &third).unwrap(), "0 changed, 2 removed\n");
    assert!(!path("web").exists() && !path("absent").exists());
    assert_eq!(fs::read_dir(path(".")).unwrap().count(), 0);
}

#[test]
fn nothing_leaves_the_directory() {
    let (directory, app) = device();
    let outside = directory.path().join("outside");
    file::create_directory(&outside, 0o755).unwrap();
    file::write(&outside.join("kept"), b"kept", 0o600).unwrap();
    let inside = directory.path().join("data/sandbox/hello");
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("kept"), inside.join("file")).unwrap();
    let refused: [(&str, EntryType); 9] = [
        ("../x", FILE),
        ("/etc/x", FILE),
        ("a/../../x", FILE),
        ("link/x", FILE),
        ("link/.wh.kept", FILE),
        ("link", DIRECTORY),
        ("s", EntryType::Symlink),
        ("h", EntryType::Link),
        ("d", EntryType::Char),
    ];
    for (name, kind) in refused {
        assert!(
            synced(&app, &archive(&[(name, kind, b"")])).is_err(),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // A link in the place of a file is replaced, and its target is not changed.
    synced(&app, &archive(&[("file", FILE, b"new")])).unwrap();
    assert_eq!(fs::read(inside.join("file")).unwrap(), b"new");
    synced(&app, &archive(&[(".wh.link", FILE, b"")])).unwrap();
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
}

#[test]
fn an_archive_that_ends_early_leaves_the_old_file() {
    let (directory, app) = device();
    synced(&app, &archive(&[("f", FILE, b"old")])).unwrap();
    let content = [b'x'; 5000];
    let whole = archive(&[("f", FILE, &content)]);
    for length in [100, 512, 600, 4000] {
        assert!(synced(&app, &whole[..length]).is_err(), "{length}");
        let inside = directory.path().join("data/sandbox/hello");
        assert_eq!(fs::read(inside.join("f")).unwrap(), b"old");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }
}
