//! Units of apps in `/data/services`, hostile units of other origin, and signed commands
//! with hostile arguments, on a device with production policy and the real engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;

use device::image::Image;
use device::{Device, output_text};
use edge_docker_policy::run_spec::{RunSpec, SignedCommand, Unit};
use edge_sim::testbed::program;

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const GRANTS: &str =
    r#"{ "grants": { "vpn": { "capabilities": ["NET_ADMIN"], "network": "host" } } }"#;
/// Lines of `[Service]` of hostile units, one unit a line; `;` separates lines of a unit.
const HOSTILE: &str = include_str!("units/hostile.txt");

fn device() -> (Device, Image) {
    let mut device = Device::start();
    device.write("/etc/edge-ai/devices.json", GRANTS.as_bytes());
    device.start_engine();
    let image = device.image("net", 0);
    device.write(POLICY, PRODUCTION.as_bytes());
    fs::copy(
        program("edge-generator"),
        device.path("/data/edge-generator"),
    )
    .unwrap();
    (device, image)
}

fn net(unit: Option<Unit>) -> RunSpec {
    let mut spec = RunSpec::new("net");
    spec.grants = vec!["vpn".into()];
    spec.restart = "unless-stopped".into();
    spec.unit = unit;
    let command = |run: &[&str], args, stdin| SignedCommand {
        run: run.iter().map(ToString::to_string).collect(),
        args,
        stdin,
        user: String::new(),
    };
    let script = "read -r text; echo \"got $text\"";
    spec.commands = [
        ("show".into(), command(&["ls", "-d"], 1, false)),
        ("save".into(), command(&["sh", "-c", script], 0, true)),
    ]
    .into();
    spec
}

fn unit(timer: &str) -> Option<Unit> {
    Some(Unit {
        after: vec!["network-online.target".into()],
        timer: timer.into(),
        wants: vec!["network-online.target".into()],
    })
}

fn sign(device: &Device, image: &Image, version: &str, number: u64, spec: &RunSpec) {
    device.sign_spec(&image.manifest, version, number, spec);
}

/// Runs edge-generator; returns the links that it made.
fn generate(device: &Device) -> Vec<String> {
    let script = "rm -rf /data/units; mkdir /data/units; \
        /data/edge-generator /data/units /data/units /data/units; cd /data/units; find . -type l";
    let links = device.good(&["sh", "-c", script]);
    let mut links: Vec<_> = links.lines().map(String::from).collect();
    links.sort();
    links
}

fn read(device: &Device, path: &str) -> Option<String> {
    fs::read_to_string(device.path(path)).ok()
}

#[test]
fn an_app_with_a_unit_starts_at_boot_or_by_a_timer() {
    let (device, image) = device();
    let (service, timer) = ("/data/services/net.service", "/data/services/net.timer");
    sign(&device, &image, "v1", 1, &net(unit("")));
    device.good(&["edge-docker", "run", "net-v1"]);
    let text = read(&device, service).unwrap();
    assert!(
        text.contains("\nExecStart=/usr/bin/edge-docker run net-v1\n"),
        "{text}"
    );
    assert!(
        text.contains("\nAfter=docker.service edge-docker-recover.service network-online.target\n"),
        "{text}"
    );
    let links = generate(&device);
    let boot = "./multi-user.target.wants/net.service".to_string();
    assert!(links.contains(&boot), "{links:?}");
    // What the unit does: nothing while the container runs, a start after it ended.
    let id = device.good(&["edge-docker", "run", "net-v1"]);
    device.good(&["edge-docker", "stop", "-t", "0", "net"]);
    assert_eq!(device.good(&["/usr/bin/edge-docker", "run", "net-v1"]), id);
    // An edited unit is written again.
    device.write(service, text.replace("net-v1", "net-v0").as_bytes());
    device.good(&["edge-docker", "run", "net-v1"]);
    assert_eq!(read(&device, service).unwrap(), text);

    sign(&device, &image, "v2", 2, &net(unit("*-*-* 03:00")));
    device.good(&["edge-docker", "replace", "net-v2", "--timeout", "60"]);
    let text = read(&device, service).unwrap();
    assert!(
        text.contains("run net-v2\n") && !text.contains("[Install]"),
        "{text}"
    );
    assert!(
        read(&device, timer)
            .unwrap()
            .contains("\nOnCalendar=*-*-* 03:00\n")
    );
    let links = generate(&device);
    assert!(
        links.contains(&"./timers.target.wants/net.timer".into()),
        "{links:?}"
    );
    assert!(!links.contains(&boot), "{links:?}");

    device.good(&["edge-docker", "rm", "-f", "net"]);
    assert_eq!((read(&device, service), read(&device, timer)), (None, None));
    // The unit of a person is neither replaced nor removed.
    let own = "[Service]\nExecStart=/usr/bin/edge-docker start net\n";
    device.write(service, own.as_bytes());
    device.good(&["edge-docker", "run", "net-v2"]);
    assert_eq!(read(&device, service).unwrap(), own);
    device.good(&["edge-docker", "rm", "-f", "net"]);
    assert_eq!(read(&device, service).unwrap(), own);
    assert_eq!(read(&device, timer), None);
}

