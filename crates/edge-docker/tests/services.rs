//! Services as people package them, with the capabilities that every container has, in a
//! real engine: they start as root, change owners, bind low ports and drop to a user. And
//! builds of images in it. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::build_image;

const DOCKERFILE: &[u8] = b"FROM scratch AS base
COPY busybox /bin/busybox
COPY root /
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
RUN mkdir -p /tmp /run /var/log /data && chmod 1777 /tmp
FROM base
ENV PATH=/usr/sbin:/usr/bin:/bin
";
const PASSWD: &[u8] = b"root:x:0:0::/:/bin/sh\ndb:x:70:70::/data:/bin/sh\nweb:x:33:33::/:/bin/sh\n\
mosquitto:x:100:100::/:/bin/sh\nother:x:1000:1000::/:/bin/sh\n";
const GROUP: &[u8] =
    b"root:x:0:\ndb:x:70:\nweb:x:33:\nmosquitto:x:100:\nother:x:1000:\nextra:x:44:\n";

/// Names, options and scripts; each script ends with `good` if the service works.
const SERVICES: &[(&str, &str, &str)] = &[
    (
        "postgres: root prepares the data directory, gosu runs the server",
        "",
        "mkdir -p /data/pg && touch /data/pg/x && chown -R 70:70 /data/pg && chmod 700 /data/pg
         /usr/bin/setpriv --reuid 70 --regid 70 --init-groups sh -c 'id -u; echo >/data/pg/PG_VERSION; ! ls /root/x 2>/dev/null && echo good'",
    ),
    (
        "nginx: root binds port 80, writes a pid file, workers are www-data",
        "",
        "mkdir -p /var/www /var/log/nginx && echo page >/var/www/index.html && chown -R web /var/log/nginx
         httpd -p 80 -u web:web -h /var/www && echo $$ >/run/nginx.pid
         wget -q -O - http://127.0.0.1/ && echo good",
    ),
    (
        "redis: root changes owners where they differ, then drops with su",
        "",
        "touch /data/dump.rdb && find /data ! -user db -exec chown db {} + &&
         su -s /bin/sh db -c 'echo x >>/data/dump.rdb && id -un' && echo good",
    ),
    (
        "mosquitto itself: starts as root, drops to its user, binds its port",
        "",
        "mkdir /run/mosquitto && chown mosquitto /run/mosquitto
         printf 'listener 1883 0.0.0.0\\nallow_anonymous true\\npid_file /run/mosquitto/mosquitto.pid\\nuser mosquitto\\n' >/tmp/m.conf
         mosquitto -c /tmp/m.conf >/tmp/log 2>&1 &
         for n in 1 2 3 4 5 6 7 8 9; do nc -w 1 127.0.0.1 1883 </dev/null && break; sleep 1; done
         uid=$(grep '^Uid' /proc/$!/status); cat /tmp/log; case $uid in *100*) echo good;; esac",
    ),
    (
        "a daemon in the background with a user of its own",
        "",
        "start-stop-daemon -S -b -m -p /run/d.pid -c other:other -x /bin/sleep -- 100
         sleep 1; grep -q '^Uid:.1000' /proc/$(cat /run/d.pid)/status && echo good",
    ),
    (
        "a supervisor ends processes of other users",
        "--init",
        "/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups sleep 100 & sleep 1; kill $! && wait $!; [ $? = 143 ] && echo good",
    ),
    (
        "root writes where others own, and changes their modes",
        "",
        "mkdir /data/o && chown other /data/o && chmod 700 /data/o && echo x >/data/o/f &&
         chown other:db /data/o/f && chmod 2640 /data/o/f && [ $(stat -c %a /data/o/f) = 2640 ] && echo good",
    ),
    (
        "a user binds port 80",
        "-u 1000:1000",
        "httpd -p 80 -h /tmp && echo x >/tmp/index.html && wget -q -O - http://127.0.0.1/ && echo good",
    ),
    (
        "groups are dropped and added",
        "--group-add extra",
        "id -G | grep -q 44 && /usr/bin/setpriv --reuid 70 --regid 70 --groups 33 sh -c 'id -G' | grep -qx '70 33' && echo good",
    ),
    (
        "a service drops capabilities from its bounding set",
        "",
        "/usr/bin/setpriv --bounding-set -all --reuid 33 --regid 33 --clear-groups grep -q '^CapBnd:.0*$' /proc/self/status && echo good",
    ),
    (
        "all dropped, two restored",
        "--cap-drop ALL --cap-add SETUID --cap-add SETGID",
        "! chown 70 /data 2>/dev/null && /usr/bin/setpriv --reuid 70 --regid 70 --clear-groups true && echo good",
    ),
    (
        "sshd: a chroot, restored without a grant",
        "--cap-add SYS_CHROOT --cap-add AUDIT_WRITE",
        "chroot / true && echo good",
    ),
    (
        "what is not given: frames, device nodes, another root",
        "",
        "! arping -c 1 -I eth0 172.17.0.1 2>/dev/null && ! mknod /tmp/d c 1 3 2>/dev/null &&
         ! chroot / true 2>/dev/null && grep -q '^CapBnd:.00000000000005fb$' /proc/self/status && echo good",
    ),
    (
        "a user and a read-only root",
        "-u other --read-only --tmpfs /run:size=1.5m,uid=1000 --cap-drop=ALL",
        "echo 1 >/run/pid && ! touch /x 2>/dev/null && grep -q '^CapEff:.0*$' /proc/self/status && echo good",
    ),
    (
        "limits of memory that people type",
        "--shm-size=1.5m --ulimit memlock=65536 --ulimit nofile=512 -m 0.25g --cpus .5 --add-host db:10.0.0.5",
        "grep -q 'Max locked memory *65536' /proc/self/limits && [ $(ulimit -n) = 512 ] &&
         grep -q 'size=1536k' /proc/mounts && grep -q '^10.0.0.5.*db' /etc/hosts && echo good",
    ),
];

