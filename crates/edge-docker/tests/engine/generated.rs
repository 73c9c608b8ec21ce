//! 20,000 lines from fragments: options, spellings and orders mixed.

use std::io::Write;

use crate::checker;
use crate::corpus::{containers, split};
use crate::dice::Dice;
use crate::test_root::{TestRoot, image_id};

/// Name, letter or space, and values of which the first half is ordinary.
type Fragment = (&'static str, char, &'static [&'static str]);

/// Options that take a value.
pub const VALUED: &[Fragment] = &[
    (
        "volume",
        'v',
        &[
            "/data/apps/hello:/data",
            "/data/apps/hello/sub:/m:ro",
            "/data/apps/vision:/v",
            "/:/host",
            "/data/apps/hello/../..:/x",
            "/data/apps/hello:/d:rshared",
            "x:/y",
        ],
    ),
    (
        "mount",
        ' ',
        &[
            "type=bind,source=/data/apps/hello,target=/data",
            "type=tmpfs,target=/t",
            "type=bind,src=/,dst=/h",
            "type=volume,source=x,target=/x",
            "type=bind,source=/data/apps/hello,source=/,target=/h",
        ],
    ),
    ("name", ' ', &["one", "a.b-c", "../x", "x&y=z"]),
    ("env", 'e', &["A=b", "B=", "HOME", "=x", "A=b\nC=d"]),
    (
        "label",
        'l',
        &[
            "a=b",
            "team",
            "edge.app=vision",
            "EDGE.sandbox=x",
            "com.docker.x=y",
        ],
    ),
    (
        "publish",
        'p',
        &["8080:80", "80", "127.0.0.1:1:2/udp", "1-9:1-9", "x:1:2"],
    ),
    (
        "network",
        ' ',
        &["none", "mine", "bridge", "host", "container:x", "name=host"],
    ),
    ("net", ' ', &["none", "host"]),
    ("network-alias", ' ', &["db", "a b"]),
    (
        "device",
        ' ',
        &[
            "/dev/video0",
            "/dev/i2c-7:r",
            "/dev/net/tun",
            "/dev/sda",
            "/dev/mem:/dev/mem:rwm",
            "nvidia.com/gpu=all",
            "x.com/y=z",
        ],
    ),
    ("gpus", ' ', &["all", "1", "device=0", "-1"]),
    ("runtime", ' ', &["nvidia", "runc", "/tmp/x"]),
    (
        "cap-add",
        ' ',
        &[
            "NET_ADMIN",
            "cap_net_admin",
            "SYS_ADMIN",
            "ALL",
            "NET_ADMIN,SYS_ADMIN",
        ],
    ),
    ("cap-drop", ' ', &["ALL", "NET_RAW"]),
    (
        "sysctl",
        ' ',
        &["net.core.somaxconn=1024", "kernel.core_pattern=|/x"],
    ),
    (
        "grant",
        ' ',
        &[
            "gpu", "camera", "i2c:7", "vpn", "bus", "dbus", "tuned", "disk", "lidar", "i2c:1",
        ],
    ),
    (
        "security-opt",
        ' ',
        &[
            "no-new-privileges",
            "no-new-privileges:false",
            "seccomp=unconfined",
            "systempaths=unconfined",
            "apparmor=unconfined",
        ],
    ),
    (
        "restart",
        ' ',
        &["always", "on-failure:3", "no", "sometimes"],
    ),
    ("user", 'u', &["1000", "1000:1000", "root", "a b"]),
    ("workdir", 'w', &["/srv", "srv", "/a/../b"]),
    ("hostname", 'h', &["box", "a/b"]),
    ("entrypoint", ' ', &["/bin/sh", ""]),
    ("memory", 'm', &["512m", "1g", "-1", "x"]),
    ("cpus", ' ', &["1.5", "NaN"]),
    ("cpu-shares", 'c', &["512", "x"]),
    ("pids-limit", ' ', &["100", "-1", "0"]),
    ("ulimit", ' ', &["nofile=10:20", "memlock=-1"]),
    (
        "tmpfs",
        ' ',
        &["/tmp", "/tmp:size=1m,noexec", "/tmp:suid", "/"],
    ),
    ("log-driver", ' ', &["local", "syslog"]),
    (
        "log-opt",
        ' ',
        &["max-size=1m", "syslog-address=udp://1.2.3.4:5"],
    ),
    ("health-cmd", ' ', &["true", "curl x"]),
    ("health-interval", ' ', &["5s", "x"]),
    ("stop-signal", ' ', &["SIGINT", "9 9"]),
    ("stop-timeout", ' ', &["5", "x"]),
    ("dns", ' ', &["1.1.1.1", "evil"]),
    ("expose", ' ', &["80", "80-90"]),
    ("shm-size", ' ', &["64m"]),
    ("pull", ' ', &["never", "always"]),
    ("pid", ' ', &["host"]),
    ("ipc", ' ', &["host"]),
    ("uts", ' ', &["host"]),
    ("userns", ' ', &["host"]),
    ("cgroupns", ' ', &["host"]),
    ("cgroup-parent", ' ', &["/"]),
    ("volumes-from", ' ', &["x"]),
    ("device-cgroup-rule", ' ', &["a *:* rwm"]),
    ("env-file", ' ', &["/data/apps/hello/vars", "/etc/shadow"]),
    ("cidfile", ' ', &["/etc/x"]),
    ("label-file", ' ', &["/etc/shadow"]),
    ("link", ' ', &["x"]),
    ("group-add", ' ', &["docker"]),
    ("annotation", ' ', &["a=b"]),
    ("storage-opt", ' ', &["size=1"]),
    ("oom-score-adj", ' ', &["-1000"]),
];

/// Options that take none.
pub const FLAGS: &[(&str, char)] = &[
    ("detach", 'd'),
    ("interactive", 'i'),
    ("tty", 't'),
    ("rm", ' '),
    ("init", ' '),
    ("read-only", ' '),
    ("no-healthcheck", ' '),
    ("privileged", ' '),
    ("publish-all", 'P'),
    ("oom-kill-disable", ' '),
    ("use-api-socket", ' '),
];

const IMAGES: &[&str] = &[
    "@H",
    "@H",
    "@V",
    "@V",
    "@N",
    "@N",
    "@S",
    "sandbox/toy:latest",
    "alpine",
    "r.io/edge-ai",
    "r.io/edge-ai2:hello-v1",
    "sandbox/missing",
    "",
];

const BEHIND: &[&str] = &["sh", "--privileged", "-v", "/:/host", "--", "-c", "a b"];

/// One option in one of its spellings.
pub fn spell(dice: &mut Dice, ordinary: bool, line: &mut Vec<String>) {
    if dice.below(4) == 0 {
        let few = if ordinary { 7 } else { FLAGS.len() };
        let (long, short) = FLAGS[dice.below(few)];
        line.push(match (dice.below(6), short) {
            (0, _) => format!("--{long}=true"),
            (1, _) => format!("--{long}=false"),
            (2, s) if s != ' ' => format!("-{s}"),
            (3, s) if s != ' ' && !ordinary => format!("-{s}=t"),
            (4, 'd') => "-dit".into(),
            _ => format!("--{long}"),
        });
        return;
    }
    let few = if ordinary { 38 } else { VALUED.len() };
    let (long, short, values) = VALUED[dice.below(few)];
    let values = if ordinary { &values[..1] } else { values };
    let value = dice.pick(values);
    match (dice.below(6), short) {
        (0 | 1, _) => line.push(format!("--{long}={value}")),
        (2, s) if s != ' ' => line.push(format!("-{s}{value}")),
        (3, s) if s != ' ' => line.push(format!("-{s}={value}")),
        (4, s) if s != ' ' => line.extend([format!("-it{s}"), (*value).into()]),
        (5, s) if s != ' ' => line.extend([format!("-{s}"), (*value).into()]),
        _ => line.extend([format!("--{long}"), (*value).into()]),
    }
}

/// A line; with `ordinary`, most of its options are allowed ones.
pub fn line(dice: &mut Dice) -> Vec<String> {
    let ordinary = dice.below(2) == 0;
    let mut line = vec![if dice.below(8) == 0 { "create" } else { "run" }.to_string()];
    for _ in 0..dice.below(if ordinary { 6 } else { 4 }) {
        spell(dice, ordinary, &mut line);
    }
    if dice.below(20) == 0 {
        line.push("--".into());
    }
    let image: &str = dice.pick::<&str>(IMAGES);
    line.extend(split(image));
    if line.last().is_some_and(String::is_empty) {
        line.pop();
    }
    for _ in 0..dice.below(3) {
        line.push((*dice.pick(BEHIND)).into());
    }
    if dice.below(30) == 0 {
        let at = dice.below(line.len());
        line.remove(at);
    }
    if !line
        .first()
        .is_some_and(|v| ["run", "create"].contains(&v.as_str()))
    {
        line.insert(0, "run".into());
    }
    line
}

#[test]
fn whatever_reaches_the_engine_is_harmless() {
    let test_root = TestRoot::new();
    containers(&test_root);
    let mut dice = Dice::new(0x5eed);
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let line = line(&mut dice);
        let typed: Vec<_> = line.iter().map(String::as_str).collect();
        let outcome = test_root.run_line(&typed);
        let created = outcome.created();
        for body in &created {
            let text = String::from_utf8_lossy(&body.body);
            checker::create_body(&body.body, image_id)
                .unwrap_or_else(|e| panic!("{line:?}\n{e}\n{text}"));
        }
        match outcome.code {
            0 => allowed += 1,
            125 => refused += 1,
            code => panic!("{line:?}: exit code {code}: {}", outcome.message),
        }
        assert_eq!(
            created.len(),
            usize::from(outcome.code == 0),
            "{line:?}: {}",
            outcome.message
        );
    }
    assert!(
        allowed > 1000 && refused > 5000,
        "{allowed} allowed, {refused} refused"
    );
    writeln!(
        std::io::stdout(),
        "20000 lines: {allowed} allowed, {refused} refused, 0 harmful"
    )
    .unwrap();
}
