//! Property: a container that `create` and `run` accept passes the boot audit, whatever
//! its options are. `EDGE_CONTAINERS` is `FIRST+COUNT`, the range of the generated
//! containers: their options are the same in every run.

use crate::device::dice::Dice;
use crate::device::{self, Device};
use crate::edited::entries;

/// Options of generated containers with their values, all of which are permitted. Of the
/// same option, values may come several times.
const OPTIONS: &[(&str, &[&str])] = &[
    ("entrypoint", &["", "sh", "/bin/sh", "a b"]),
    ("env", &["A=b", "B=", "PATH=/x", "C=d=e", "D= ü\"\\", "A=c"]),
    ("label", &["a=b", "team", "maker=", "x.y/z=<&>\u{2028}"]),
    ("hostname", &["box", "a.b-c", "x1"]),
    ("user", &["0", "1000", "1000:44", "root", "nobody:nogroup"]),
    ("workdir", &["/", "/srv", "/srv/", "/a/b/c/"]),
    ("memory", &["64m", "1g", "1.5g", "100000000"]),
    ("memory-reservation", &["6m", "32m"]),
    ("cpus", &["0.5", "1", "1.25"]),
    ("cpu-shares", &["2", "512", "0"]),
    ("cpuset-cpus", &["0", "0-1", "0,1"]),
    ("pids-limit", &["100", "4096", "1"]),
    (
        "ulimit",
        &["nofile=10:20", "core=0", "memlock=-1:-1", "nofile=64"],
    ),
    (
        "tmpfs",
        &[
            "/tmp",
            "/run:size=1m,noexec",
            "/t:mode=1777",
            "/u:size=1.5m",
        ],
    ),
    ("shm-size", &["64m", "1m", "1.5m", "0"]),
    ("health-cmd", &["true", "curl -f \"x\" || exit 1"]),
    ("health-interval", &["5s", "1m30s", "1.5s"]),
    ("health-timeout", &["3s"]),
    ("health-start-period", &["10s"]),
    ("health-retries", &["3", "0"]),
    ("stop-signal", &["SIGINT", "9", "TERM", "RTMIN+3"]),
    ("stop-timeout", &["5", "0"]),
    ("dns", &["1.1.1.1", "::1"]),
    ("expose", &["80", "90/udp", "100-110"]),
    ("publish", &["127.0.0.1::82", "127.0.0.1::83/udp"]),
    (
        "add-host",
        &["db:10.0.0.1", "v6:fd00::1", "gw:host-gateway"],
    ),
    ("group-add", &["44", "video", "1000"]),
    ("cap-drop", &["ALL", "chown", "CAP_KILL"]),
    ("cap-add", &["CHOWN", "cap_setuid", "NET_BIND_SERVICE"]),
    (
        "restart",
        &[
            "no",
            "always",
            "unless-stopped",
            "on-failure",
            "on-failure:3",
        ],
    ),
    ("log-driver", &["json-file", "local", "none"]),
    ("log-opt", &["max-size=1m", "max-file=2"]),
    ("network", &["none", "bridge", "default"]),
    (
        "volume",
        &[
            "/data/apps/foo:/data",
            "/data/apps/foo/s/t:/m:ro",
            "/data/apps/foo/s:/cache",
            "/data/apps/foo/x y:/a/b",
            "/data/apps/foo/:/n",
            "/data/apps/foo/s/t:/o",
        ],
    ),
    (
        "mount",
        &[
            "type=bind,source=/data/apps/foo/m,target=/mm,readonly",
            "type=tmpfs,target=/mt,tmpfs-size=1m",
            "type=tmpfs,dst=/mu",
        ],
    ),
    ("security-opt", &["no-new-privileges"]),
];
const FLAGS: [&str; 6] = [
    "init",
    "read-only",
    "no-healthcheck",
    "tty",
    "interactive",
    "rm",
];
const COMMANDS: [&[&str]; 5] = [
    &[],
    &["sleep", "1"],
    &[""],
    &["sh", "-c", "echo \"$A\"\n"],
    &["sleep", "0"],
];

/// Returns the options of the next container.
fn line(dice: &mut Dice) -> Vec<String> {
    let mut line = Vec::new();
    for _ in 0..dice.below(9) {
        let (name, values) = dice.pick(OPTIONS);
        line.push(format!("--{name}={}", dice.pick(values)));
    }
    if dice.below(3) == 0 {
        line.push(format!("--{}", dice.pick(&FLAGS)));
    }
    line
}

/// Options that were once accepted and then quarantined, or are at a limit.
fn special() -> Vec<Vec<String>> {
    let mounts = |count: usize| {
        let mount = |n| format!("--volume=/data/apps/foo/{}/{n}:/m{n}", "d".repeat(200));
        (0..count).map(mount).collect()
    };
    let labels = (0..60).map(|n| format!("--label=l{n}={}", "x".repeat(60)));
    vec![
        vec!["--entrypoint=".into()],
        vec!["--entrypoint=".into(), "--env=A=b".into()],
        mounts(1),
        mounts(32),
        labels.collect(),
        vec![format!("--env=LONG={}", "y".repeat(100_000))],
    ]
}

#[test]
fn what_run_accepts_the_audit_accepts() {
    let range = std::env::var("EDGE_CONTAINERS").unwrap_or_else(|_| "0+60".into());
    let (first, count) = range.split_once('+').unwrap();
    let (first, count): (usize, usize) = (first.parse().unwrap(), count.parse().unwrap());
    let mut dice = Dice::new(0x5eed_0018);
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let generated: Vec<_> = (0..first + count).map(|_| line(&mut dice)).collect();
    let generated = generated.into_iter().skip(first);
    let mut accepted = Vec::new();
    for (number, line) in special().into_iter().chain(generated).enumerate() {
        let verb = if number % 10 == 0 { "run" } else { "create" };
        let command = COMMANDS[dice.below(COMMANDS.len())];
        let name = format!("--name=c{number}");
        let mut args = vec!["edge-docker", verb, &name];
        args.extend((verb == "run").then_some("--detach"));
        args.extend(line.iter().map(String::as_str));
        args.push(&image.name);
        args.extend(command);
        let output = device.run(&args);
        let text = device::output_text(&output);
        // A container that the engine has, but could not start, is stored as well.
        if output.status.success() {
            accepted.push((
                text,
                args.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ));
        } else {
            println!("not accepted: {args:?}: {text}");
        }
    }
    assert!(
        accepted.len() * 10 > count * 7,
        "{} of {count}",
        accepted.len()
    );
    let too_many: Vec<_> = (0..33)
        .map(|n| format!("--volume=/data/apps/foo/{n}:/m{n}"))
        .collect();
    let mut args = vec!["edge-docker", "create"];
    args.extend(too_many.iter().map(String::as_str));
    args.push(&image.name);
    let (code, text) = device.bad(&args);
    assert!(code == 125 && text.contains("at most 32"), "{text}");
    device.stop_engine();
    for _ in 0..2 {
        let text = device::output_text(&device.run(&["edge-docker", "audit-stored"]));
        for (id, args) in &accepted {
            assert!(!text.contains(id.as_str()), "{args:?}\n{text}");
        }
        assert_eq!(text, "");
    }
    for directory in ["quarantine", "withheld"] {
        let path = device.path(&format!("/data/docker/{directory}"));
        assert!(entries(&path).is_empty(), "{directory}");
    }
    device.start_engine();
}
