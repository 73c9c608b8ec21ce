//! `vpn.json`, `policy.json`: absent, truncated, hostile, oversized.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod world;

use std::fs;
use std::os::unix::fs::symlink;

use world::World;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Exit code 3, a message, and nothing was touched.
fn refused(world: &World, what: &str) {
    let (code, said) = world.run(&[]);
    assert_eq!(code, 3, "{what}: {said}");
    assert!(world.journal().is_empty(), "{what}: something was asked");
    assert!(
        world.tree().is_empty() || world.tree().len() <= 2,
        "{what}: {:?}",
        world.tree().keys()
    );
    let (code, said) = world.run(&["status"]);
    assert!(
        code == 3 && said.contains("ready        no"),
        "{what}: {said}"
    );
}

/// What is no `vpn.json`.
const BAD: &[&str] = &[
    "",
    "{",
    "null",
    "[]",
    "{}",
    r#"{"provider":"openvpn"}"#,
    r#"{"provider":"none","x":1}"#,
    r#"{"provider":"none"} x"#,
    r#"{"provider":"nordvpn"}"#,
    r#"{"provider":"nordvpn","image":""}"#,
    r#"{"provider":"nordvpn","image":"a b"}"#,
    r#"{"provider":"nordvpn","image":"x/y:z"}"#,
    r#"{"provider":"nordvpn","image":"-x"}"#,
    r#"{"provider":"nordvpn","image":"v\n[Service]\nExecStart=/bin/sh"}"#,
    r#"{"provider":"nordvpn","image":"v","app":"../x"}"#,
    r#"{"provider":"nordvpn","image":"v","app":"-x"}"#,
    r#"{"provider":"nordvpn","image":"v","peers":["--help"]}"#,
    r#"{"provider":"nordvpn","image":"v","image":"w"}"#,
    r#"{"provider":"wireguard"}"#,
    r#"{"provider":"wireguard","range":"0.0.0.0/0"}"#,
    r#"{"provider":"wireguard","range":"10.0.0.1/8"}"#,
    r#"{"provider":"wireguard","range":"::/0"}"#,
];

#[test]
fn vpn_json_is_read_strictly() {
    let large = format!(r#"{{"provider":"none","x":"{}"}}"#, "x".repeat(70_000));
    let digest = "0A".repeat(32);
    let upper = format!(r#"{{"provider":"nordvpn","image":"sha256:{digest}"}}"#);
    let mut texts: Vec<String> = BAD.iter().map(ToString::to_string).collect();
    texts.extend([large, upper]);
    for more in [
        r#""interface":"lo""#,
        r#""interface":"a/b""#,
        r#""interface":"""#,
        r#""interface":"-x""#,
        r#""interface":"0123456789abcdef""#,
        r#""address":"10.78.0.1""#,
        r#""address":"10.77.0.1/16""#,
        r#""listen_port":0"#,
        r#""listen_port":70000"#,
        r#""private_key":"x""#,
        r#""domain":"a b""#,
        r#""peers":[{}]"#,
        r#""peers":[{"public_key":"x"}]"#,
        r#""peers_from_shadow":"yes""#,
    ] {
        texts.push(format!(
            r#"{{"provider":"wireguard","range":"10.77.0.0/16",{more}}}"#
        ));
    }
    for more in [
        r#""endpoint":"hub""#,
        r#""endpoint":"-h:1""#,
        r#""allowed_ips":["0.0.0.0/0"]"#,
        r#""allowed_ips":["10.77.0.1/16"]"#,
        r#""allowed_ips":["192.168.0.0/24"]"#,
        r#""preshared_key":"x""#,
    ] {
        let peer = format!(r#"{{"public_key":"{KEY}",{more}}}"#);
        texts.push(format!(
            r#"{{"provider":"wireguard","range":"10.77.0.0/16","peers":[{peer}]}}"#
        ));
    }
    let twice = format!(r#"[{{"public_key":"{KEY}"}},{{"public_key":"{KEY}"}}]"#);
    texts.push(format!(
        r#"{{"provider":"wireguard","range":"10.77.0.0/16","peers":{twice}}}"#
    ));
    let world = World::new("");
    for text in texts {
        world.write("etc/edge-ai/vpn.json", &text);
        refused(&world, &text[..text.len().min(120)]);
    }
}

#[test]
fn no_file_is_no_vpn_but_for_a_token() {
    let world = World::new("");
    fs::remove_file(world.path("etc/edge-ai/vpn.json")).unwrap();
    refused(&world, "a token without vpn.json");
    fs::remove_file(world.path("etc/edge-ai/claim/nordvpn-token")).unwrap();
    assert_eq!(world.run(&[]), (0, String::new()));
    assert_eq!(world.run(&["status"]).0, 0);
    for strange in ["/dev/zero", "/nonexistent", "/tmp"] {
        symlink(strange, world.path("etc/edge-ai/vpn.json")).unwrap();
        refused(&world, strange);
        fs::remove_file(world.path("etc/edge-ai/vpn.json")).unwrap();
    }
}

#[test]
fn policy_json_is_read_strictly_and_closes() {
    let world = World::new(r#"{"provider":"none"}"#);
    for text in [
        "",
        "{",
        r#"{"ssh":"console"}"#,
        r#"{"ssh":true}"#,
        r#"{"sandbox":false,"shh":"vpn"}"#,
    ] {
        world.write("etc/edge-ai/container-config/policy.json", text);
        assert_eq!(world.run(&[]).0, 3, "{text}");
        assert_eq!(world.run(&["sshd"]).0, 3, "{text}: sshd must not start");
    }
    world.write(
        "etc/edge-ai/container-config/policy.json",
        r#"{"sandbox":true}"#,
    );
    assert_eq!(world.run(&["sshd"]).0, 0);
    assert!(
        !world
            .read("run/edge-vpn/sshd.conf")
            .contains("ListenAddress")
    );
    // Kept to a VPN that is not there: only the console, and it is said.
    world.write(
        "etc/edge-ai/container-config/policy.json",
        r#"{"sandbox":true,"ssh":"vpn"}"#,
    );
    assert_eq!(world.run(&["sshd"]).0, 0);
    assert!(
        world
            .read("run/edge-vpn/sshd.conf")
            .contains("ListenAddress 127.0.0.1\nMatch")
    );
    let (code, said) = world.run(&[]);
    assert!(code == 3 && said.contains("console"), "{said}");
}

#[test]
fn one_at_a_time() {
    let world = World::new(r#"{"provider":"none"}"#);
    fs::create_dir_all(world.path("run/edge-vpn")).unwrap();
    let lock = fs::File::open(world.path("run/edge-vpn")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (code, said) = world.run(&[]);
    assert!(code == 1 && said.contains("another edge-vpn"), "{said}");
}
