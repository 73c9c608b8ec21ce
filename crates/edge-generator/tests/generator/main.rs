//! `edge-generator` on trees below a root of its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod bench;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use bench::{Bench, UNIT};

#[test]
fn links_what_is_asked_and_twice_changes_nothing() {
    let bench = Bench::new();
    bench.unit(
        "app.service",
        format!("{UNIT}RequiredBy=x.target\nAlias=b.service c.timer ../d.service\n"),
    );
    bench.unit("t@.service", format!("{UNIT}DefaultInstance=one\n"));
    bench.unit("u@.service", UNIT);
    bench.unit(
        "app.timer",
        "[Timer]\nOnBootSec=1\nUnit=app.service\n[Install]\nWantedBy=timers.target\n",
    );
    let links = bench.generate();
    let names: Vec<_> = links.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "app.service",
            "app.timer",
            "b.service",
            "multi-user.target.wants/app.service",
            "multi-user.target.wants/t@one.service",
            "t@.service",
            "timers.target.wants/app.timer",
            "u@.service",
            "x.target.requires/app.service",
        ]
    );
    assert_eq!(links["b.service"], "/data/services/app.service");
    assert!(
        bench
            .read("dev/kmsg")
            .contains("ignoring Alias=../d.service")
    );
    assert_eq!(links, bench.generate());
}

#[test]
fn no_data_yet_is_no_work() {
    let bench = Bench::new();
    fs::remove_dir_all(bench.path("data")).unwrap();
    assert!(bench.generate().is_empty());
    assert_eq!(bench.read("dev/kmsg"), "");
}

