use super::*;

#[test]
fn valid_values_are_parsed() {
    assert_eq!(bytes("m", "512m").unwrap(), 512 << 20);
    assert_eq!(bytes("m", "1GiB").unwrap(), 1 << 30);
    assert_eq!(duration("d", "1m30s").unwrap(), 90_000_000_000);
    assert_eq!(cpus("c", "1.5").unwrap(), 1_500_000_000);
    let udp = Port {
        host_ip: "127.0.0.1".into(),
        host_port: "8080".into(),
        container: "80/udp".into(),
    };
    assert_eq!(port("p", "127.0.0.1:8080:80/udp").unwrap(), udp);
    assert_eq!(port("p", "80").unwrap().container, "80/tcp");
    assert_eq!(port("p", "[::1]:1:2").unwrap().host_ip, "::1");
}

#[test]
fn invalid_values_are_refused() {
    for text in ["", "m", "-1", "1x", "9999999999g"] {
        assert!(bytes("m", text).is_err(), "{text}");
    }
    for text in ["/", "", "a", "/a/../b", "/a//b", "/a/.", "/a\n"] {
        assert!(inside("v", text).is_err(), "{text}");
    }
    for text in [
        "",
        "0",
        "1-2:1-2",
        "x:1:2",
        "1:2:3:4",
        "80/icmp",
        "+1:2",
        "host:80:80",
    ] {
        assert!(port("p", text).is_err(), "{text}");
    }
    for text in ["1", "s", "1d", "99999999999h"] {
        assert!(duration("d", text).is_err(), "{text}");
    }
    assert!(cpus("c", "NaN").is_err() && name("n", "-a").is_err() && name("n", "a/b").is_err());
}