struct Testbed {
    device: Device,
    _directory: tempfile::TempDir,
}

impl Testbed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key.pub");
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1);
        let pair = openssl::ec::EcKey::generate(&group.unwrap()).unwrap();
        fs::write(&key, pair.public_key_to_pem().unwrap()).unwrap();
        let settings = Settings {
            repository: "r.test/edge-ai",
            edge_docker: Some(Path::new(env!("CARGO_BIN_EXE_edge-docker"))),
            keys: &[key],
            ssh: false,
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        Self {
            device,
            _directory: directory,
        }
    }

    /// Runs `program` on the device, with `input`.
    fn feed(&self, program: &str, words: &[&str], input: &[u8]) -> Output {
        let mut command: Command = self.device.command(program);
        let command = command.args(words).stdin(Stdio::piped());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A refusal closes the pipe early.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn build(&self, dockerfile: &str, options: &[&str]) -> (Option<i32>, String) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        let content = dockerfile.as_bytes();
        tar.append_data(&mut header, "Dockerfile", content).unwrap();
        let words = [&["build"], options, &["-"]].concat();
        let output = self.feed("edge-docker", &words, &tar.into_inner().unwrap());
        (output.status.code(), said(&output))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A program of this machine with its libraries, as files of a build context.
fn program(path: &str) -> Vec<(String, Vec<u8>)> {
    let listed = Command::new("ldd").arg(path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|w| w.starts_with('/'));
    let all = libraries.map(String::from).chain([path.to_string()]);
    let unique: BTreeSet<_> = all.collect();
    let file = |path: String| (format!("root{path}"), fs::read(&path).unwrap());
    unique.into_iter().map(file).collect()
}

#[test]
fn services_start_with_the_capabilities_of_every_container() {
    let testbed = Testbed::new();
    let mut files: Vec<_> = program("/usr/bin/setpriv");
    files.extend(program("/usr/sbin/mosquitto"));
    files.sort();
    files.dedup_by(|one, other| one.0 == other.0);
    files.push(("root/etc/passwd".into(), PASSWD.into()));
    files.push(("root/etc/group".into(), GROUP.into()));
    files.push(("Dockerfile".into(), DOCKERFILE.into()));
    let files: Vec<_> = files.iter().map(|(n, c)| (n.as_str(), &c[..])).collect();
    build_image(&testbed.device, "sandbox/box", &files);
    for (name, options, script) in SERVICES {
        let mut words = vec!["run", "--rm"];
        words.extend(options.split_whitespace());
        words.extend(["sandbox/box", "sh", "-c", script]);
        let output = testbed.feed("edge-docker", &words, b"");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.trim_end().ends_with("good"), "{name}: {output:?}");
    }
    builds(&testbed);
}

