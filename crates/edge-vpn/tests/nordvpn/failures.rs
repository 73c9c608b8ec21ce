//! Failures of the client, of its replies and of the token.

use std::fs;

use crate::LIST;
use crate::test_root::{THING, TOKEN, TestRoot};

const LOGIN: &str = "login";
const ON: &str = "meshnet-on";
/// Command, message of the client, and the exit code of edge-vpn.
const MESSAGES: [(&str, &str, i32); 14] = [
    (
        LOGIN,
        "We couldn't log you in - the access token is not valid. Please check it.",
        5,
    ),
    (
        LOGIN,
        "Your current access token has expired or been revoked.",
        5,
    ),
    (
        LOGIN,
        "You’re offline.\nWe can’t run this action without an internet connection.",
        4,
    ),
    (
        LOGIN,
        "It's not you, it's us. We're having trouble reaching our servers.",
        4,
    ),
    (
        ON,
        "Maximum device count reached. Consider removing one or more of your devices.",
        6,
    ),
    (ON, "Too many requests.", 7),
    (ON, "Creating nf_tables rules: operation not supported.", 8),
    (
        ON,
        "Current application version does not support the Meshnet feature.",
        9,
    ),
    (ON, "Command 'meshnet' doesn't exist.", 9),
    (ON, "Something went wrong.", 1),
    (LIST, "We couldn't reach System Daemon.", 10),
    (
        LIST,
        "Couldn't find /run/nordvpn/nordvpnd.sock. To fix the issue, reinstall the app.",
        10,
    ),
    (LIST, "Error: No such container: nordvpn", 10),
    (
        LIST,
        "exec nordvpn is refused: edge-docker did not create it",
        11,
    ),
];

#[test]
fn each_message_has_its_exit_code() {
    for (key, message, code) in MESSAGES {
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
        let cooldown = [5, 6, 7].contains(&code);
        assert_eq!(
            (requested, output.contains("tried again later")),
            (!cooldown, cooldown),
            "{output}"
        );
        // After the next boot, with the failure gone: ready.
        let _ = fs::remove_dir_all(root.path("run/edge-vpn"));
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
    root.reply(
        ON,
        "1",
        1,
        "Please check your internet connection and try again.",
    );
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
