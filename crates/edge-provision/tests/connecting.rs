//! Connecting on bad networks: several addresses, servers and proxies that are silent or
//! slow, a path that loses large packets. Each ends within the limit of a step.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{self, DeviceRoot, StrictEndpoint, example, program};
use serde_json::json;

/// Limit of a step, and time for the machine of the test.
const LIMIT: Duration = Duration::from_secs(10 + 8);

/// Listens and handles each connection in a thread, with its number.
fn server(handle: impl Fn(usize, TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let handle = handle.clone();
            std::thread::spawn(move || handle(number, stream));
        }
    });
    port
}

/// Runs one attempt; returns exit code, output and duration.
fn attempt(device: &DeviceRoot) -> (i32, String, Duration) {
    let begin = Instant::now();
    let (code, output) = device.provision(&["--budget", "1"]);
    (code, output, begin.elapsed())
}

fn forward(stream: TcpStream, port: u16) {
    let other = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
    std::thread::spawn(move || copy(&mut from, &mut to));
    let (mut from, mut to) = (other, stream);
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_connection_that_is_lost_before_tls_is_repeated() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    let target = cloud.endpoint.port();
    device.endpoint(server(move |number, stream| match number {
        // Keeps the connection open and never answers.
        0 => drop(copy(&mut &stream, &mut std::io::sink())),
        _ => forward(stream, target),
    }));
    let (code, output, time) = attempt(&device);
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(10), "{time:?}: {output}");
}

#[test]
fn a_flood_of_tls_records_ends_at_the_deadline() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    // A handshake message of 16 MB, in records of one byte that never end.
    let mut flood = b"\x16\x03\x03\x00\x04\x02\xff\xff\xff".to_vec();
    flood.extend(b"\x16\x03\x03\x00\x01\x00".repeat(500));
    device.endpoint(server(
        move |_, mut stream| {
            while stream.write_all(&flood).is_ok() {}
        },
    ));
    let (code, output, time) = attempt(&device);
    assert!(code == 5 || code == 7, "{code}: {output}");
    assert!(time < LIMIT, "{time:?}: {output}");
}

#[test]
fn a_server_that_sends_a_byte_a_second_ends_at_the_deadline() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.endpoint(server(|_, mut stream| {
        for byte in b"\x16\x03\x03\x3f\xff\x02\x00".iter().chain(&[0; 60]) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }));
    let (code, output, time) = attempt(&device);
    assert_eq!(
        (code, output.contains("TLS stopped after")),
        (5, true),
        "{output}"
    );
    assert!(time < LIMIT, "{time:?}");
}

#[test]
fn a_proxy_in_pieces_or_without_end_ends_at_the_deadline() {
    for (pause, message) in [(1000, "does not answer in time"), (0, "answer is too long")] {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let device = DeviceRoot::strict(&cloud, "s1");
        let proxy = server(move |_, mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(&[b'x'; 9000]) {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(pause));
            }
        });
        device.claim(&json!({
            "endpoint": "localhost", "port": cloud.endpoint.port(),
            "template_name": "edge-ai-fleet", "proxy": format!("http://127.0.0.1:{proxy}"),
        }));
        let (code, output, time) = attempt(&device);
        assert_eq!((code, output.contains(message)), (5, true), "{output}");
        assert!(time < LIMIT, "{time:?}");
    }
}

