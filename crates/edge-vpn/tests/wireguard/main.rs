//! edge-vpn with WireGuard between a device and its hub, and SSH through it. wireguard-go
//! replaces the kernel's WireGuard, so that the test runs on any kernel; all other
//! programs are the real ones. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod testbed;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::{NAME, Testbed, read_output};

#[test]
fn a_device_joins_its_hub_and_stays() {
    let testbed = Testbed::new();
    let mut sshd = testbed.start_sshd();
    not_ready_before_the_hub_knows_the_key(&testbed);
    let key = ready_once_the_hub_knows_the_key(&testbed);
    a_second_run_changes_nothing(&testbed);
    ssh_only_through_the_vpn(&testbed);
    an_unplugged_cable_is_survived(&testbed);
    a_damaged_interface_is_repaired(&testbed, &key);
    invalid_desired_state_is_not_applied(&testbed, &key);
    valid_desired_state_is_applied(&testbed);
    settings_of_a_configuration_of_wg_quick_are_accepted(&testbed);
    dead_names_do_not_keep_the_interface_down(&testbed);
    sshd.kill().unwrap();
    sshd.wait().unwrap();
}

fn not_ready_before_the_hub_knows_the_key(testbed: &Testbed) {
    // In a range of IPv4 no address is derived from the key.
    let (code, output) = testbed.vpn(&["--budget", "1"]);
    assert!(code == 3 && output.contains("no address"), "{output}");
    testbed.set_desired(&json!({ "address": "10.77.0.2" }));
    let (code, output) = testbed.vpn(&["--budget", "1"]);
    assert!(
        code == 4 && output.contains("does not know this device's key"),
        "{output}"
    );
    let (code, output) = testbed.vpn(&["status", "--json"]);
    assert!(code == 4 && output.contains("never"), "{output}");
    testbed.add_to_hub();
}

