//! NordVPN Meshnet with the client's words, in every order. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod troubles;
#[path = "../world/mod.rs"]
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use world::{REPOSITORY, THING, TOKEN, World};

const LIST: &str = "nordvpn meshnet peer list";

#[test]
fn from_nothing_to_ready_and_then_nothing() {
    let world = World::nordvpn();
    let (code, said) = world.run(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        world.journal(),
        [
            "systemctl stop vpn-nordvpn.service",
            "systemctl daemon-reload",
            "systemctl --no-block start vpn-nordvpn.service",
            "exec nordvpn nordvpn meshnet peer list",
            "exec nordvpn nordvpn set analytics off",
            "exec --interactive nordvpn nordvpn-login",
            "exec nordvpn nordvpn meshnet peer list",
            "exec nordvpn nordvpn set meshnet on",
            "exec nordvpn nordvpn meshnet peer list",
            &format!("exec nordvpn nordvpn meshnet set nickname {THING}"),
        ]
    );
    assert_eq!(
        world.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    let token = world.path("data/config/nordvpn/token");
    assert_eq!(
        fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read_to_string(token).unwrap().trim(), TOKEN);
    let before = world.tree();
    let (code, said) = world.run(&[]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(
        world.journal(),
        [
            "systemctl is-active --quiet vpn-nordvpn.service",
            "exec nordvpn nordvpn meshnet peer list"
        ]
    );
    assert_eq!(world.tree(), before, "the second run changed something");
    let (code, said) = world.run(&["status"]);
    assert!(code == 0 && said.contains("ready        yes"), "{said}");
    let (_, said) = world.run(&["status", "--json"]);
    assert!(said.contains(r#""hostname":"me-alps.nord""#), "{said}");
    assert_eq!(world.tree(), before, "status changed something");
}

#[test]
fn the_unit_is_what_the_image_says() {
    let world = World::nordvpn();
    assert_eq!(world.run(&[]).0, 0);
    let unit = world.read("data/services/vpn-nordvpn.service");
    for part in [
        &format!("{REPOSITORY}:nordvpn-1.0\n"),
        "--grant vpn ",
        "--mount type=bind,source=/data/apps/nordvpn/state,target=/var/lib/nordvpn ",
        &format!("--hostname {THING} "),
    ] {
        assert!(unit.contains(part), "{part}: {unit}");
    }
    let starts = unit
        .lines()
        .filter_map(|l| l.strip_prefix("Exec")?.split_once('='));
    for (_, command) in starts {
        assert!(
            command
                .trim_start_matches('-')
                .starts_with("/usr/bin/edge-docker "),
            "{command}"
        );
    }
    // Another image: stopped before it is written, then started.
    let digest = format!("sha256:{}", "0a".repeat(32));
    world.write(
        "etc/edge-ai/vpn.json",
        &format!(r#"{{"provider":"nordvpn","image":"{digest}"}}"#),
    );
    world.journal();
    assert_eq!(world.run(&[]).0, 0);
    assert_eq!(
        world.journal()[..3],
        [
            "systemctl stop vpn-nordvpn.service",
            "systemctl daemon-reload",
            "systemctl --no-block start vpn-nordvpn.service",
        ]
    );
    assert!(
        world
            .read("data/services/vpn-nordvpn.service")
            .contains(&format!("@{digest}\n"))
    );
    // No VPN any more: the unit goes, and the name.
    world.write("etc/edge-ai/vpn.json", r#"{"provider":"none"}"#);
    world.journal();
    assert_eq!(world.run(&[]).0, 0);
    assert_eq!(
        world.journal(),
        [
            "systemctl stop vpn-nordvpn.service",
            "systemctl daemon-reload"
        ]
    );
    assert!(!world.path("data/services/vpn-nordvpn.service").exists());
    assert!(!world.path("data/config/nordvpn/meshnet-hostname").exists());
}

/// From nothing to ready, the gate's stand-in included, and with an answer that
/// never ends.
#[test]
fn a_step_takes_little_memory() {
    let flood = "x".repeat(8 << 20);
    for words in ["", &flood] {
        let world = World::nordvpn();
        if !words.is_empty() {
            world.say(LIST, "1", 0, words);
        }
        let mut run = world.words(&["--budget", "5"]);
        let at = run.iter().position(|w| w == "--").unwrap() + 1;
        run.splice(at..at, ["/usr/bin/time", "-f", "peak %M"].map(String::from));
        let output = Command::new(&run[0]).args(&run[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let peak = said.lines().find_map(|l| l.strip_prefix("peak "));
        let peak: u64 = peak.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        println!(
            "a step with an answer of {} kB: {peak} kB peak, limit 12000",
            words.len() / 1000
        );
        assert!(peak <= 12_000, "{peak} kB");
    }
}

#[test]
fn a_nickname_that_is_refused_keeps_nobody_out_and_is_left_alone() {
    let world = World::nordvpn();
    let set = format!("nordvpn meshnet set nickname {THING}");
    world.say(
        &set,
        "always",
        1,
        "You've reached the weekly limit for nickname changes.",
    );
    assert_eq!(world.run(&[]).0, 7);
    assert_eq!(
        world.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    world.journal();
    for words in [&[][..], &["status"]] {
        let (code, said) = world.run(words);
        assert!(code == 7 && said.contains("tried again later"), "{said}");
    }
    assert!(!world.journal().iter().any(|l| l.contains("set nickname")));
    // After the next boot it is.
    fs::remove_dir_all(world.path("run/edge-vpn")).unwrap();
    fs::remove_file(world.path(&format!("state/say/{set}.always"))).unwrap();
    assert_eq!(world.run(&[]).0, 0);
}

#[test]
fn peers_come_in_by_ssh_and_no_further() {
    let world = World::new(
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
    world.write("state/peers", &peers);
    let (code, said) = world.run(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("gone.nord is not in Meshnet"), "{said}");
    let asked = world.journal();
    let asked: Vec<_> = asked
        .iter()
        .filter_map(|l| l.strip_prefix("exec nordvpn nordvpn meshnet peer "))
        .collect();
    let asked: Vec<_> = asked.into_iter().filter(|w| *w != "list").collect();
    assert_eq!(
        asked,
        ["incoming allow me-andes.nord", "fileshare deny other.nord"]
    );
}

#[test]
fn what_lacks_is_named() {
    let world = World::nordvpn();
    fs::remove_file(world.path("dev/net/tun")).unwrap();
    let (code, said) = world.run(&[]);
    assert!(code == 8 && said.contains("no TUN"), "{said}");
    let (code, said) = world.run(&["status"]);
    assert!(code == 8 && said.contains("logged out"), "{said}");
    // Not provisioned yet.
    let world = World::nordvpn();
    fs::remove_file(world.path("data/config/aws-iot/config.json")).unwrap();
    assert_eq!(world.run(&[]).0, 1);
    // The listed address is not this device's: SSH does not answer there.
    let world = World::nordvpn();
    let list = "This device:\nHostname: me-alps.nord\nNickname: edge-ai-1234567890123\nIP: 100.64.0.99\n\nLocal Peers:";
    world.say(LIST, "always", 0, list);
    let (code, said) = world.run(&[]);
    assert!(code == 12 && said.contains("100.64.0.99"), "{said}");
}