#[test]
fn a_broker_that_is_no_broker_is_an_error() {
    let port = server(|_, mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.endpoint(port);
    let (code, output, time) = attempt(&device);
    assert_eq!(code, 7, "{output}");
    assert!(time < Duration::from_secs(8), "{time:?}");
}

/// Runs a device in a network namespace of its own: `hosts` names the endpoint, which
/// listens on `address`; `prepare` is a shell script. Returns code, output and duration
/// of an attempt.
fn in_namespace(hosts: &[&str], address: &str, prepare: &str) -> (i32, String, Duration) {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.claim(&json!({
        "endpoint": "cloud.edge.test", "port": 8883, "template_name": "edge-ai-fleet",
    }));
    let lines: Vec<_> = hosts
        .iter()
        .map(|host| format!("{host} cloud.edge.test\n"))
        .collect();
    let hosts = device.path("etc/hosts");
    fs::write(&hosts, lines.concat()).unwrap();
    // docker0 has an IPv4 address in front of nothing.
    let script = format!(
        "set -e; ip link set lo up; mount --bind {hosts} /etc/hosts
         ip link add docker0 type veth peer name peer0; ip link set peer0 up
         ip addr add 172.17.0.1/16 dev docker0
         ip addr add 2001:db8::1/64 dev docker0 nodad; ip link set docker0 up
         for dead in 9 a; do ip neigh add 2001:db8::$dead lladdr 02:00:00:00:00:09 dev docker0; done
         {prepare}
         {sim} endpoint --dir {dir} --address {address} --port 8883 >{dir}/started &
         while ! [ -s {dir}/started ]; do sleep 0.05; done
         set +e; begin=$(date +%s%N); {at} {root} --budget 1; code=$?
         echo took=$((($(date +%s%N) - begin) / 1000000)); exit $code",
        hosts = hosts.display(),
        sim = program("edge-sim").display(),
        dir = cloud.path().display(),
        at = example("provision_at_root").display(),
        root = device.path("").display(),
    );
    let mut inside = Command::new("/usr/bin/unshare");
    inside.args([
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    let (code, output) = testbed::run(inside.args(["sh", "-c", &script]));
    let took = output.lines().find_map(|l| l.strip_prefix("took="));
    let took = took.unwrap_or_else(|| panic!("{output}")).parse().unwrap();
    (code, output, Duration::from_millis(took))
}

/// Runs an attempt whose name server answers the questions of `families` alone.
fn with_resolver(families: &str) -> (i32, String, Duration) {
    let files = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("resolv.conf", "nameserver 127.0.0.53\n"),
        ("nsswitch.conf", "hosts: dns\n"),
    ] {
        fs::write(files.path().join(name), text).unwrap();
    }
    let prepare = format!(
        "for f in resolv.conf nsswitch.conf; do mount --bind {files}/$f /etc/$f; done
         python3 {tests}/name_server.py 127.0.0.53 '{families}' &
         while ! ss -Hlun | grep -q 127.0.0.53:53; do sleep 0.05; done",
        files = files.path().display(),
        tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests"),
    );
    in_namespace(&[], "127.0.0.1", &prepare)
}

#[test]
fn a_question_for_ipv6_that_is_never_answered_costs_nothing() {
    let (code, output, time) = with_resolver("A=127.0.0.1");
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(3), "{time:?}: {output}");
}

#[test]
fn a_question_for_ipv4_that_is_never_answered_costs_nothing() {
    let (code, output, time) = with_resolver("AAAA=::ffff:127.0.0.1");
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(3), "{time:?}: {output}");
}

#[test]
fn a_silent_name_server_ends_at_the_deadline() {
    let (code, output, time) = with_resolver("");
    let named = output.contains("looking up cloud.edge.test: no answer in time");
    assert_eq!((code, named), (5, true), "{output}");
    assert!(time < LIMIT, "{time:?}: {output}");
}

#[test]
fn a_name_without_addresses_ends_at_once() {
    let (code, output, time) = with_resolver("none");
    let named = output.contains("looking up cloud.edge.test: failed to look");
    assert_eq!((code, named), (5, true), "{output}");
    assert!(time < Duration::from_secs(3), "{time:?}: {output}");
}

/// The device has IPv6 only, docker0 an IPv4 address without a route to the endpoint.
#[test]
fn ipv6_only_with_docker0_connects() {
    let (code, output, time) = in_namespace(&["192.0.2.1", "::1"], "::1", "");
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(5), "{time:?}: {output}");
}

#[test]
fn dead_first_addresses_cost_a_quarter_of_a_second() {
    let hosts = ["2001:db8::9", "2001:db8::a", "127.0.0.1"];
    let (code, output, time) = in_namespace(&hosts, "127.0.0.1", "");
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(5), "{time:?}: {output}");
}

#[test]
fn an_address_without_tls_does_not_hide_the_next_one() {
    let silent = "python3 -c 'import socket, time
s = socket.create_server((\"2001:db8::1\", 8883), family=socket.AF_INET6)
time.sleep(60)' &
         while ! ss -Hltn | grep -q 8883; do sleep 0.05; done";
    let hosts = ["2001:db8::1", "127.0.0.1"];
    let (code, output, time) = in_namespace(&hosts, "127.0.0.1", silent);
    assert_eq!(code, 0, "{output}");
    assert!(time < Duration::from_secs(12), "{time:?}: {output}");
}

/// Large packets of the server are lost without a word, as behind a tunnel whose router
/// drops ICMP.
#[test]
fn an_mtu_black_hole_is_named() {
    let lose = "iptables -A OUTPUT -p tcp --sport 8883 -m length --length 600:65535 -j DROP";
    let (code, output, time) = in_namespace(&["127.0.0.1"], "127.0.0.1", lose);
    assert_eq!((code, output.contains("MTU")), (5, true), "{output}");
    assert!(time < LIMIT, "{time:?}");
}