fn assert_said(bench: &Bench, all: &[&str]) {
    let said = bench.read("dev/kmsg");
    for words in all {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// One good unit among everything that must not be taken.
fn hostile() -> Bench {
    let bench = Bench::new();
    bench.unit("good.service", UNIT);
    bench.unit("sh.service", "[Service]\nExecStart=/bin/sh\n");
    bench.unit("big.service", vec![b'#'; 10_000_000]);
    bench.unit(
        "long.service",
        [b"[Unit]\nDescription=", &[b'x'; 10_000_000][..]].concat(),
    );
    bench.unit("latin.service", b"[Unit]\nDescription=\xff\n");
    bench.unit("sshd.service", UNIT);
    bench.unit("tool.service", UNIT);
    bench.unit("gate@one.service", UNIT);
    fs::write(bench.path("usr/lib/systemd/system/tool.service"), "").unwrap();
    fs::write(bench.path("usr/lib/systemd/system/gate@.service"), "").unwrap();
    bench.unit("x.mount", "[Mount]\n");
    bench.unit("off.timer", "[Timer]\nOnBootSec=1\nUnit=poweroff.target\n");
    bench.unit("tool2.path", "[Path]\nPathExists=/\nUnit=tool.service\n");
    bench.unit("lonely.timer", "[Timer]\nOnBootSec=1\n");
    bench.unit(
        "pull.service",
        UNIT.replace("[Service]", "[Unit]\nWants=debug-shell.service\n[Service]"),
    );
    bench.unit(
        "hold.service",
        UNIT.replace("[Service]", "[Unit]\nBefore=data.mount\n[Service]"),
    );
    bench.unit("open.service", UNIT);
    let open = bench.path("data/services/open.service");
    fs::set_permissions(open, fs::Permissions::from_mode(0o666)).unwrap();
    fs::create_dir(bench.path("data/services/tool.service.d")).unwrap();
    fs::create_dir(bench.path("data/services/service.d")).unwrap();
    fs::create_dir(bench.path("data/services/dir.service")).unwrap();
    symlink("/dev/zero", bench.path("data/services/dev.service")).unwrap();
    symlink("/etc/passwd", bench.path("data/services/out.service")).unwrap();
    symlink(
        "../services/good.service",
        bench.path("data/services/up.service"),
    )
    .unwrap();
    symlink("loop.service", bench.path("data/services/loop.service")).unwrap();
    let made = Command::new("mkfifo")
        .arg(bench.path("data/services/fifo.service"))
        .status();
    assert!(made.unwrap().success());
    bench
}

#[test]
fn hostile_files_are_ignored_by_name() {
    let bench = hostile();
    let links = bench.generate();
    assert_eq!(links.len(), 2, "{links:?}");
    let said = bench.read("dev/kmsg");
    for name in [
        "sh.service: line 2",
        "big",
        "long",
        "latin",
        "sshd",
        "tool.service",
        "gate@one",
        "x.mount",
        "off.timer",
        "tool2.path",
        "lonely.timer: may not start lonely.service",
        "pull.service: may not pull in debug-shell.service",
        "hold.service: may not hold up data.mount",
        "open",
        "tool.service.d",
        "service.d",
        "dir",
        "dev",
        "out",
        "up",
        "loop",
        "fifo",
    ] {
        assert!(
            said.contains(&format!("edge-generator: {name}")),
            "{name}: {said}"
        );
    }
}

#[test]
fn drop_ins_instances_and_aliases() {
    let bench = Bench::new();
    let services = bench.path("data/services");
    bench.unit("app.service", UNIT);
    bench.unit("t@.service", UNIT);
    bench.unit("bad.service", UNIT);
    for name in ["app.", "t@.", "t@two.", "bad."] {
        let directory = services.join(format!("{name}service.d"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.conf"), "[Service]\nRestartSec=9\n").unwrap();
        fs::write(directory.join("readme"), "no").unwrap();
    }
    bench.unit(
        "z.service",
        format!("{UNIT}Alias=app.service x.service\nAlso=t@three.service no.service\n"),
    );
    let shell = "[Unit]\n\n[Service]\nExecStartPre=-/bin/sh\n";
    fs::write(services.join("bad.service.d/b.conf"), shell).unwrap();
    symlink("t@.service", services.join("t@two.service")).unwrap();
    symlink("/data/services/app.service", services.join("other.service")).unwrap();
    symlink("app.service", services.join("ssh.service")).unwrap();
    symlink("app.service", services.join("kind.timer")).unwrap();
    let links = bench.generate();
    let names: Vec<_> = links.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "app.service",
            "app.service.d/a.conf",
            "multi-user.target.wants/app.service",
            "multi-user.target.wants/t@three.service",
            "multi-user.target.wants/t@two.service",
            "multi-user.target.wants/z.service",
            "other.service",
            "t@.service",
            "t@.service.d/a.conf",
            "t@two.service.d/a.conf",
            "x.service",
            "z.service",
        ]
    );
    assert_eq!(
        links["app.service.d/a.conf"],
        "/data/services/app.service.d/a.conf"
    );
    assert_said(
        &bench,
        &[
            "bad.service.d/b.conf: line 4: ExecStartPre= may only start",
            "ssh.service: the image has",
            "app.service: ignoring Alias=kind.timer",
            "z.service: ignoring Alias=app.service",
            "z.service: ignoring Also=no.service",
        ],
    );
}

#[test]
fn circles_duplicates_and_wishes_that_could_break_the_boot() {
    let bench = Bench::new();
    let unit = |more: &str, install: &str| {
        format!("[Unit]\n{more}\n{UNIT}{install}\n").replace(
            "multi-user.target\n",
            "multi-user.target multi-user.target\n",
        )
    };
    fs::write(bench.path("usr/lib/systemd/system/sysinit.target"), "").unwrap();
    bench.unit("a.service", unit("After=b.service", ""));
    bench.unit("b.service", unit("After=c.service", ""));
    bench.unit("c.service", unit("After=a.service", ""));
    bench.unit(
        "d.service",
        unit("After=a.service", "RequiredBy=sysinit.target"),
    );
    bench.unit("e.service", unit("", "Alias=same.service"));
    bench.unit("f.service", unit("", "Alias=same.service"));
    let links = bench.generate();
    let names: Vec<_> = links.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "d.service",
            "e.service",
            "f.service",
            "multi-user.target.wants/d.service",
            "multi-user.target.wants/e.service",
            "multi-user.target.wants/f.service",
            "same.service",
        ]
    );
    assert_said(
        &bench,
        &[
            "a.service: waits for itself",
            "b.service: waits for itself",
            "c.service: waits for itself",
            "d.service: ignoring RequiredBy=sysinit.target",
            "f.service: ignoring Alias=same.service",
        ],
    );
}

