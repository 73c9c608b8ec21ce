//! Copies into an app.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::process::{Output, Stdio};

use crate::device::{Device, output_text, until};
use rustix::process::Signal;

use crate::{DATA, as_user, device, is_refused, level, signal};

/// Archive with one entry.
fn archive(kind: tar::EntryType, name: &[u8], target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o6777);
    header.set_uid(0);
    header.set_size(content.len() as u64);
    if !target.is_empty() {
        header.set_link_name_literal(target).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

fn feed(device: &Device, to: &str, archive: &[u8]) -> Output {
    device.feed(&["edge-docker", "cp", "-", to], archive)
}

#[test]
fn files_go_into_the_mounts() {
    let device = device();
    let data = device.path(DATA);
    chown(&data, Some(1234), Some(1235)).unwrap();
    device.write("/home/edge/new.conf", b"new\n");
    device.write("/home/edge/set/a/b", b"deep\n");
    let run = |script: &str| {
        let output = as_user(&device, script);
        assert!(
            output.status.success(),
            "{script}: {}",
            output_text(&output)
        );
    };
    run("edge-docker cp new.conf lamp:/data");
    run("edge-docker cp new.conf lamp:/data/other.conf");
    run("edge-docker cp set lamp:/data/ && edge-docker cp set/. lamp:/data/tree");
    run("edge-docker cp ./new.conf lamp:/cache/x");
    run("tar c set | edge-docker cp - lamp:/data/tree");
    for name in [
        "new.conf",
        "other.conf",
        "set/a/b",
        "tree/a/b",
        "tree/set/a/b",
    ] {
        let stat = fs::metadata(data.join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 1235), "{name}");
    }
    let read = [
        "edge-docker",
        "exec",
        "lamp",
        "sh",
        "-c",
        "read x </cache/x; echo $x",
    ];
    let in_volume = device.good(&read);
    assert_eq!(in_volume, "new");
    // The sender grants no rights.
    let file = archive(tar::EntryType::Regular, b"tool", "", b"#!/bin/sh\n");
    assert!(feed(&device, "lamp:/data", &file).status.success());
    assert_eq!(
        fs::metadata(data.join("tool")).unwrap().mode() & 0o7777,
        0o777
    );
    // A file that the caller may not read stays unread.
    let output = as_user(&device, "edge-docker cp /etc/shadow lamp:/data/shadow");
    let printed = output_text(&output);
    assert!(
        !output.status.success() && printed.contains("Permission denied"),
        "{printed}"
    );
    assert!(!data.join("shadow").exists());
    for (to, text) in [
        ("lamp:/fixed", "mounts it read-only"),
        ("lamp:/etc", "in none of the app's own mounts"),
        ("lamp:/data/absent", "does not exist"),
    ] {
        is_refused(&feed(&device, to, &file), text);
    }
}

#[test]
fn hostile_archives_write_nothing_outside() {
    use tar::EntryType::{Block, Directory, Fifo, Link, Regular, Symlink};
    let device = device();
    let data = device.path(DATA);
    let outside = device.path("/data/outside");
    fs::create_dir(&outside).unwrap();
    symlink("/data/outside", data.join("out")).unwrap();
    fs::create_dir(data.join("taken")).unwrap();
    for (kind, name, target, text) in [
        (
            Regular,
            &b"/etc/evil"[..],
            "",
            "no path below the directory",
        ),
        (Regular, b"../evil", "", "no path below the directory"),
        (Regular, b"a/../../evil", "", "no path below the directory"),
        (Regular, b"out/evil", "", "remove it first"),
        (Directory, b"out/evil", "", "remove it first"),
        (Regular, b"taken", "", "a directory is in its place"),
        (Link, b"hard", "/etc/shadow", "hard links are refused"),
        (Block, b"disk", "", "no devices and FIFOs"),
        (Fifo, b"fifo", "", "no devices and FIFOs"),
    ] {
        let content: &[u8] = if kind == Regular { b"evil" } else { b"" };
        let output = feed(&device, "lamp:/data", &archive(kind, name, target, content));
        is_refused_or_failed(&output, text);
    }
    // A link, and a file through it.
    let link = archive(Symlink, b"way", "/data/outside", b"");
    let file = archive(Regular, b"way/evil", "", b"evil");
    let both = [&link[..link.len() - 1024], &file].concat();
    is_refused_or_failed(&feed(&device, "lamp:/data", &both), "remove it first");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!device.path("/etc/evil").exists());

    // Cut archives, at each place: in a header, in the content, and before the end.
    let whole = archive(Regular, b"cut", "", &[7; 1000]);
    for length in [0, 1, 511, 512, 700, 1511, 1512, 1536] {
        let output = feed(&device, "lamp:/data", &whole[..length]);
        let printed = output_text(&output);
        assert!(output.status.code() == Some(1), "{length}: {printed}");
        assert_eq!(
            data.join("cut").exists(),
            length >= 1512,
            "{length}: {printed}"
        );
    }
    let noise: Vec<u8> = (0..4096u32).map(|n| (n * 31 % 251) as u8).collect();
    assert_eq!(feed(&device, "lamp:/data", &noise).status.code(), Some(1));
    let mut huge = tar::Header::new_gnu();
    huge.set_path("huge").unwrap();
    huge.set_size(1 << 50);
    huge.set_cksum();
    let output = feed(&device, "lamp:/data", huge.as_bytes());
    assert!(output_text(&output).contains("more than 64 GiB"));
    let left = fs::read_dir(&data).unwrap().flatten();
    let left = left.filter(|e| e.file_name().to_string_lossy().starts_with(".edge-cp"));
    assert_eq!(left.count(), 0);
}

fn is_refused_or_failed(output: &Output, text: &str) {
    let printed = output_text(output);
    assert!(
        matches!(output.status.code(), Some(1 | 125)) && printed.contains(text),
        "{:?} without {text:?}: {printed}",
        output.status
    );
}

/// A signal ends a copy that waits for its input, and leaves no unfinished file.
#[test]
fn a_signal_ends_a_waiting_copy() {
    let device = device();
    level(&device, "debug");
    let whole = archive(tar::EntryType::Regular, b"slow", "", &[7; 1 << 20]);
    let mut child = device
        .command(&["edge-docker", "cp", "-", "lamp:/data"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &whole[..600_000]).unwrap();
    let data = device.path(DATA);
    let unfinished = || {
        let entries = fs::read_dir(&data).unwrap().flatten();
        entries
            .filter(|e| e.file_name().to_string_lossy().starts_with(".edge-cp-"))
            .count()
    };
    until("the unfinished file", || (unfinished() > 0).then_some(()));
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(unfinished(), 0);
    assert!(!data.join("slow").exists());
}
