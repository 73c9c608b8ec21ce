//! edge-vpn with WireGuard between a device and its hub, and SSH through it. The
//! kernel's part is played by wireguard-go, so that it works on any kernel; all
//! else is real. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod place;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use place::{NAME, Testbed, good};
use serde_json::json;

#[test]
fn a_device_and_its_hub() {
    let testbed = Testbed::new();
    let mut sshd = testbed.start_sshd();
    before_the_hub_knows(&testbed);
    let key = through_the_vpn(&testbed);
    nothing_twice(&testbed);
    only_through_the_vpn(&testbed);
    unplugged(&testbed);
    deleted(&testbed, &key);
    wishes_that_are_wrong(&testbed, &key);
    wishes_that_are_right(&testbed);
    sshd.kill().unwrap();
    sshd.wait().unwrap();
}

fn before_the_hub_knows(testbed: &Testbed) {
    // In a range of IPv4 no address follows from the key.
    let (code, said) = testbed.vpn(&["--budget", "1"]);
    assert!(code == 3 && said.contains("no address"), "{said}");
    testbed.wish(&json!({ "address": "10.77.0.2" }));
    let (code, said) = testbed.vpn(&["--budget", "1"]);
    assert!(
        code == 4 && said.contains("does not know this device's key"),
        "{said}"
    );
    let (code, said) = testbed.vpn(&["status", "--json"]);
    assert!(code == 4 && said.contains("never"), "{said}");
    testbed.welcome();
}

