//! What goes wrong with the client, its answers and the token.

use std::fs;

use crate::LIST;
use crate::world::{THING, TOKEN, World};

const LOGIN: &str = "nordvpn-login";
const ON: &str = "nordvpn set meshnet on";
/// To which words what is said, and the exit code.
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
        "exec nordvpn is refused: edge-docker did not make it",
        11,
    ),
];

#[test]
fn each_message_has_its_exit_code() {
    for (key, words, code) in MESSAGES {
        let world = World::nordvpn();
        world.say(key, "always", 1, words);
        let (got, said) = world.run(&["--budget", "1"]);
        assert_eq!(got, code, "{words}: {said}");
        assert!(
            said.contains(words.split('.').next().unwrap().lines().next().unwrap()),
            "{said}"
        );
        let result = world.read("data/log/boot/edge-vpn.json");
        assert!(result.contains(&format!(r#""code":{code},"#)), "{result}");
        assert!(!world.path("data/config/nordvpn/meshnet-hostname").exists());
        // What was refused is not asked for again at once, and says so.
        world.journal();
        let (again, said) = world.run(&["--budget", "1"]);
        assert_eq!(again, code, "{said}");
        let asked = world.journal().iter().any(|l| l.ends_with(key));
        let noted = [5, 6, 7].contains(&code);
        assert_eq!(
            (asked, said.contains("tried again later")),
            (!noted, noted),
            "{said}"
        );
        // After the next boot, and with what was wrong over: ready.
        let _ = fs::remove_dir_all(world.path("run/edge-vpn"));
        fs::remove_file(world.path(&format!("state/say/{key}.always"))).unwrap();
        assert_eq!(world.run(&[]).0, 0, "{words}");
    }
}

#[test]
fn why_the_container_is_down() {
    for (status, code) in [("125", 11), ("124", 4), ("1", 10), ("", 10)] {
        let world = World::nordvpn();
        world.write("state/exit-status", status);
        world.say(LIST, "always", 125, "Error: No such container: nordvpn");
        assert_eq!(world.run(&["--budget", "1"]).0, code, "{status}");
        assert_eq!(world.run(&["status"]).0, code, "{status}");
    }
}

#[test]
fn what_passes_by_itself_is_waited_for() {
    let world = World::nordvpn();
    world.say(LIST, "1", 1, "Error: No such container: nordvpn");
    world.say(LIST, "2", 1, "We couldn't reach System Daemon.");
    world.say(
        "nordvpn set meshnet on",
        "1",
        1,
        "Please check your internet connection and try again.",
    );
    let (code, said) = world.run(&[]);
    assert_eq!(code, 0, "{said}");
    // A token that is refused is not tried a second time.
    let world = World::nordvpn();
    world.write("state/token", "another");
    let (code, said) = world.run(&[]);
    assert_eq!(code, 5, "{said}");
    let (code, said) = world.run(&["status"]);
    assert!(code == 5 && said.contains("token is refused"), "{said}");
    let logins = world
        .journal()
        .iter()
        .filter(|l| l.ends_with("nordvpn-login"))
        .count();
    assert_eq!(logins, 1);
    // Another one is, at once.
    world.write("state/token", "fedcba9876543210");
    world.write("etc/edge-ai/claim/nordvpn-token", "fedcba9876543210");
    assert_eq!(world.run(&[]).0, 0);
    assert_eq!(world.run(&["status"]).0, 0);
    // A login that is taken and changes nothing ends, too.
    let world = World::nordvpn();
    world.say("nordvpn-login", "always", 0, "Welcome to NordVPN!");
    assert_eq!(world.run(&[]).0, 5);
}

#[test]
fn the_token_is_on_no_command_line_and_in_no_message() {
    let world = World::nordvpn();
    world.write("state/token", "another");
    let (_, said) = world.run(&[]);
    let text = said
        + &world.journal().join("\n")
        + &world.read("data/log/boot/edge-vpn.json")
        + &world.read("data/services/vpn-nordvpn.service")
        + &world.run(&["status", "--json"]).1;
    assert!(!text.contains(TOKEN), "{text}");
    assert!(text.contains("not valid"), "{text}");
}

#[test]
fn tokens_that_are_none() {
    let large = "a".repeat(600);
    for (token, code) in [
        ("", 5),
        ("short", 5),
        ("aaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaa", 5),
        ("aaaaaaaaaaaaaaaaaaaaaa --help", 5),
        (large.as_str(), 5),
    ] {
        let world = World::nordvpn();
        world.write("etc/edge-ai/claim/nordvpn-token", token);
        let (got, said) = world.run(&[]);
        assert_eq!(got, code, "{token:?}: {said}");
        assert!(
            world.journal().is_empty(),
            "nothing is asked with a token that is none"
        );
    }
    let world = World::nordvpn();
    fs::remove_file(world.path("etc/edge-ai/claim/nordvpn-token")).unwrap();
    let (code, said) = world.run(&[]);
    assert!(code == 5 && said.contains("there is no"), "{said}");
    // Without one, who is logged in stays so; and the copy does when there is one.
    world.write("data/config/nordvpn/token", TOKEN);
    assert_eq!(world.run(&[]).0, 0);
    fs::remove_file(world.path("data/config/nordvpn/token")).unwrap();
    assert_eq!(world.run(&[]).0, 0);
}

#[test]
fn answers_that_are_cut_off_hostile_or_endless_are_no_names() {
    let flood = "x".repeat(1 << 20);
    let good = "This device:\nHostname: me-alps.nord\nNickname: -\nIP: 100.64.0.15\n\nLocal Peers:";
    for words in [
        "",
        "This device:",
        "This device:\nHostname: me-alps.nord",
        &good[..good.len() - 14],
        "This device:\nHostname: $(reboot)\nIP: 100.64.0.15\n\nLocal Peers:",
        "This device:\nHostname: a.nord\nIP: 10.0.0.1\n\nLocal Peers:",
        "Local Peers:\nHostname: a.nord\nIP: 100.64.0.9",
        &flood,
    ] {
        let world = World::nordvpn();
        world.say(LIST, "always", 0, words);
        let (code, said) = world.run(&["--budget", "1"]);
        assert!(code != 0 && said.len() < 2000, "{}", said.len());
        assert!(
            !world.path("data/config/nordvpn/meshnet-hostname").exists(),
            "{said}"
        );
    }
    // A notice first, and labels the other way round.
    let world = World::nordvpn();
    world.write(
        "state/notice",
        "A new version of NordVPN is available!\nPlease update the app.\n\n",
    );
    world.write("state/nick", THING);
    assert_eq!(world.run(&[]).0, 0);
    assert_eq!(
        world.read("data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    assert!(!world.journal().iter().any(|l| l.contains("set nickname")));
}
