//! Failures of the client, of its replies and of the token.

use std::fs;

use crate::LIST;
use crate::test_root::{THING, TOKEN, TestRoot};

const LOGIN: &str = "login";
const ON: &str = "meshnet-on";
/// Command, message of the client in a version of the last two years, and the exit code of
/// edge-vpn.
const MESSAGES: &[(&str, &str, i32)] = &[
    (
        LOGIN,
        "We couldn't log you in - the access token is not valid. Please check if you've entered the token correctly. If the issue persists, contact our customer support.",
        5,
    ),
    (LOGIN, "Token parameter value is missing.", 5),
    (
        LOGIN,
        "Your current access token has expired or been revoked. Please request a new one to continue.",
        5,
    ),
    (
        LOGIN,
        "You’re offline.\nWe can’t run this action without an internet connection. Please check it and try again.",
        4,
    ),
    (
        LOGIN,
        "It's not you, it's us. We're having trouble reaching our servers. If the issue persists, please contact our customer support.",
        4,
    ),
    (
        LOGIN,
        "We couldn't prompt for a login token, because the command is not running in a terminal. For non-interactive mode, provide the token as an argument using the 'nordvpn login --token <TOKEN>' command.",
        3,
    ),
    (
        LOGIN,
        "Something went wrong. Please try again. If the problem persists, contact our customer support.",
        1,
    ),
    // A full account, 429 and a registration without a network.
    (
        ON,
        "We're having trouble reaching our servers. Please try again later. If the issue persists, please contact our customer support.",
        13,
    ),
    // A kernel without nf_tables.
    (
        ON,
        "We couldn't connect you to the VPN. Please check your internet connection and try again. If the issue persists, contact our customer support.",
        8,
    ),
    (
        ON,
        "It's not you, it's us. We're having trouble with our servers. If the issue persists, please contact our customer support.",
        4,
    ),
    (ON, "You are not connected to NordVPN.", 1),
    (
        ON,
        "NordLynx technology must be set to use this feature.",
        8,
    ),
    (ON, "Too Many Requests.", 7),
    (
        ON,
        "Current application version does not support the Meshnet feature.",
        9,
    ),
    (ON, "Command 'meshnet' doesn't exist.", 9),
    // The client registers a device again whose registration it has lost.
    (
        LIST,
        "We're having trouble reaching our servers. Please try again later. If the issue persists, please contact our customer support.",
        13,
    ),
    (LIST, "We couldn't reach System Daemon.", 10),
    (LIST, "Cannot reach System Daemon.", 10),
    (
        LIST,
        "Couldn't find /run/nordvpn/nordvpnd.sock. To fix the issue, you may need to reinstall the app.",
        10,
    ),
    (LIST, "/run/nordvpn/nordvpnd.sock not found.", 10),
    (
        LIST,
        "Permission denied accessing /run/nordvpn/nordvpnd.sock.",
        10,
    ),
    (LIST, "Error: No such container: nordvpn", 10),
    (
        LIST,
        "exec nordvpn is refused: edge-docker did not create it",
        11,
    ),
];
/// Files of failed requests, which delay the next ones.
const RECORDS: [&str; 2] = ["login", "meshnet"];

fn remove_records(root: &TestRoot) {
    for request in RECORDS {
        let _ = fs::remove_file(root.path(&format!("data/config/nordvpn/failed-{request}.json")));
    }
}

