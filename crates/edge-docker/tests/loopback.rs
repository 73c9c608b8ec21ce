//! Raw frames of a container to services on the device's 127.0.0.1: they arrive where
//! the engine has set `route_localnet`, and do not with the rules of the image. Needs
//! root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::{Command, Stdio};

/// Device and container in namespaces of their own, as the engine connects them. The
/// arguments are the rules and the program that sends frames. What arrives at a service
/// is printed, with `end` behind each round.
const SCRIPT: &str = r#"
set -eu
rules=$1 send=$2
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
unshare --net sleep 1000 &
container=$!
trap 'kill $container' EXIT
while [ "$(readlink /proc/$container/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
ip link add veth0 type veth peer name eth0 netns $container
ip link set veth0 master docker0 up
nsenter --net --target $container ip address add 172.17.0.2/16 dev eth0
nsenter --net --target $container ip link set eth0 up
# What dockerd does without a userland proxy.
sysctl -qw net.ipv4.conf.docker0.route_localnet=1
mac=$(ip -o link show docker0 | sed 's/.*ether \([^ ]*\).*/\1/')
frame() { nsenter --net --target $container python3 "$send" eth0 "$mac" "$@"; }
round() {
	python3 -c '
import socket, sys
local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
local.bind(("0.0.0.0", 8000))
print("listens", flush=True)
while True:
    data, sender = local.recvfrom(100)
    text = data.decode()
    print(text, flush=True)
    if text == "end":
        break
' >/run/log &
	service=$!
	until grep -q listens /run/log; do sleep 0.01; done
	frame 172.17.0.2 127.0.0.1 8000 to-loopback
	frame 172.17.0.2 127.1.2.3 8000 to-another-loopback
	frame 127.0.0.1 172.17.0.1 8000 from-loopback
	# What stays: the device itself, and its address in the container's network.
	python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"own", ("127.0.0.1", 8000))'
	frame 172.17.0.2 172.17.0.1 8000 end
	wait $service
	cat /run/log
}
round
echo with the rules
/usr/sbin/nft -f "$rules"
# As the unit does at each start.
/usr/sbin/nft -f "$rules"
round
"#;

#[test]
fn frames_of_a_container_do_not_reach_the_loopback_addresses() {
    let source = env!("CARGO_MANIFEST_DIR");
    let rules = format!(
        "{source}/../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/loopback.nft"
    );
    let send = format!("{source}/tests/loopback.py");
    let output = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", SCRIPT, "sh", &rules, &send])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{output:?}");
    let (before, after) = text.split_once("with the rules").unwrap();
    let lines = |text: &str| {
        text.lines()
            .filter(|l| !l.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    // The kernel drops packets with such a source by itself, with or without rules.
    let before = lines(before);
    assert!(
        before.contains("to-loopback to-another-loopback"),
        "{before}"
    );
    assert!(before.ends_with("own end"), "{before}");
    assert_eq!(lines(after), "listens own end");
}
