//! Trees that a hostile container has made.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tar::EntryType;

use crate::device::{Device, output_text};
use rustix::process::Signal;

use crate::{DATA, as_user, device, entries, is_refused, level, signal, user_command};

/// Names that a terminal or a program could take for something else.
const NAMES: [&[u8]; 5] = [
    b"new\nline",
    b"\x1b[2Jclear",
    b"not \xff utf-8",
    b"-rf",
    &[b'n'; 255],
];

/// Makes the tree of a hostile container at `/data/tree`.
fn make_tree(device: &Device) {
    let tree = device.path(&format!("{DATA}/tree"));
    fs::create_dir(&tree).unwrap();
    symlink("/etc/passwd", tree.join("passwd")).unwrap();
    symlink("/etc", tree.join("etc")).unwrap();
    symlink("../../../etc/shadow", tree.join("up")).unwrap();
    for name in NAMES {
        fs::write(tree.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::write(tree.join("one"), "linked").unwrap();
    fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
    let long = tree
        .join("long")
        .join("d".repeat(200))
        .join("e".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), "deep").unwrap();
    device.good(&[
        "python3",
        "-c",
        &format!(
            "import os, socket, stat; os.chdir('{DATA}/tree'); os.mkfifo('fifo'); \
             os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(7, 0)); \
             os.mknod('tty', 0o600 | stat.S_IFCHR, os.makedev(5, 0)); \
             socket.socket(socket.AF_UNIX).bind('sock\\x1b[2J')"
        ),
    ]);
}

#[test]
fn a_hostile_tree_comes_out_as_what_it_is() {
    let device = device();
    level(&device, "operate");
    make_tree(&device);
    let copied = device.run(&["edge-docker", "cp", "lamp:/data/tree", "-"]);
    assert!(copied.status.success(), "{}", output_text(&copied));
    let list = entries(&copied.stdout);
    let entry = |name: &[u8]| &list[&PathBuf::from("tree").join(OsStr::from_bytes(name))];
    assert_eq!(
        entry(b"passwd"),
        &(EntryType::Symlink, b"/etc/passwd".to_vec())
    );
    assert_eq!(entry(b"etc"), &(EntryType::Symlink, b"/etc".to_vec()));
    for name in NAMES {
        assert_eq!(entry(name), &(EntryType::Regular, b"x".to_vec()));
    }
    assert_eq!(
        (&entry(b"one").1, &entry(b"two").1),
        (&b"linked".to_vec(), &b"linked".to_vec())
    );
    let text = String::from_utf8_lossy(&copied.stdout);
    assert!(!text.contains("root:x:0") && !text.contains("tree/fifo"));
    let printed = String::from_utf8_lossy(&copied.stderr);
    assert!(
        printed.contains("left out 4 that are no files"),
        "{printed}"
    );
    assert!(
        !printed.contains('\u{1b}') && printed.contains("tree/fifo"),
        "{printed:?}"
    );
    no_way_leads_through_a_link(&device);
}

/// A special file by itself is an error, and a link is copied as one.
fn no_way_leads_through_a_link(device: &Device) {
    for (from, text) in [
        ("lamp:/data/tree/etc/passwd", "a link, another mount"),
        ("lamp:/data/tree/fifo", "no devices, FIFOs and sockets"),
        ("lamp:/data/tree/disk", "no devices, FIFOs and sockets"),
    ] {
        is_refused(&device.run(&["edge-docker", "cp", from, "-"]), text);
    }
    let link = device.run(&["edge-docker", "cp", "lamp:/data/tree/up", "-"]);
    assert_eq!(
        entries(&link.stdout)[&PathBuf::from("up")].0,
        EntryType::Symlink
    );
    // As files of the caller, links are links again.
    let output = as_user(
        device,
        "edge-docker cp lamp:/data/tree . && edge-docker cp lamp:/data/tree .",
    );
    assert!(output.status.success(), "{}", output_text(&output));
    let copy = device.path("/home/edge/tree");
    assert_eq!(
        fs::read_link(copy.join("passwd")).unwrap(),
        PathBuf::from("/etc/passwd")
    );
    assert_eq!(
        fs::read(copy.join(OsStr::from_bytes(b"new\nline"))).unwrap(),
        b"x"
    );
}

#[test]
fn what_is_exchanged_meanwhile_leads_nowhere() {
    let device = device();
    let data = device.path(DATA);
    let outside = device.path("/data/outside");
    fs::create_dir_all(data.join("race/real/sub")).unwrap();
    fs::create_dir_all(outside.join("sub")).unwrap();
    for name in ["x", "sub/x"] {
        fs::write(data.join("race/real").join(name), "own").unwrap();
        fs::write(outside.join(name), "SECRET").unwrap();
    }
    symlink("/data/outside", data.join("race/fake")).unwrap();
    let (real, fake) = (data.join("race/real"), data.join("race/fake"));
    let ends = AtomicBool::new(false);
    let (mut links, mut directories) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                renameat_with(CWD, &real, CWD, &fake, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for from in [
            "lamp:/data/race",
            "lamp:/data/race/real",
            "lamp:/data/race/real/sub",
        ]
        .iter()
        .cycle()
        .take(60)
        {
            let copied = device.run(&["edge-docker", "cp", from, "-"]);
            let text = String::from_utf8_lossy(&copied.stdout);
            assert!(!text.contains("SECRET"), "{from}");
            if copied.status.success() {
                let list = entries(&copied.stdout);
                links += list.values().filter(|e| e.0 == EntryType::Symlink).count();
                directories += list
                    .values()
                    .filter(|e| e.0 == EntryType::Directory)
                    .count();
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    assert!(
        links > 0 && directories > 0,
        "{links} links, {directories} directories"
    );
}

#[test]
fn many_files_and_large_ones_have_bounds() {
    let device = device();
    level(&device, "operate");
    let many = device.path(&format!("{DATA}/many"));
    fs::create_dir(&many).unwrap();
    for number in 0..100_000 {
        fs::write(many.join(number.to_string()), "").unwrap();
    }
    let start = Instant::now();
    let copied = device.run(&["edge-docker", "cp", "lamp:/data/many", "-"]);
    let printed = String::from_utf8_lossy(&copied.stderr);
    assert!(printed.contains("copied 100001 files"), "{printed}");
    assert_eq!(entries(&copied.stdout).len(), 100_001);
    println!("100,000 files: {:.1} s", start.elapsed().as_secs_f64());

    // A file of holes, and an archive that breaks off has no end.
    let large = fs::File::create(device.path(&format!("{DATA}/large"))).unwrap();
    large.set_len(1 << 40).unwrap();
    let output = device.run(&["edge-docker", "cp", "lamp:/data/large", "-"]);
    let printed = output_text(&output);
    assert!(
        output.status.code() == Some(1) && printed.contains("more than 64 GiB"),
        "{printed}"
    );
    assert!(output.stdout.is_empty());
    // Deeper than a path can name.
    let script = format!(
        "cd {DATA} && mkdir deep && cd -P deep && for i in $(seq 100); do mkdir d && cd -P d; done"
    );
    device.good(&["sh", "-c", &script]);
    let output = device.run(&["edge-docker", "cp", "lamp:/data/deep", "-"]);
    let printed = output_text(&output);
    assert!(
        output.status.code() == Some(1) && printed.contains("deeper than 64"),
        "{printed}"
    );
    assert!(!output.stdout.ends_with(&[0; 1024]));
}

/// Ctrl-C ends a copy at once, leaves no unfinished file, and stops what reads.
#[test]
fn a_signal_ends_a_copy() {
    let device = device();
    level(&device, "operate");
    let large = fs::File::create(device.path(&format!("{DATA}/large"))).unwrap();
    large.set_len(2 << 30).unwrap();
    let mut child = user_command(&device, "exec edge-docker cp lamp:/data/large copy")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let home = device.path("/home/edge");
    let unfinished = || {
        let entries = fs::read_dir(&home).unwrap().flatten();
        entries
            .filter(|e| e.file_name().to_string_lossy().starts_with(".edge-cp-"))
            .count()
    };
    crate::device::until("the unfinished file", || (unfinished() > 0).then_some(()));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(unfinished(), 0);
    assert!(!home.join("copy").exists());
}