fn through_the_vpn(testbed: &Testbed) -> String {
    let (code, said) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    testbed.until_ssh();
    assert_eq!(testbed.read("/data/config/wireguard/hostname"), NAME);
    assert_eq!(testbed.read("/data/config/wireguard/address"), "10.77.0.2");
    let path = testbed.device.path("/data/config/wireguard/private.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (code, said) = testbed.vpn(&["status"]);
    assert!(code == 0 && said.contains("ready        yes"), "{said}");
    let key = fs::read_to_string(path).unwrap();
    assert!(!said.contains(key.trim()), "{said}");
    key
}

fn nothing_twice(testbed: &Testbed) {
    let before = testbed.state();
    assert_eq!(testbed.vpn(&[]), (0, String::new()));
    assert_eq!(testbed.state(), before);
}

/// The cable's own address is closed; a neighbour who sends packets for the
/// VPN's address gets to sshd, and no further.
fn only_through_the_vpn(testbed: &Testbed) {
    let listening = testbed.sh("ss -Hltn 'sport = 22' | awk '{print $4}' | sort");
    assert_eq!(listening, "10.77.0.2:22\n127.0.0.1:22");
    let (code, said) = testbed.ssh("192.0.2.2");
    assert!(code != 0 && said.contains("Connection refused"), "{said}");
    good(
        &mut testbed
            .hub
            .sh("ip link set wghub down; ip route add 10.77.0.2 via 192.0.2.2"),
    );
    let (code, said) = testbed.ssh("10.77.0.2");
    assert!(code != 0 && said.contains("Permission denied"), "{said}");
    good(
        &mut testbed
            .hub
            .sh("ip route del 10.77.0.2 via 192.0.2.2; ip link set wghub up"),
    );
    testbed.until_ssh();
}

fn unplugged(testbed: &Testbed) {
    good(&mut testbed.hub.sh("ip link set hub0 down"));
    let (code, _) = testbed.ssh(NAME);
    assert_ne!(code, 0);
    good(&mut testbed.hub.sh("ip link set hub0 up"));
    testbed.until_ssh();
}

fn deleted(testbed: &Testbed, key: &str) {
    let before = testbed.state();
    testbed.sh("ip link del edge-vpn");
    let (code, said) = testbed.vpn(&["status"]);
    assert!(code != 0 && said.contains("edge-vpn"), "{said}");
    let (code, said) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    testbed.until_ssh();
    assert_eq!(
        testbed.read("/data/config/wireguard/private.key"),
        key.trim()
    );
    assert_eq!(testbed.state().0, before.0);
    // Half of it is not enough either.
    for harm in [
        "ip link set edge-vpn down",
        "ip address flush dev edge-vpn",
        "ip address add 10.77.9.9/16 dev edge-vpn",
        "wg set edge-vpn private-key /data/other",
        "wg set edge-vpn peer $(wg show edge-vpn peers) remove",
        "wg set edge-vpn peer $(wg pubkey </data/other) allowed-ips 10.77.0.0/16",
    ] {
        testbed.sh(&format!("umask 77; wg genkey >/data/other; {harm}"));
        let (code, said) = testbed.vpn(&[]);
        assert_eq!(code, 0, "{harm}: {said}");
        let after = testbed.state().1;
        assert!(
            after.contains("10.77.0.2/16") && !after.contains("10.77.9.9"),
            "{harm}: {after}"
        );
        assert_eq!(after.lines().count(), 3, "{harm}: {after}");
        testbed.until_ssh();
    }
}

fn wishes_that_are_wrong(testbed: &Testbed, key: &str) {
    let peer = |more: &str| {
        format!(
            r#"{{"address":"10.77.0.2","peers":[{{"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",{more}}}]}}"#
        )
    };
    let hub = format!(
        r#"{{"address":"10.77.0.2","peers":[{{"public_key":"{}","allowed_ips":["10.77.0.9/32"]}}]}}"#,
        testbed.hub.key()
    );
    for wish in [
        String::new(),
        "{".into(),
        "x".repeat(20_000),
        r#"{"address":"10.78.0.2"}"#.into(),
        r#"{"address":"10.77.0.2","private_key":"x"}"#.into(),
        peer(r#""allowed_ips":["0.0.0.0/0"]"#),
        peer(r#""allowed_ips":["192.0.2.0/24"]"#),
        peer(r#""allowed_ips":["10.77.0.0/16"]"#),
        peer(r#""endpoint":"--help:1""#),
        hub,
    ] {
        testbed.write("/data/config/vpn/desired.json", &wish);
        let config = testbed.read("/etc/edge-ai/vpn.json");
        // With an address of its own the device does not need the shadow's.
        let own = config.replacen('{', r#"{"address":"10.77.0.2","#, 1);
        testbed.write("/etc/edge-ai/vpn.json", &own);
        let (code, said) = testbed.vpn(&[]);
        assert!(
            code == 3 && said.contains("desired.vpn of the shadow is refused"),
            "{wish}: {said}"
        );
        testbed.until_ssh();
        testbed.write("/etc/edge-ai/vpn.json", &config);
    }
    assert_eq!(
        testbed.read("/data/config/wireguard/private.key"),
        key.trim()
    );
    // An image that does not let the shadow change anything.
    let config = testbed.read("/etc/edge-ai/vpn.json");
    let strict = config.replace(r#""peers_from_shadow":true"#, r#""address":"10.77.0.2""#);
    testbed.write("/etc/edge-ai/vpn.json", &strict);
    testbed.wish(&json!({ "address": "10.77.0.3" }));
    let (code, said) = testbed.vpn(&[]);
    assert!(
        code == 3 && said.contains("does not let the shadow"),
        "{said}"
    );
    testbed.until_ssh();
    testbed.write("/etc/edge-ai/vpn.json", &config);
}

fn wishes_that_are_right(testbed: &Testbed) {
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    testbed.wish(&json!({ "address": "10.77.0.2", "peers": [
        { "public_key": other, "allowed_ips": ["10.77.5.0/24"] },
        { "public_key": testbed.hub.key(), "endpoint": "192.0.2.1:51820" }] }));
    let (code, said) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    let dump = testbed.sh("wg show edge-vpn allowed-ips");
    assert!(dump.contains(&format!("{other}\t10.77.5.0/24")), "{dump}");
    testbed.until_ssh();
    testbed.wish(&json!({ "address": "10.77.0.2" }));
    assert_eq!(testbed.vpn(&[]).0, 0);
    assert_eq!(testbed.sh("wg show edge-vpn peers"), testbed.hub.key());
    let mut out = std::io::stdout();
    writeln!(
        out,
        "SSH through the VPN, unplugged, deleted, harmed: healed"
    )
    .unwrap();
}