#[test]
fn ten_thousand_units_and_as_many_messages() {
    let bench = Bench::new();
    for number in 0..10_000 {
        let name = format!("app-{number}.service");
        bench.unit(
            &name,
            if number % 2 == 0 {
                UNIT
            } else {
                "[Service]\nUser=x\n"
            },
        );
    }
    assert_eq!(bench.generate().len(), 10_000);
    let said = bench.read("dev/kmsg");
    assert!(said.lines().count() <= 201, "{}", said.lines().count());
    assert!(said.contains("4800 more messages"), "{said}");
}

#[test]
fn activate_copies_then_reloads_then_starts_and_is_quiet_the_second_time() {
    let bench = Bench::new();
    fs::write(
        bench.path("etc/edge-ai/container-config/container-signing.pub"),
        "KEY",
    )
    .unwrap();
    fs::write(
        bench.path("etc/edge-ai/container-config/ecr-url.txt"),
        "host/x",
    )
    .unwrap();
    fs::write(bench.path("etc/edge-ai/container-config/policy.json"), "{}").unwrap();
    bench.activate().unwrap();
    assert_eq!(bench.read("usr/bin/calls"), "", "nothing to start");
    fs::write(bench.path("data/config/pki/old.pub"), "OLD").unwrap();
    fs::write(
        bench.path("data/config/pki/container-signing.pub"),
        "FORGED",
    )
    .unwrap();
    bench.unit("app.service", UNIT);
    bench.unit("off.service", UNIT.replace("multi-user", "poweroff"));
    bench.activate().unwrap();
    assert_eq!(bench.read("data/config/pki/container-signing.pub"), "KEY");
    assert_eq!(bench.read("data/config/ecr/ecr-url.txt"), "host/x");
    assert!(!bench.path("data/config/pki/old.pub").exists());
    assert!(!bench.path("data/config/pki/policy.json").exists());
    assert_eq!(
        bench.read("usr/bin/calls"),
        "daemon-reload\n--no-block start multi-user.target\n"
    );
    let before = fs::metadata(bench.path("data/config/pki/container-signing.pub")).unwrap();
    bench.activate().unwrap();
    let after = fs::metadata(bench.path("data/config/pki/container-signing.pub")).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );
}

#[test]
fn a_directory_that_others_may_write_is_not_used() {
    let bench = Bench::new();
    bench.unit("app.service", UNIT);
    fs::set_permissions(
        bench.path("data/services"),
        fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    bench.activate().unwrap();
    assert_eq!(bench.read("usr/bin/calls"), "");
}

#[test]
fn activate_reports_missing_anchors_and_a_failing_systemctl() {
    let bench = Bench::new();
    bench.unit("app.service", UNIT);
    bench.tool("systemctl", "echo 'no bus' >&2; exit 1");
    assert!(format!("{:#}", bench.activate().unwrap_err()).contains("no bus"));
    let line = bench.read("data/log/boot/edge-generator.json");
    assert!(
        line.contains("no bus") && line.contains("\"code\":1"),
        "{line}"
    );
    fs::remove_dir_all(bench.path("etc")).unwrap();
    assert!(format!("{:#}", bench.activate().unwrap_err()).contains("container-config"));
}

#[test]
fn manners() {
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_edge-generator"))
            .args(words)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .lines()
            .all(|l| l.len() <= 80)
    );
    assert!(run(&["--version"]).status.success());
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["/only-one"]).status.code(), Some(2));
}
