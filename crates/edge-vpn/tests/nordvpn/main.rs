//! NordVPN Meshnet with the messages of the client, in every order. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod failures;
#[path = "../test_root/mod.rs"]
mod test_root;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use test_root::{THING, TOKEN, TestRoot};

const LIST: &str = "peers";

#[test]
fn a_new_device_becomes_ready_and_a_second_run_changes_nothing() {
    let root = TestRoot::nordvpn();
    let (code, output) = root.run(&[]);
    assert_eq!(code, 0, "{output}");
    assert_eq!(
        root.journal(),
        [
            "systemctl --no-block start edge-vpn-client.service",
            "exec nordvpn peers",
            "exec nordvpn analytics-off",
            "exec nordvpn login",
            "exec nordvpn peers",
            "exec nordvpn meshnet-on",
            "exec nordvpn peers",
            &format!("exec nordvpn nickname {THING}"),
        ]
    );
    assert_eq!(
        root.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    let token = root.path("data/config/nordvpn/token");
    assert_eq!(
        fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read_to_string(token).unwrap().trim(), TOKEN);
    // What edge-vpn-client.service does.
    assert_eq!(root.run(&["client"]), (0, String::new()));
    let calls = ["inspect --type container nordvpn", "run nordvpn-1.0"];
    assert_eq!(root.journal(), calls);
    let before = root.tree();
    let (code, output) = root.run(&[]);
    assert_eq!((code, output.as_str()), (0, ""));
    assert_eq!(
        root.journal(),
        ["inspect --type container nordvpn", "exec nordvpn peers"]
    );
    assert_eq!(root.tree(), before, "the second run changed something");
    let (code, output) = root.run(&["status"]);
    assert!(code == 0 && output.contains("ready        yes"), "{output}");
    let (_, output) = root.run(&["status", "--json"]);
    assert!(output.contains(r#""hostname":"me-alps.nord""#), "{output}");
    assert_eq!(root.tree(), before, "status changed something");
}

#[test]
fn the_container_follows_the_configuration() {
    let start = "systemctl --no-block start edge-vpn-client.service";
    let inspect = "inspect --type container nordvpn";
    let root = TestRoot::nordvpn();
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.run(&["client"]).0, 0);
    root.journal();
    // The container is down, or was created by an earlier image from options.
    let container = root.read("state/container");
    for (other, verb) in [
        (container.replace("true", "false"), "run"),
        (container.replace("edge.run", "edge.x"), "replace"),
        (container.replace("\"1.0\"", "\"0.9\""), "replace"),
        (container.replace("sha256:0", ""), "replace"),
        ("[]".into(), "replace"),
        ("{".into(), "run"),
    ] {
        root.write("state/container", &other);
        assert_eq!(root.run(&[]).0, 0);
        assert_eq!(root.journal()[..2], [inspect, start], "{other}");
        assert_eq!(root.run(&["client"]).0, 0);
        let calls = [inspect, &format!("{verb} nordvpn-1.0")];
        assert_eq!(root.journal(), calls, "{other}");
        assert_eq!(root.read("state/container"), container);
    }
    // Another version.
    let digest = format!("nordvpn-1.1@sha256:{}", "0a".repeat(32));
    let vpn = format!(r#"{{"provider":"nordvpn","image":"{digest}"}}"#);
    root.write("etc/edge-ai/vpn.json", &vpn);
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.journal()[..2], [inspect, start]);
    assert_eq!(root.run(&["client"]).0, 0);
    assert_eq!(root.journal(), [inspect, &format!("replace {digest}")]);
    // Another app: the container of the one before is removed.
    let vpn = r#"{"provider":"nordvpn","app":"mesh","image":"mesh-1.0"}"#;
    root.write("etc/edge-ai/vpn.json", vpn);
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.journal()[0], start);
    assert_eq!(root.run(&["client"]).0, 0);
    let calls = root.journal();
    assert!(calls.contains(&"rm --force nordvpn".into()), "{calls:?}");
    assert_eq!(calls.last().unwrap(), "run mesh-1.0");
    // No VPN any more: container and name are removed.
    root.write("etc/edge-ai/vpn.json", r#"{"provider":"none"}"#);
    root.journal();
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.journal(), [start]);
    assert_eq!(root.run(&["client"]).0, 0);
    let calls = root.journal();
    assert!(calls.contains(&"inspect --type container mesh".into()));
    assert!(!root.path("state/container").exists());
    assert!(!root.path("data/config/nordvpn/client.json").exists());
    assert!(!root.path("data/config/nordvpn/meshnet-hostname").exists());
    assert_eq!(root.run(&["client"]), (0, String::new()));
    assert_eq!(root.run(&[]), (0, String::new()));
    assert_eq!(root.journal(), Vec::<String>::new());
}

#[test]
fn the_unit_and_records_of_earlier_images_are_replaced() {
    let root = TestRoot::nordvpn();
    let unit = "data/services/vpn-nordvpn.service";
    root.write(
        unit,
        "[Service]\nExecStart=/usr/bin/edge-docker run --grant vpn x\n",
    );
    assert_eq!(root.run(&[]).0, 0);
    assert!(!root.path(unit).exists());
    let calls = [
        "systemctl stop vpn-nordvpn.service",
        "systemctl daemon-reload",
        "systemctl --no-block start edge-vpn-client.service",
    ];
    assert_eq!(root.journal()[..3], calls);
    // A damaged or hostile record is written again; the names in it are not used.
    for record in [
        "",
        "{",
        "null",
        r#"{"v":1,"app":"--all"}"#,
        r#"{"v":1,"app":"../x"}"#,
    ] {
        root.write("data/config/nordvpn/client.json", record);
        assert_eq!(root.run(&["client"]).0, 0, "{record}");
        assert!(!root.journal().iter().any(|call| call.starts_with("rm")));
        let written = root.read("data/config/nordvpn/client.json");
        assert_eq!(written, r#"{"v":1,"app":"nordvpn"}"#);
    }
    // Unknown fields of a later version stay.
    let later = r#"{"v":2,"app":"nordvpn","since":"x"}"#;
    root.write("data/config/nordvpn/client.json", later);
    assert_eq!(root.run(&["client"]).0, 0);
    assert_eq!(root.read("data/config/nordvpn/client.json"), later);
}

/// A new device, with the simulated edge-docker included, and with a reply of megabytes.
#[test]
fn a_step_takes_little_memory() {
    let flood = "x".repeat(8 << 20);
    for reply in ["", &flood] {
        let root = TestRoot::nordvpn();
        if !reply.is_empty() {
            root.reply(LIST, "1", 0, reply);
        }
        let mut run = root.command_line(&["--budget", "5"]);
        let at = run.iter().position(|w| w == "--").unwrap() + 1;
        run.splice(at..at, ["/usr/bin/time", "-f", "peak %M"].map(String::from));
        let output = Command::new(&run[0]).args(&run[1..]).output().unwrap();
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        let peak = output.lines().find_map(|l| l.strip_prefix("peak "));
        let peak: u64 = peak.unwrap_or_else(|| panic!("{output}")).parse().unwrap();
        println!(
            "a run with a reply of {} kB: {peak} kB peak, limit 12000",
            reply.len() / 1000
        );
        assert!(peak <= 12_000, "{peak} kB");
    }
}

#[test]
fn a_rejected_nickname_does_not_keep_the_device_out_and_is_not_repeated() {
    let root = TestRoot::nordvpn();
    let set = format!("nickname {THING}");
    root.reply(
        &set,
        "always",
        1,
        "You've reached the weekly limit for nickname changes.",
    );
    assert_eq!(root.run(&[]).0, 7);
    assert_eq!(
        root.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    root.journal();
    for args in [&[][..], &["status"]] {
        let (code, output) = root.run(args);
        assert!(
            code == 7 && output.contains("tried again later"),
            "{output}"
        );
    }
    assert!(!root.journal().iter().any(|l| l.contains("set nickname")));
    // Not even after the next boot, but once its record is gone.
    fs::remove_dir_all(root.path("run/edge-vpn")).unwrap();
    assert_eq!(root.run(&[]).0, 7);
    fs::remove_file(root.path("data/config/nordvpn/failed-nickname.json")).unwrap();
    fs::remove_file(root.path(&format!("state/replies/{set}.always"))).unwrap();
    assert_eq!(root.run(&[]).0, 0);
}

#[test]
fn peers_get_ssh_and_no_other_permission() {
    let root = TestRoot::new(
        r#"{"provider":"nordvpn","image":"nordvpn-1.0","peers":["laptop","other.nord","gone.nord"]}"#,
    );
    let labels = |on: &str| {
        format!(
            "Allow Incoming Traffic: {on}\nAllow Routing: disabled\n\
            Allow Local Network Access: disabled\nAllow Sending Files: {on}\n"
        )
    };
    let peers = format!(
        "Local Peers:\nNickname: laptop\nHostname: me-andes.nord\nIP: 100.64.0.16\n{}\n\
         External Peers:\nHostname: other.nord\nNickname: -\nIP: 100.64.0.17\n{}\n",
        labels("disabled"),
        labels("enabled")
    );
    root.write("state/peers", &peers);
    let (code, output) = root.run(&[]);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("gone.nord is not in Meshnet"), "{output}");
    let calls = root.journal();
    let requests: Vec<_> = calls
        .iter()
        .filter_map(|l| l.strip_prefix("exec nordvpn "))
        .filter(|call| call.starts_with("allow-") || call.starts_with("deny-"))
        .collect();
    assert_eq!(
        requests,
        ["allow-incoming me-andes.nord", "deny-files other.nord"]
    );
}

#[test]
fn missing_requirements_are_named() {
    let root = TestRoot::nordvpn();
    fs::remove_file(root.path("dev/net/tun")).unwrap();
    let (code, output) = root.run(&[]);
    assert!(code == 8 && output.contains("no TUN"), "{output}");
    let (code, output) = root.run(&["status"]);
    assert!(code == 8 && output.contains("logged out"), "{output}");
    // Not provisioned yet.
    let root = TestRoot::nordvpn();
    fs::remove_file(root.path("data/config/aws-iot/config.json")).unwrap();
    assert_eq!(root.run(&[]).0, 1);
    // An address that is not this device's: SSH does not answer there.
    let root = TestRoot::nordvpn();
    let list = "This device:\nHostname: me-alps.nord\nNickname: edge-ai-1234567890123\nIP: 100.64.0.99\n\nLocal Peers:";
    root.reply(LIST, "always", 0, list);
    let (code, output) = root.run(&[]);
    assert!(code == 12 && output.contains("100.64.0.99"), "{output}");
}
