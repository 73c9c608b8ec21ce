//! `vpn.json` and `policy.json`: absent, truncated, hostile, oversized.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod test_root;

use std::fs;
use std::os::unix::fs::symlink;

use test_root::TestRoot;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Asserts exit code 3, and that nothing was done.
fn assert_invalid(root: &TestRoot, what: &str) {
    let (code, output) = root.run(&[]);
    assert_eq!(code, 3, "{what}: {output}");
    assert!(root.journal().is_empty(), "{what}: a command was run");
    assert!(
        root.tree().is_empty() || root.tree().len() <= 2,
        "{what}: {:?}",
        root.tree().keys()
    );
    let (code, output) = root.run(&["status"]);
    assert!(
        code == 3 && output.contains("ready        no"),
        "{what}: {output}"
    );
}

/// Invalid contents of `vpn.json`.
const INVALID: &[&str] = &[
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
    r#"{"provider":"nordvpn","image":"v"}"#,
    r#"{"provider":"nordvpn","image":"nordvpn-"}"#,
    r#"{"provider":"nordvpn","image":"nordvpn-1@"}"#,
    r#"{"provider":"nordvpn","image":"nordvpn-1@sha256:00"}"#,
    r#"{"provider":"nordvpn","image":"nordvpn-1@sha256:00@x"}"#,
    r#"{"provider":"nordvpn","image":"nordvpn-1 --privileged"}"#,
    r#"{"provider":"nordvpn","image":"other-1","app":"nordvpn"}"#,
    r#"{"provider":"nordvpn","image":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#,
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
    let upper = format!(r#"{{"provider":"nordvpn","image":"nordvpn-1@sha256:{digest}"}}"#);
    let mut texts: Vec<String> = INVALID.iter().map(ToString::to_string).collect();
    texts.extend([large, upper]);
    for more in [
        r#""interface":"lo""#,
        r#""interface":"a/b""#,
        r#""interface":"""#,
        r#""interface":"-x""#,
        r#""interface":"0123456789abcdef""#,
        r#""address":"10.78.0.1""#,
        r#""address":"10.78.0.1/16""#,
        r#""address":"10.77.0.1/33""#,
        r#""address":"10.77.0.1/""#,
        r#""address":"10.77.0.1/16/16""#,
        r#""address":"10.77.0.1, fd00::1/64""#,
        r#""mtu":100"#,
        r#""mtu":9000"#,
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
    let root = TestRoot::new("");
    for text in texts {
        root.write("etc/edge-ai/vpn.json", &text);
        assert_invalid(&root, &text[..text.len().min(120)]);
    }
}

#[test]
fn without_file_and_token_there_is_no_vpn() {
    let root = TestRoot::new("");
    fs::remove_file(root.path("etc/edge-ai/vpn.json")).unwrap();
    assert_invalid(&root, "a token without vpn.json");
    fs::remove_file(root.path("etc/edge-ai/claim/nordvpn-token")).unwrap();
    assert_eq!(root.run(&[]), (0, String::new()));
    assert_eq!(root.run(&["status"]).0, 0);
    for special in ["/dev/zero", "/nonexistent", "/tmp"] {
        symlink(special, root.path("etc/edge-ai/vpn.json")).unwrap();
        assert_invalid(&root, special);
        fs::remove_file(root.path("etc/edge-ai/vpn.json")).unwrap();
    }
}

#[test]
fn an_invalid_policy_json_keeps_sshd_from_starting() {
    let root = TestRoot::new(r#"{"provider":"none"}"#);
    for text in [
        "",
        "{",
        r#"{"ssh":"console"}"#,
        r#"{"ssh":true}"#,
        r#"{"sandbox":false,"shh":"vpn"}"#,
    ] {
        root.write("etc/edge-ai/container-config/policy.json", text);
        assert_eq!(root.run(&[]).0, 3, "{text}");
        assert_eq!(root.run(&["sshd"]).0, 3, "{text}: sshd must not start");
    }
    root.write(
        "etc/edge-ai/container-config/policy.json",
        r#"{"sandbox":true}"#,
    );
    assert_eq!(root.run(&["sshd"]).0, 0);
    assert!(
        !root
            .read("run/edge-vpn/sshd.conf")
            .contains("ListenAddress")
    );
    // Reserved for a VPN that is not configured: an error that names the console.
    root.write(
        "etc/edge-ai/container-config/policy.json",
        r#"{"sandbox":true,"ssh":"vpn"}"#,
    );
    assert_eq!(root.run(&["sshd"]).0, 0);
    assert!(
        root.read("run/edge-vpn/sshd.conf")
            .contains("ListenAddress 127.0.0.1\nMatch")
    );
    let (code, output) = root.run(&[]);
    assert!(code == 3 && output.contains("console"), "{output}");
}

#[test]
fn a_second_process_is_rejected() {
    let root = TestRoot::new(r#"{"provider":"none"}"#);
    fs::create_dir_all(root.path("run/edge-vpn")).unwrap();
    let lock = fs::File::open(root.path("run/edge-vpn")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (code, output) = root.run(&[]);
    assert!(code == 1 && output.contains("another edge-vpn"), "{output}");
}