/// Builds on the image `sandbox/box`, in the same engine.
fn builds(testbed: &Testbed) {
    let tag = ["-t", "sandbox/new:1"];
    let good = "ARG BASE=sandbox/none\nFROM ${BASE} AS one\nRUN cat /proc/self/cgroup && echo a >/a\n\
                FROM sandbox/box\nCOPY --from=one /a /a\nLABEL maker=me\n";
    let (code, text) = testbed.build(
        good,
        &[&tag[..], &["--build-arg", "BASE=sandbox/box"]].concat(),
    );
    assert_eq!(code, Some(0), "{text}");
    // With cgroups of version 2, a container sees its own cgroup as the top.
    assert!(
        text.contains("edge-build") || text.contains("0::/"),
        "{text}"
    );
    let read = testbed.feed(
        "edge-docker",
        &["run", "--rm", "sandbox/new:1", "cat", "/a"],
        b"",
    );
    assert_eq!(said(&read), "a\n");
    let limits = testbed.feed(
        "sh",
        &["-c", "cat /sys/fs/cgroup/pids/edge-build/pids.max /sys/fs/cgroup/edge-build/pids.max 2>/dev/null"],
        b"",
    );
    assert_eq!(limits.stdout, b"4096\n");
    refused_builds(testbed, &tag);
}

fn refused_builds(testbed: &Testbed, tag: &[&str]) {
    let before = testbed.feed(
        "docker",
        &["images", "-q", "--no-trunc", "sandbox/new:1"],
        b"",
    );
    for (dockerfile, why) in [
        (
            "FROM sandbox/box\nLABEL edge.app=foo edge.signer=KEY\n",
            "edge.app",
        ),
        (
            "FROM sandbox/box\nARG K=edge.sandbox\nLABEL ${K}=foo\n",
            "edge.sandbox",
        ),
        (
            "FROM sandbox/box\nADD http://127.0.0.1:8000/secret /s\n",
            "no URL",
        ),
        ("FROM alpine\n", "only scratch"),
        ("FROM docker.io/library/alpine:3\n", "only scratch"),
        ("FROM sandbox/none\n", "not on this device"),
        ("FROM r.test/edge-ai:foo-v1\n", "registry"),
        (
            "FROM sandbox/box\nCOPY --from=alpine /a /a\n",
            "earlier stage",
        ),
        (
            "# syntax=docker/dockerfile:1\nFROM scratch\n",
            "remove the line",
        ),
        ("FROM sandbox/box\nONBUILD RUN ls\n", "ONBUILD"),
    ] {
        let (code, text) = testbed.build(dockerfile, tag);
        assert!(!matches!(code, Some(0) | None), "{dockerfile}: {text}");
        assert!(text.contains(why), "{dockerfile}: {text}");
    }
    // The name is still that of the good image, and nothing with such a label is left.
    let after = testbed.feed(
        "docker",
        &["images", "-q", "--no-trunc", "sandbox/new:1"],
        b"",
    );
    assert_eq!(said(&before), said(&after));
    let labelled = testbed.feed(
        "docker",
        &["images", "-aq", "--filter", "label=edge.app"],
        b"",
    );
    assert_eq!(said(&labelled), "");
}
