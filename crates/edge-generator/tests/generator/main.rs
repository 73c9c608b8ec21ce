//! `edge-generator` on directory trees in a test root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod testbed;
mod units;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use testbed::{Testbed, UNIT};

#[test]
fn requested_links_are_created_and_a_second_run_changes_nothing() {
    let testbed = Testbed::new();
    testbed.unit(
        "app.service",
        format!("{UNIT}RequiredBy=x.target\nAlias=b.service c.timer ../d.service\n"),
    );
    testbed.unit("t@.service", format!("{UNIT}DefaultInstance=one\n"));
    testbed.unit("u@.service", UNIT);
    testbed.unit(
        "app.timer",
        "[Timer]\nOnBootSec=1\nUnit=app.service\n[Install]\nWantedBy=timers.target\n",
    );
    let links = testbed.generate();
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
        testbed
            .read("dev/kmsg")
            .contains("ignoring Alias=../d.service")
    );
    assert_eq!(links, testbed.generate());
}

#[test]
fn without_data_nothing_is_done() {
    let testbed = Testbed::new();
    fs::remove_dir_all(testbed.path("data")).unwrap();
    assert!(testbed.generate().is_empty());
    assert_eq!(testbed.read("dev/kmsg"), "");
}

#[test]
fn apps_leave_memory_to_the_system() {
    let testbed = Testbed::new();
    for _ in 0..2 {
        testbed.generate();
        let drop_in = testbed.read("normal/edge-apps.slice.d/50-memory.conf");
        assert_eq!(drop_in, "[Slice]\nMemoryMax=7376601088\n");
    }
    fs::remove_file(testbed.path("proc/meminfo")).unwrap();
    testbed.generate();
    assert_logged(&testbed, &["limiting the memory of apps"]);
}

fn assert_logged(testbed: &Testbed, messages: &[&str]) {
    let log = testbed.read("dev/kmsg");
    for message in messages {
        assert!(log.contains(message), "{message}: {log}");
    }
}

/// One valid unit among everything that is refused.
fn hostile() -> Testbed {
    let testbed = Testbed::new();
    testbed.unit("good.service", UNIT);
    testbed.unit("sh.service", "[Service]\nExecStart=/bin/sh\n");
    testbed.unit("big.service", vec![b'#'; 10_000_000]);
    testbed.unit(
        "long.service",
        [b"[Unit]\nDescription=", &[b'x'; 10_000_000][..]].concat(),
    );
    testbed.unit("latin.service", b"[Unit]\nDescription=\xff\n");
    testbed.unit("sshd.service", UNIT);
    testbed.unit("tool.service", UNIT);
    testbed.unit("gate@one.service", UNIT);
    fs::write(testbed.path("usr/lib/systemd/system/tool.service"), "").unwrap();
    fs::write(testbed.path("usr/lib/systemd/system/gate@.service"), "").unwrap();
    testbed.unit("x.mount", "[Mount]\n");
    testbed.unit("off.timer", "[Timer]\nOnBootSec=1\nUnit=poweroff.target\n");
    testbed.unit("tool2.path", "[Path]\nPathExists=/\nUnit=tool.service\n");
    // systemd starts the first of them.
    let hidden = "[Timer]\nOnBootSec=1\nUnit=poweroff.target\nUnit=\nUnit=good.service\n";
    testbed.unit("hidden.timer", hidden);
    testbed.unit(
        "instances.socket",
        "[Socket]\nListenStream=4000\nAccept=YES\n",
    );
    testbed.unit("instances.service", "[Service]\nExecStart=/bin/sh\n");
    testbed.unit("lonely.timer", "[Timer]\nOnBootSec=1\n");
    testbed.unit(
        "pull.service",
        UNIT.replace("[Service]", "[Unit]\nWants=debug-shell.service\n[Service]"),
    );
    testbed.unit(
        "pull2.service",
        UNIT.replace(
            "[Service]",
            "[Unit]\nWants=debug-shell.service\nWants=\n[Service]",
        ),
    );
    testbed.unit(
        "hold.service",
        UNIT.replace("[Service]", "[Unit]\nBefore=data.mount\n[Service]"),
    );
    testbed.unit("open.service", UNIT);
    let open = testbed.path("data/services/open.service");
    fs::set_permissions(open, fs::Permissions::from_mode(0o666)).unwrap();
    fs::create_dir(testbed.path("data/services/tool.service.d")).unwrap();
    fs::create_dir(testbed.path("data/services/service.d")).unwrap();
    fs::create_dir(testbed.path("data/services/dir.service")).unwrap();
    symlink("/dev/zero", testbed.path("data/services/dev.service")).unwrap();
    symlink("/etc/passwd", testbed.path("data/services/out.service")).unwrap();
    symlink(
        "../services/good.service",
        testbed.path("data/services/up.service"),
    )
    .unwrap();
    symlink("loop.service", testbed.path("data/services/loop.service")).unwrap();
    let status = Command::new("mkfifo")
        .arg(testbed.path("data/services/fifo.service"))
        .status();
    assert!(status.unwrap().success());
    testbed
}