#[test]
fn hostile_units_reach_nothing() {
    let (device, image) = device();
    sign(&device, &image, "v1", 1, &net(None));
    device.good(&["edge-docker", "run", "net-v1"]);
    let before = device.good(&["docker", "inspect", "net"]);
    let images = device.good(&["docker", "images", "-a", "--no-trunc"]);
    let (mut count, mut refused) = (0, 0);
    let lines = HOSTILE
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    for line in lines {
        count += 1;
        let text = line.replace("IMAGE", &image.name).replace("; ", "\n");
        let unit = format!("[Service]\n{text}\n[Install]\nWantedBy=multi-user.target\n");
        device.write("/data/services/x.service", unit.as_bytes());
        let links = generate(&device);
        let Some(link) = links.first() else {
            refused += 1;
            continue;
        };
        // edge-generator accepts it, with variables of systemd as options of edge-docker, so
        // edge-docker has to refuse each command of what systemd reads.
        let read = device.good(&["cat", &format!("/data/units/{link}")]);
        for command in read.lines().filter_map(|l| l.strip_prefix("Exec")) {
            let command = command
                .split_once('=')
                .unwrap()
                .1
                .trim_start_matches(['-', ':']);
            let args = command.split(' ').map(|arg| arg.trim_matches('"'));
            let args: Vec<_> = args.collect();
            // A key without effect on edge-docker is left out: what remains is signed.
            let key = text.split_inclusive('=').next().unwrap();
            let is_left_out = !key.starts_with("Exec") && !read.contains(&format!("\n{key}"));
            if is_left_out && args == ["/usr/bin/edge-docker", "run", "net-v1"] {
                device.good(&args);
                continue;
            }
            let output = device.run(&args);
            let code = output.status.code().unwrap_or(-1);
            let output = output_text(&output);
            assert!([124, 125].contains(&code), "{line}: {code} {output}");
        }
        assert_eq!(device.good(&["docker", "inspect", "net"]), before, "{line}");
        assert_eq!(device.running(), ["net"], "{line}");
    }
    assert_eq!(
        device.good(&["docker", "images", "-a", "--no-trunc"]),
        images
    );
    assert!(
        count >= 60 && refused >= 25 && refused < count,
        "{count}, {refused}"
    );
}

/// Arguments of `exec` that are refused at every level; LARGE stands for 100 kB.
const REFUSED: [&[&str]; 22] = [
    &["net", "show"],
    &["net", "show", "/", "/"],
    &["net", "show", "-l"],
    &["net", "show", "-"],
    &["net", "show", "--", "/"],
    &["net", "show", "--help"],
    &["net", "show", "a\nb"],
    &["net", "show", "\u{1b}[2J"],
    &["net", "show", "LARGE"],
    &["net", "save", "x"],
    &["net", "Show", "/"],
    &["net", "", "/"],
    &["net", "sh"],
    &["net", "ls", "-d", "/"],
    &["-u", "0", "net", "show", "/"],
    &["-e", "A=b", "net", "show", "/"],
    &["-w", "/", "net", "show", "/"],
    &["-i", "net", "show", "/"],
    &["-it", "net", "show", "/"],
    &["--privileged", "net", "show", "/"],
    &["other", "show", "/"],
    &["net"],
];

#[test]
fn signed_commands_take_exactly_what_was_signed() {
    let (device, image) = device();
    sign(&device, &image, "v1", 1, &net(None));
    device.good(&["edge-docker", "run", "net-v1"]);
    let exec = |args: &[&str]| {
        let args = [&["edge-docker", "exec"], args].concat();
        let output = device.run(&args);
        (output.status.code().unwrap_or(-1), output_text(&output))
    };
    assert_eq!(exec(&["net", "show", "/bin"]), (0, "/bin".into()));
    // No shell expands an argument, and text of any language is one.
    for arg in [
        "*",
        "$(id)",
        "`id`",
        "a b",
        "\u{fc}\u{1f600}",
        "",
        ";id",
        "../../etc",
    ] {
        let (code, output) = exec(&["net", "show", arg]);
        assert!(
            code != 125 && !output.contains("uid="),
            "{arg}: {code} {output}"
        );
    }
    let large = "x".repeat(100_000);
    for level in ["look", "operate", "debug"] {
        let policy = PRODUCTION.replace("operate", level);
        device.write(POLICY, policy.as_bytes());
        let (code, output) = exec(&["net", "show", "/bin"]);
        assert_eq!(code == 0, level != "look", "{level}: {output}");
        for args in REFUSED {
            let filled = |arg: &&'static str| if *arg == "LARGE" { &*large } else { *arg };
            let args: Vec<&str> = args.iter().map(filled).collect();
            let (code, output) = exec(&args);
            assert!(code != 0, "{level} {:?}: {output}", args.get(..3));
        }
        // What the unit of an app does needs `operate`.
        let output = device.run(&["edge-docker", "run", "net-v1"]);
        assert_eq!(output.status.success(), level != "look", "{level}");
    }
    let save = ["edge-docker", "exec", "net", "save"];
    for input in ["secret\n", "-x; id\n", "\n"] {
        let output = device.feed(&save, input.as_bytes());
        let text = format!("got {}", input.trim());
        let text = text.trim();
        assert_eq!(
            (output.status.success(), output_text(&output)),
            (true, text.to_string())
        );
    }
}
