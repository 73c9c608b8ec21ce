//! edge-vpn with WireGuard between a device and its hub, and SSH through it. The
//! kernel's part is played by wireguard-go, so that it works on any kernel; all
//! else is real. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod place;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use place::{Bench, NAME, good};
use serde_json::json;

#[test]
fn a_device_and_its_hub() {
    let bench = Bench::new();
    let mut sshd = bench.start_sshd();
    before_the_hub_knows(&bench);
    let key = through_the_vpn(&bench);
    nothing_twice(&bench);
    only_through_the_vpn(&bench);
    unplugged(&bench);
    deleted(&bench, &key);
    wishes_that_are_wrong(&bench, &key);
    wishes_that_are_right(&bench);
    sshd.kill().unwrap();
    sshd.wait().unwrap();
}

fn before_the_hub_knows(bench: &Bench) {
    // In a range of IPv4 no address follows from the key.
    let (code, said) = bench.vpn(&["--budget", "1"]);
    assert!(code == 3 && said.contains("no address"), "{said}");
    bench.wish(&json!({ "address": "10.77.0.2" }));
    let (code, said) = bench.vpn(&["--budget", "1"]);
    assert!(
        code == 4 && said.contains("does not know this device's key"),
        "{said}"
    );
    let (code, said) = bench.vpn(&["status", "--json"]);
    assert!(code == 4 && said.contains("never"), "{said}");
    bench.welcome();
}

fn through_the_vpn(bench: &Bench) -> String {
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    bench.until_ssh();
    assert_eq!(bench.read("/data/config/wireguard/hostname"), NAME);
    assert_eq!(bench.read("/data/config/wireguard/address"), "10.77.0.2");
    let path = bench.device.path("/data/config/wireguard/private.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (code, said) = bench.vpn(&["status"]);
    assert!(code == 0 && said.contains("ready        yes"), "{said}");
    let key = fs::read_to_string(path).unwrap();
    assert!(!said.contains(key.trim()), "{said}");
    key
}

fn nothing_twice(bench: &Bench) {
    let before = bench.state();
    assert_eq!(bench.vpn(&[]), (0, String::new()));
    assert_eq!(bench.state(), before);
}

/// The cable's own address is closed; a neighbour who sends packets for the
/// VPN's address gets to sshd, and no further.
fn only_through_the_vpn(bench: &Bench) {
    let listening = bench.sh("ss -Hltn 'sport = 22' | awk '{print $4}' | sort");
    assert_eq!(listening, "10.77.0.2:22\n127.0.0.1:22");
    let (code, said) = bench.ssh("192.0.2.2");
    assert!(code != 0 && said.contains("Connection refused"), "{said}");
    good(
        &mut bench
            .hub
            .sh("ip link set wghub down; ip route add 10.77.0.2 via 192.0.2.2"),
    );
    let (code, said) = bench.ssh("10.77.0.2");
    assert!(code != 0 && said.contains("Permission denied"), "{said}");
    good(
        &mut bench
            .hub
            .sh("ip route del 10.77.0.2 via 192.0.2.2; ip link set wghub up"),
    );
    bench.until_ssh();
}

fn unplugged(bench: &Bench) {
    good(&mut bench.hub.sh("ip link set hub0 down"));
    let (code, _) = bench.ssh(NAME);
    assert_ne!(code, 0);
    good(&mut bench.hub.sh("ip link set hub0 up"));
    bench.until_ssh();
}

fn deleted(bench: &Bench, key: &str) {
    let before = bench.state();
    bench.sh("ip link del edge-vpn");
    let (code, said) = bench.vpn(&["status"]);
    assert!(code != 0 && said.contains("edge-vpn"), "{said}");
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    bench.until_ssh();
    assert_eq!(bench.read("/data/config/wireguard/private.key"), key.trim());
    assert_eq!(bench.state().0, before.0);
    // Half of it is not enough either.
    for harm in [
        "ip link set edge-vpn down",
        "ip address flush dev edge-vpn",
        "ip address add 10.77.9.9/16 dev edge-vpn",
        "wg set edge-vpn private-key /data/other",
        "wg set edge-vpn peer $(wg show edge-vpn peers) remove",
        "wg set edge-vpn peer $(wg pubkey </data/other) allowed-ips 10.77.0.0/16",
    ] {
        bench.sh(&format!("umask 77; wg genkey >/data/other; {harm}"));
        let (code, said) = bench.vpn(&[]);
        assert_eq!(code, 0, "{harm}: {said}");
        let after = bench.state().1;
        assert!(
            after.contains("10.77.0.2/16") && !after.contains("10.77.9.9"),
            "{harm}: {after}"
        );
        assert_eq!(after.lines().count(), 3, "{harm}: {after}");
        bench.until_ssh();
    }
}

fn wishes_that_are_wrong(bench: &Bench, key: &str) {
    let peer = |more: &str| {
        format!(
            r#"{{"address":"10.77.0.2","peers":[{{"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",{more}}}]}}"#
        )
    };
    let hub = format!(
        r#"{{"address":"10.77.0.2","peers":[{{"public_key":"{}","allowed_ips":["10.77.0.9/32"]}}]}}"#,
        bench.hub.key()
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
        bench.write("/data/config/vpn/desired.json", &wish);
        let config = bench.read("/etc/edge-ai/vpn.json");
        // With an address of its own the device does not need the shadow's.
        let own = config.replacen('{', r#"{"address":"10.77.0.2","#, 1);
        bench.write("/etc/edge-ai/vpn.json", &own);
        let (code, said) = bench.vpn(&[]);
        assert!(
            code == 3 && said.contains("desired.vpn of the shadow is refused"),
            "{wish}: {said}"
        );
        bench.until_ssh();
        bench.write("/etc/edge-ai/vpn.json", &config);
    }
    assert_eq!(bench.read("/data/config/wireguard/private.key"), key.trim());
    // An image that does not let the shadow change anything.
    let config = bench.read("/etc/edge-ai/vpn.json");
    let strict = config.replace(r#""peers_from_shadow":true"#, r#""address":"10.77.0.2""#);
    bench.write("/etc/edge-ai/vpn.json", &strict);
    bench.wish(&json!({ "address": "10.77.0.3" }));
    let (code, said) = bench.vpn(&[]);
    assert!(
        code == 3 && said.contains("does not let the shadow"),
        "{said}"
    );
    bench.until_ssh();
    bench.write("/etc/edge-ai/vpn.json", &config);
}

fn wishes_that_are_right(bench: &Bench) {
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    bench.wish(&json!({ "address": "10.77.0.2", "peers": [
        { "public_key": other, "allowed_ips": ["10.77.5.0/24"] },
        { "public_key": bench.hub.key(), "endpoint": "192.0.2.1:51820" }] }));
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    let dump = bench.sh("wg show edge-vpn allowed-ips");
    assert!(dump.contains(&format!("{other}\t10.77.5.0/24")), "{dump}");
    bench.until_ssh();
    bench.wish(&json!({ "address": "10.77.0.2" }));
    assert_eq!(bench.vpn(&[]).0, 0);
    assert_eq!(bench.sh("wg show edge-vpn peers"), bench.hub.key());
    let mut out = std::io::stdout();
    writeln!(
        out,
        "SSH through the VPN, unplugged, deleted, harmed: healed"
    )
    .unwrap();
}