fn ready_once_the_hub_knows_the_key(testbed: &Testbed) -> String {
    let (code, output) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{output}");
    testbed.wait_for_ssh();
    assert_eq!(testbed.read("/data/config/wireguard/hostname"), NAME);
    assert_eq!(testbed.read("/data/config/wireguard/address"), "10.77.0.2");
    let path = testbed.device.path("/data/config/wireguard/private.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (code, output) = testbed.vpn(&["status"]);
    assert!(code == 0 && output.contains("ready        yes"), "{output}");
    let key = fs::read_to_string(path).unwrap();
    assert!(!output.contains(key.trim()), "{output}");
    key
}

fn a_second_run_changes_nothing(testbed: &Testbed) {
    let before = testbed.state();
    assert_eq!(testbed.vpn(&[]), (0, String::new()));
    assert_eq!(testbed.state(), before);
}

/// The address of the cable is closed. A neighbour who sends packets for the address in the
/// VPN reaches sshd and cannot log in.
fn ssh_only_through_the_vpn(testbed: &Testbed) {
    let listening = testbed.sh("ss -Hltn 'sport = 22' | awk '{print $4}' | sort");
    assert_eq!(listening, "10.77.0.2:22\n127.0.0.1:22");
    let (code, output) = testbed.ssh("192.0.2.2");
    assert!(
        code != 0 && output.contains("Connection refused"),
        "{output}"
    );
    read_output(
        &mut testbed
            .hub
            .sh("ip link set wghub down; ip route add 10.77.0.2 via 192.0.2.2"),
    );
    let (code, output) = testbed.ssh("10.77.0.2");
    assert!(
        code != 0 && output.contains("Permission denied"),
        "{output}"
    );
    read_output(
        &mut testbed
            .hub
            .sh("ip route del 10.77.0.2 via 192.0.2.2; ip link set wghub up"),
    );
    testbed.wait_for_ssh();
}

fn an_unplugged_cable_is_survived(testbed: &Testbed) {
    read_output(&mut testbed.hub.sh("ip link set hub0 down"));
    let (code, _) = testbed.ssh(NAME);
    assert_ne!(code, 0);
    read_output(&mut testbed.hub.sh("ip link set hub0 up"));
    testbed.wait_for_ssh();
}

fn a_damaged_interface_is_repaired(testbed: &Testbed, key: &str) {
    let before = testbed.state();
    testbed.sh("ip link del edge-vpn");
    let (code, output) = testbed.vpn(&["status"]);
    assert!(code != 0 && output.contains("edge-vpn"), "{output}");
    let (code, output) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{output}");
    testbed.wait_for_ssh();
    assert_eq!(
        testbed.read("/data/config/wireguard/private.key"),
        key.trim()
    );
    assert_eq!(testbed.state().0, before.0);
    // An interface that was changed is repaired too.
    for damage in [
        "ip link set edge-vpn down",
        "ip address flush dev edge-vpn",
        "ip address add 10.77.9.9/16 dev edge-vpn",
        "wg set edge-vpn private-key /data/other",
        "wg set edge-vpn peer $(wg show edge-vpn peers) remove",
        "wg set edge-vpn peer $(wg pubkey </data/other) allowed-ips 10.77.0.0/16",
    ] {
        testbed.sh(&format!("umask 77; wg genkey >/data/other; {damage}"));
        let (code, output) = testbed.vpn(&[]);
        assert_eq!(code, 0, "{damage}: {output}");
        let after = testbed.state().1;
        assert!(
            after.contains("10.77.0.2/16") && !after.contains("10.77.9.9"),
            "{damage}: {after}"
        );
        assert_eq!(after.lines().count(), 3, "{damage}: {after}");
        testbed.wait_for_ssh();
    }
}

/// Address with prefix, MTU and shared key; the key is on no command line and in no output.
fn settings_of_a_configuration_of_wg_quick_are_accepted(testbed: &Testbed) {
    let shared = testbed.sh("wg genpsk");
    let interface = json!({ "address": "10.77.0.2/16", "mtu": 1380 });
    testbed.configure(&interface, &json!({ "preshared_key": shared }));
    let key = testbed.read("/data/config/wireguard/public.key");
    let set = format!("wg set wghub peer {key} preshared-key");
    let share = format!("echo '{shared}' | {set} /dev/stdin");
    read_output(&mut testbed.hub.sh(&share));
    for _ in 0..2 {
        let (code, output) = testbed.vpn(&[]);
        assert!(code == 0 && !output.contains(&shared), "{output}");
        assert_eq!(
            testbed.sh("wg show edge-vpn preshared-keys | cut -f 2"),
            shared
        );
        assert!(testbed.sh("ip link show edge-vpn").contains("mtu 1380"));
    }
    testbed.wait_for_ssh();
    // Without the key in the configuration, it is removed.
    testbed.configure(&json!({}), &json!({}));
    read_output(&mut testbed.hub.sh(&format!("{set} /dev/null")));
    let (code, output) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{output}");
    let keys = testbed.sh("wg show edge-vpn preshared-keys | cut -f 2");
    assert_eq!(keys, "(none)");
    testbed.wait_for_ssh();
}

fn invalid_desired_state_is_not_applied(testbed: &Testbed, key: &str) {
    let peer = |more: &str| {
        format!(
            r#"{{"address":"10.77.0.2","peers":[{{"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",{more}}}]}}"#
        )
    };
    let hub = format!(
        r#"{{"address":"10.77.0.2","peers":[{{"public_key":"{}","allowed_ips":["10.77.0.9/32"]}}]}}"#,
        testbed.hub.key()
    );
    for desired in [
        String::new(),
        "{".into(),
        "x".repeat(20_000),
        r#"{"address":"10.78.0.2"}"#.into(),
        r#"{"address":"10.77.0.2","private_key":"x"}"#.into(),
        peer(r#""allowed_ips":["0.0.0.0/0"]"#),
        peer(r#""allowed_ips":["192.0.2.0/24"]"#),
        // Ranges of the hub, parts of them, and what contains them.
        peer(r#""allowed_ips":["10.77.0.0/16"]"#),
        peer(r#""allowed_ips":["10.77.0.0/17"]"#),
        peer(r#""allowed_ips":["10.77.5.0/24"]"#),
        peer(r#""allowed_ips":["10.77.200.0/24","10.77.0.1/32"]"#),
        peer(r#""endpoint":"--help:1""#),
        hub,
    ] {
        testbed.write("/data/config/vpn/desired.json", &desired);
        let config = testbed.read("/etc/edge-ai/vpn.json");
        // With an address in the image the device does not need that of the shadow.
        let own = config.replacen('{', r#"{"address":"10.77.0.2","#, 1);
        testbed.write("/etc/edge-ai/vpn.json", &own);
        let (code, output) = testbed.vpn(&[]);
        assert!(
            code == 3 && output.contains("desired.vpn of the shadow is not applied"),
            "{desired}: {output}"
        );
        testbed.wait_for_ssh();
        testbed.write("/etc/edge-ai/vpn.json", &config);
    }
    assert_eq!(
        testbed.read("/data/config/wireguard/private.key"),
        key.trim()
    );
    // An image that does not let the shadow change the VPN.
    let config = testbed.read("/etc/edge-ai/vpn.json");
    let strict = config.replace(r#""peers_from_shadow":true"#, r#""address":"10.77.0.2""#);
    testbed.write("/etc/edge-ai/vpn.json", &strict);
    testbed.set_desired(&json!({ "address": "10.77.0.3" }));
    let (code, output) = testbed.vpn(&[]);
    assert!(
        code == 3 && output.contains("does not let the shadow"),
        "{output}"
    );
    testbed.wait_for_ssh();
    testbed.write("/etc/edge-ai/vpn.json", &config);
}

fn valid_desired_state_is_applied(testbed: &Testbed) {
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    testbed.set_desired(&json!({ "address": "10.77.0.2", "peers": [
        { "public_key": other, "allowed_ips": ["10.77.200.0/24"] },
        { "public_key": testbed.hub.key(), "endpoint": "192.0.2.1:51820" }] }));
    let (code, output) = testbed.vpn(&[]);
    assert_eq!(code, 0, "{output}");
    let dump = testbed.sh("wg show edge-vpn allowed-ips");
    assert!(dump.contains(&format!("{other}\t10.77.200.0/24")), "{dump}");
    testbed.wait_for_ssh();
    testbed.set_desired(&json!({ "address": "10.77.0.2" }));
    assert_eq!(testbed.vpn(&[]).0, 0);
    assert_eq!(testbed.sh("wg show edge-vpn peers"), testbed.hub.key());
}

/// The hub has a name that is known, and 14 further peers have names that a silent name
/// server is asked for.
fn dead_names_do_not_keep_the_interface_down(testbed: &Testbed) {
    let _silent = testbed.hub.silent_name_server();
    testbed.write("/etc/resolv.conf", "nameserver 192.0.2.1\n");
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    // Each key ends in another of the characters that a key can end in.
    let peer = |n: usize| {
        let last = [
            "A", "E", "I", "M", "Q", "U", "Y", "c", "k", "o", "s", "w", "0", "4",
        ][n];
        let key = format!("{}{last}=", &key[..42]);
        json!({ "public_key": key, "endpoint": format!("dead-{n}.test:51820") })
    };
    let peers: Vec<_> = (0..14).map(peer).collect();
    testbed.set_desired(&json!({ "address": "10.77.0.2", "peers": peers }));
    testbed.sh("ip link del edge-vpn");
    let begun = Instant::now();
    let mut vpn = testbed.device.command("/data/edge-vpn").spawn().unwrap();
    let up =
        "ip -brief address show edge-vpn | grep -q 10.77.0.2 && wg show edge-vpn peers | grep -c .";
    let shown = loop {
        let output = testbed
            .device
            .command("/bin/sh")
            .args(["-c", up])
            .output()
            .unwrap();
        let peers = String::from_utf8_lossy(&output.stdout).into_owned();
        if peers.trim() == "15" {
            break begun.elapsed();
        }
        assert!(
            begun.elapsed().as_secs() < 60,
            "the interface is not up: {output:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    // A single dead name takes ten seconds.
    assert!(shown.as_secs() < 8, "up after {shown:?}");
    let status = vpn.wait().unwrap();
    assert_eq!(status.code(), Some(0), "the hub answers");
    assert!(begun.elapsed().as_secs() < 45, "{:?}", begun.elapsed());
    testbed.wait_for_ssh();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "SSH through the VPN after an unplugged cable, a deleted and a changed interface"
    )
    .unwrap();
}