#[test]
fn hostile_files_are_ignored_by_name() {
    let testbed = hostile();
    let links = testbed.generate();
    assert_eq!(links.len(), 2, "{links:?}");
    let log = testbed.read("dev/kmsg");
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
        "hidden.timer: line 3: may not start poweroff.target",
        "instances.socket: may not start instances@.service",
        "tool2.path",
        "lonely.timer: may not start lonely.service",
        "pull.service: line 2: may not pull in debug-shell.service",
        "pull2.service: line 2: may not pull in debug-shell.service",
        "hold.service: line 2: may not hold up data.mount",
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
            log.contains(&format!("edge-generator: {name}")),
            "{name}: {log}"
        );
    }
    // The same reasons for `edge-docker why`, without what a unit's name could forge.
    let file: serde_json::Value =
        serde_json::from_str(&testbed.read("normal/edge-refusals.json")).unwrap();
    let messages = file["messages"].as_array().unwrap();
    assert_eq!(
        (&file["v"], messages.len()),
        (&1.into(), log.lines().count())
    );
    assert!(
        messages
            .iter()
            .any(|m| m.as_str().unwrap().starts_with("sh.service: line 2"))
    );
}

#[test]
fn drop_ins_instances_and_aliases() {
    let testbed = Testbed::new();
    let services = testbed.path("data/services");
    testbed.unit("app.service", UNIT);
    testbed.unit("t@.service", UNIT);
    testbed.unit("bad.service", UNIT);
    for name in ["app.", "t@.", "t@two.", "bad."] {
        let directory = services.join(format!("{name}service.d"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.conf"), "[Service]\nRestartSec=9\n").unwrap();
        fs::write(directory.join("readme"), "no").unwrap();
    }
    testbed.unit(
        "z.service",
        format!("{UNIT}Alias=app.service x.service\nAlso=t@three.service no.service\n"),
    );
    let shell = "[Unit]\n\n[Service]\nExecStartPre=-/bin/sh\n";
    fs::write(services.join("bad.service.d/b.conf"), shell).unwrap();
    symlink("t@.service", services.join("t@two.service")).unwrap();
    symlink("/data/services/app.service", services.join("other.service")).unwrap();
    symlink("app.service", services.join("ssh.service")).unwrap();
    symlink("app.service", services.join("kind.timer")).unwrap();
    let links = testbed.generate();
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
    assert_logged(
        &testbed,
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
fn cycles_duplicates_and_requirements_of_the_boot_are_refused() {
    let testbed = Testbed::new();
    let unit = |more: &str, install: &str| {
        format!("[Unit]\n{more}\n{UNIT}{install}\n").replace(
            "multi-user.target\n",
            "multi-user.target multi-user.target\n",
        )
    };
    fs::write(testbed.path("usr/lib/systemd/system/sysinit.target"), "").unwrap();
    testbed.unit("a.service", unit("After=b.service", ""));
    testbed.unit("b.service", unit("After=c.service", ""));
    testbed.unit("c.service", unit("After=a.service", ""));
    testbed.unit(
        "d.service",
        unit("After=a.service", "RequiredBy=sysinit.target"),
    );
    testbed.unit("e.service", unit("", "Alias=same.service"));
    testbed.unit("f.service", unit("", "Alias=same.service"));
    let links = testbed.generate();
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
    assert_logged(
        &testbed,
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
    let testbed = Testbed::new();
    for number in 0..10_000 {
        let name = format!("app-{number}.service");
        testbed.unit(
            &name,
            if number % 2 == 0 {
                UNIT
            } else {
                "[Service]\nSlice=x\n"
            },
        );
    }
    assert_eq!(testbed.generate().len(), 10_000);
    let log = testbed.read("dev/kmsg");
    assert!(log.lines().count() <= 201, "{}", log.lines().count());
    assert!(log.contains("4800 more messages"), "{log}");
}

#[test]
fn activate_copies_then_reloads_then_starts_and_copies_only_once() {
    let testbed = Testbed::new();
    fs::write(
        testbed.path("etc/edge-ai/container-config/container-signing.pub"),
        "KEY",
    )
    .unwrap();
    fs::write(
        testbed.path("etc/edge-ai/container-config/ecr-url.txt"),
        "host/x",
    )
    .unwrap();
    fs::write(
        testbed.path("etc/edge-ai/container-config/policy.json"),
        "{}",
    )
    .unwrap();
    testbed.activate().unwrap();
    assert_eq!(testbed.read("usr/bin/calls"), "", "nothing to start");
    fs::write(testbed.path("data/config/pki/old.pub"), "OLD").unwrap();
    fs::write(
        testbed.path("data/config/pki/container-signing.pub"),
        "FORGED",
    )
    .unwrap();
    testbed.unit("app.service", UNIT);
    testbed.unit("off.service", UNIT.replace("multi-user", "poweroff"));
    testbed.activate().unwrap();
    assert_eq!(testbed.read("data/config/pki/container-signing.pub"), "KEY");
    assert_eq!(testbed.read("data/config/ecr/ecr-url.txt"), "host/x");
    assert!(!testbed.path("data/config/pki/old.pub").exists());
    assert!(!testbed.path("data/config/pki/policy.json").exists());
    assert_eq!(
        testbed.read("usr/bin/calls"),
        "daemon-reload\n--no-block start multi-user.target\n"
    );
    let before = fs::metadata(testbed.path("data/config/pki/container-signing.pub")).unwrap();
    testbed.activate().unwrap();
    let after = fs::metadata(testbed.path("data/config/pki/container-signing.pub")).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );
}

#[test]
fn a_directory_that_others_may_write_is_not_used() {
    let testbed = Testbed::new();
    testbed.unit("app.service", UNIT);
    fs::set_permissions(
        testbed.path("data/services"),
        fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    testbed.activate().unwrap();
    assert_eq!(testbed.read("usr/bin/calls"), "");
}

#[test]
fn activate_goes_on_after_each_failed_step() {
    let testbed = Testbed::new();
    testbed.unit("app.service", UNIT);
    for name in ["a.pub", "b.pub"] {
        let path = testbed.path("etc/edge-ai/container-config").join(name);
        fs::write(path, "KEY").unwrap();
    }
    // Directories in the places of files: a stray one, one of a key, and one of a result.
    for place in [
        "data/config/pki/stray",
        "data/config/pki/a.pub/x",
        "data/log/boot/x.json/y",
    ] {
        fs::create_dir_all(testbed.path(place)).unwrap();
    }
    fs::create_dir_all(testbed.path("run/edge-ai/boot")).unwrap();
    let early = r#"{"tool":"x","result":"ok","code":0,"message":"","time":"t","boot_id":"b","duration_ms":1}"#;
    fs::write(testbed.path("run/edge-ai/boot/x.json"), early).unwrap();
    testbed.tool(
        "systemctl",
        "echo \"$@\" >>\"$(dirname \"$0\")/../../calls\"",
    );
    let message = format!("{:#}", testbed.activate().unwrap_err());
    for part in ["stray", "a.pub", "x.json"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(testbed.read("data/config/pki/b.pub"), "KEY");
    assert!(testbed.read("calls").contains("start multi-user.target"));
}

/// Links and files in the place of a directory are neither waited for nor followed.
#[test]
fn odd_entries_in_the_place_of_directories_delay_and_delete_nothing() {
    let testbed = Testbed::new();
    let services = testbed.path("data/services");
    fs::remove_dir(&services).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &services,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let identity = testbed.path("data/config/aws-iot");
    fs::create_dir_all(&identity).unwrap();
    fs::write(identity.join("private.key"), "SECRET").unwrap();
    fs::write(testbed.path("data/config/ecr"), "a file").unwrap();
    symlink(&identity, testbed.path("data/config/pki")).unwrap();
    let anchors = testbed.path("etc/edge-ai/container-config");
    fs::write(anchors.join("a.pub"), "KEY").unwrap();
    fs::write(anchors.join("ecr-url.txt"), "URL").unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let links = testbed.generate();
        testbed.activate().unwrap();
        sender.send((testbed, links)).unwrap();
    });
    let ended = receiver.recv_timeout(std::time::Duration::from_secs(60));
    let (testbed, links) = ended.expect("the FIFO is waited for");
    assert!(links.is_empty(), "{links:?}");
    assert!(testbed.read("dev/kmsg").contains("not a directory"));
    assert_eq!(testbed.read("data/config/aws-iot/private.key"), "SECRET");
    assert_eq!(fs::read_dir(&identity).unwrap().count(), 1);
    assert_eq!(testbed.read("data/config/pki/a.pub"), "KEY");
    assert_eq!(testbed.read("data/config/ecr/ecr-url.txt"), "URL");
}

#[test]
fn activate_reports_missing_anchors_and_a_failing_systemctl() {
    let testbed = Testbed::new();
    testbed.unit("app.service", UNIT);
    testbed.tool("systemctl", "echo 'no bus' >&2; exit 1");
    assert!(format!("{:#}", testbed.activate().unwrap_err()).contains("no bus"));
    let line = testbed.read("data/log/boot/edge-generator.json");
    assert!(
        line.contains("no bus") && line.contains("\"code\":1"),
        "{line}"
    );
    fs::remove_dir_all(testbed.path("etc")).unwrap();
    assert!(format!("{:#}", testbed.activate().unwrap_err()).contains("container-config"));
}

#[test]
fn command_line() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_edge-generator"))
            .args(args)
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

/// Runs the program as a user without rights, from a place that this user can reach.
fn unprivileged(args: &[&str]) -> std::process::Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("program");
    // By another process: a program that this one has open for writing cannot be run while a
    // test beside it forks.
    let mut install = Command::new("/usr/bin/install");
    install.arg(env!("CARGO_BIN_EXE_edge-generator")).arg(&copy);
    assert!(install.status().unwrap().success());
    let mut command = Command::new("/usr/bin/setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "61000", "--regid", "61000", "--clear-groups"]);
    }
    command.arg(copy).args(args).output().unwrap()
}

#[test]
fn an_unprivileged_user_is_told_to_be_root() {
    let output = unprivileged(&["activate"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{message}");
    assert!(message.contains("run as root"), "{message}");
}