#[test]
fn each_message_has_its_exit_code() {
    for &(key, message, code) in MESSAGES {
        let root = TestRoot::nordvpn();
        root.reply(key, "always", 1, message);
        let (exit_code, output) = root.run(&["--budget", "1"]);
        assert_eq!(exit_code, code, "{message}: {output}");
        assert!(
            output.contains(message.split('.').next().unwrap().lines().next().unwrap()),
            "{output}"
        );
        let result = root.read("data/log/boot/edge-vpn.json");
        assert!(result.contains(&format!(r#""code":{code},"#)), "{result}");
        assert!(!root.path("data/config/nordvpn/meshnet-hostname").exists());
        // A rejected request is not repeated at once, and the message says so.
        root.journal();
        let (again, output) = root.run(&["--budget", "1"]);
        assert_eq!(again, code, "{output}");
        let requested = root.journal().iter().any(|l| l.ends_with(key));
        // What did not reach NordVPN's servers costs nothing.
        let local = [3, 10, 11].contains(&code) || message.contains("offline");
        let cooldown = !local;
        assert_eq!(
            (requested, output.contains("tried again later")),
            (!cooldown, cooldown),
            "{output}"
        );
        // Neither after a reboot. With the failure and its record gone: ready.
        let _ = fs::remove_dir_all(root.path("run/edge-vpn"));
        root.journal();
        assert_eq!(root.run(&["--budget", "1"]).0, code);
        let requested = root.journal().iter().any(|l| l.ends_with(key));
        assert_eq!(requested, !cooldown, "{message}");
        remove_records(&root);
        fs::remove_file(root.path(&format!("state/replies/{key}.always"))).unwrap();
        assert_eq!(root.run(&[]).0, 0, "{message}");
    }
}

#[test]
fn the_exit_code_of_the_unit_explains_a_container_that_is_down() {
    for (status, code) in [("125", 11), ("124", 4), ("1", 10), ("", 10)] {
        let root = TestRoot::nordvpn();
        root.write("state/exit-status", status);
        root.reply(LIST, "always", 125, "Error: No such container: nordvpn");
        assert_eq!(root.run(&["--budget", "1"]).0, code, "{status}");
        assert_eq!(root.run(&["status"]).0, code, "{status}");
    }
}

#[test]
fn transient_failures_are_waited_for() {
    let root = TestRoot::nordvpn();
    root.reply(LIST, "1", 1, "Error: No such container: nordvpn");
    root.reply(LIST, "2", 1, "We couldn't reach System Daemon.");
    root.reply(ON, "1", 1, "We couldn't reach System Daemon.");
    let (code, output) = root.run(&[]);
    assert_eq!(code, 0, "{output}");
    // A rejected token is not used a second time.
    let root = TestRoot::nordvpn();
    root.write("state/token", "another");
    let (code, output) = root.run(&[]);
    assert_eq!(code, 5, "{output}");
    let (code, output) = root.run(&["status"]);
    assert!(
        code == 5 && output.contains("token was rejected"),
        "{output}"
    );
    let logins = root.journal().iter().filter(|l| l.ends_with(LOGIN)).count();
    assert_eq!(logins, 1);
    // Another token is used at once.
    root.write("state/token", "fedcba9876543210");
    root.write("etc/edge-ai/claim/nordvpn-token", "fedcba9876543210");
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.run(&["status"]).0, 0);
    // A login that succeeds and changes nothing is not repeated for ever.
    let root = TestRoot::nordvpn();
    root.reply(LOGIN, "always", 0, "Welcome to NordVPN!");
    assert_eq!(root.run(&[]).0, 5);
}

#[test]
fn the_token_is_on_no_command_line_and_in_no_message() {
    let root = TestRoot::nordvpn();
    root.write("state/token", "another");
    let (_, output) = root.run(&[]);
    let text = output
        + &root.journal().join("\n")
        + &root.read("data/log/boot/edge-vpn.json")
        + &root.read("data/config/nordvpn/client.json")
        + &root.run(&["status", "--json"]).1;
    assert!(!text.contains(TOKEN), "{text}");
    assert!(text.contains("not valid"), "{text}");
}

#[test]
fn invalid_tokens_are_not_used() {
    let large = "a".repeat(600);
    for (token, code) in [
        ("", 5),
        ("short", 5),
        ("aaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaa", 5),
        ("aaaaaaaaaaaaaaaaaaaaaa --help", 5),
        (large.as_str(), 5),
    ] {
        let root = TestRoot::nordvpn();
        root.write("etc/edge-ai/claim/nordvpn-token", token);
        let (exit_code, output) = root.run(&[]);
        assert_eq!(exit_code, code, "{token:?}: {output}");
        assert!(
            root.journal().is_empty(),
            "a command was run with an invalid token"
        );
    }
    let root = TestRoot::nordvpn();
    fs::remove_file(root.path("etc/edge-ai/claim/nordvpn-token")).unwrap();
    let (code, output) = root.run(&[]);
    assert!(code == 5 && output.contains("there is no"), "{output}");
    // The copy is used, and a client that is logged in needs no token.
    root.write("data/config/nordvpn/token", TOKEN);
    assert_eq!(root.run(&[]).0, 0);
    fs::remove_file(root.path("data/config/nordvpn/token")).unwrap();
    assert_eq!(root.run(&[]).0, 0);
}

#[test]
fn truncated_hostile_and_endless_replies_are_errors() {
    let flood = "x".repeat(1 << 20);
    let valid =
        "This device:\nHostname: me-alps.nord\nNickname: -\nIP: 100.64.0.15\n\nLocal Peers:";
    for reply in [
        "",
        "This device:",
        "This device:\nHostname: me-alps.nord",
        &valid[..valid.len() - 14],
        "This device:\nHostname: $(reboot)\nIP: 100.64.0.15\n\nLocal Peers:",
        "This device:\nHostname: a.nord\nIP: 10.0.0.1\n\nLocal Peers:",
        "Local Peers:\nHostname: a.nord\nIP: 100.64.0.9",
        &flood,
    ] {
        let root = TestRoot::nordvpn();
        root.reply(LIST, "always", 0, reply);
        let (code, output) = root.run(&["--budget", "1"]);
        assert!(code != 0 && output.len() < 2000, "{}", output.len());
        assert!(
            !root.path("data/config/nordvpn/meshnet-hostname").exists(),
            "{output}"
        );
    }
    // With a notice first and the labels swapped.
    let root = TestRoot::nordvpn();
    root.write(
        "state/notice",
        "A new version of NordVPN is available!\nPlease update the app.\n\n",
    );
    root.write("state/nick", THING);
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(
        root.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    assert!(!root.journal().iter().any(|l| l.contains("nickname")));
}

#[test]
fn a_failed_registration_is_not_repeated_within_minutes() {
    for (state, code) in [("state/unregistered", 13), ("state/no-nf-tables", 8)] {
        let root = TestRoot::nordvpn();
        root.write(state, "");
        let registrations = || root.read("state/registrations").lines().count();
        // The whole budget at the first boot, the timer, two reboots.
        for number in 0..6 {
            if number % 2 == 1 {
                let _ = fs::remove_dir_all(root.path("run/edge-vpn"));
            }
            let (exit_code, output) = root.run(&["--budget", "20"]);
            assert_eq!(exit_code, code, "{output}");
            assert_eq!(registrations(), 1, "{output}");
        }
        let (exit_code, output) = root.run(&["status"]);
        assert!(
            exit_code != 0 && output.contains("tried again later"),
            "{output}"
        );
        let record = root.read("data/config/nordvpn/failed-meshnet.json");
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(
            (&record["v"], &record["code"], &record["failures"]),
            (&1.into(), &code.into(), &1.into())
        );
        let noted = root.read("data/log/boot/edge-vpn.json");
        assert!(noted.contains(&format!(r#""code":{code},"#)), "{noted}");
        // Another token may belong to another account.
        fs::remove_file(root.path(state)).unwrap();
        root.write("state/token", "fedcba9876543210");
        root.write("etc/edge-ai/claim/nordvpn-token", "fedcba9876543210");
        assert_eq!(root.run(&[]).0, 0);
        assert!(
            !root
                .path("data/config/nordvpn/failed-meshnet.json")
                .exists()
        );
    }
}

#[test]
fn a_removed_device_registers_once_and_silent_logins_are_no_success() {
    // The client switches Meshnet off when its device was removed from the account.
    let root = TestRoot::nordvpn();
    assert_eq!(root.run(&[]).0, 0);
    fs::remove_file(root.path("state/on")).unwrap();
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.read("state/registrations").lines().count(), 2);
    // The client prints nothing for some answers to a login, and ends with 0.
    let root = TestRoot::nordvpn();
    root.reply(LOGIN, "always", 0, "");
    for _ in 0..3 {
        let (code, output) = root.run(&["--budget", "5"]);
        assert_eq!(code, 5, "{output}");
    }
    let logins = root.journal().iter().filter(|l| l.ends_with(LOGIN)).count();
    assert_eq!(logins, 1);
}

#[test]
fn without_a_route_nothing_is_requested() {
    let root = TestRoot::nordvpn();
    root.write("proc/net/route", "Iface\tDestination\tGateway\tFlags\n");
    root.write("proc/net/ipv6_route", "");
    let (code, output) = root.run(&["--budget", "1"]);
    assert!(code == 4 && output.contains("no default route"), "{output}");
    assert!(!root.journal().iter().any(|l| l.ends_with(LOGIN)));
    fs::remove_file(root.path("proc/net/route")).unwrap();
    assert_eq!(root.run(&[]).0, 0);
}
