use super::*;
use crate::cli::users::{account, is_login_user, user};

#[test]
fn paths_in_the_container() {
    for text in ["/", "", "a", "/a/../b", "/a//b", "/a/.", "/a\n"] {
        assert!(inside("v", text).is_err(), "{text}");
    }
    assert!(inside("v", &format!("/{}", "a".repeat(4095))).is_err());
    for text in ["/proc", "/proc/self", "/proc/sys/kernel"] {
        assert!(target("v", text).is_err(), "{text}");
    }
    for text in ["/processes", "/sys/class/gpio", "/dev/shm"] {
        target("v", text).unwrap();
    }
    for text in ["/", "/srv", "/srv/", "/developer"] {
        workdir("w", text).unwrap();
    }
    for text in [
        "/proc/self/fd/7",
        "/proc/self/fd/8/",
        "/proc",
        "/sys",
        "/dev/fd/7",
        "//proc/self/fd/7",
        "/./proc/self/fd/7",
        "/a/../proc/self/fd/7",
        "",
    ] {
        assert!(workdir("w", text).is_err(), "{text}");
    }
}

#[test]
fn users_groups_and_signals() {
    for text in [
        "1000",
        "1000:1000",
        "nobody",
        "a.b:video",
        "0:0",
        "2147483647",
    ] {
        user("u", text).unwrap();
    }
    for text in [
        "",
        ":",
        "1:",
        ":1",
        "root;x",
        "4294967295",
        "-1",
        "+1",
        "1:2:3",
        "a b",
    ] {
        assert!(user("u", text).is_err(), "{text}");
    }
    for text in ["61000", "0061000", "61000:0", "0:61000", "app:061000"] {
        let refusal = user("u", text).unwrap_err().to_string();
        assert!(refusal.contains("the user `edge`"), "{refusal}");
        assert!(is_login_user(text), "{text}");
    }
    assert!(account("group-add", "61000").is_err());
    // Spellings of an image's USER, which the engine parses as numbers, too.
    assert!(is_login_user("+61000") && is_login_user(":61000"));
    for text in ["", "edge", "610000", "61001", "6100", "-61000", "0xee48"] {
        assert!(!is_login_user(text), "{text}");
    }
    for text in ["SIGINT", "int", "15", "RTMIN+3", "SIGRTMAX-1"] {
        signal("s", text).unwrap();
    }
    for text in ["", "0", "65", "SIG", "SIGFOO", "9 9", "RTMIN+99", "-9"] {
        assert!(signal("s", text).is_err(), "{text}");
    }
}

#[test]
fn hosts_outside_of_the_loopback_interface() {
    for (text, wanted) in [
        ("db:10.0.0.1", "db:10.0.0.1"),
        ("db=10.0.0.1", "db:10.0.0.1"),
        ("db:[fd00::1]", "db:fd00::1"),
        ("db:fd00::1", "db:fd00::1"),
        (
            "host.docker.internal:host-gateway",
            "host.docker.internal:host-gateway",
        ),
    ] {
        assert_eq!(extra_host("h", text).unwrap(), wanted);
    }
    for text in [
        "",
        "db",
        "db:",
        ":10.0.0.1",
        "db:127.0.0.1",
        "db:127.1.2.3",
        "db:::1",
        "db:0.0.0.0",
        "db:::ffff:127.0.0.1",
        "db:[::1]",
        "db:224.0.0.1",
        "db:127.1",
        "db:0x7f000001",
        "db:2130706433",
        "a b:10.0.0.1",
        "db:10.0.0.1 evil",
        "db\n1.2.3.4 x:10.0.0.1",
    ] {
        assert!(extra_host("h", text).is_err(), "{text:?}");
    }
}

#[test]
fn limits_names_and_variables() {
    assert_eq!(ulimit("memlock=-1").unwrap().hard, -1);
    for text in [
        "rtprio=99",
        "nofile",
        "nofile=2:1",
        "nofile=-1:1",
        "nofile=+1",
        "nofile=-2",
    ] {
        assert!(ulimit(text).is_err(), "{text}");
    }
    assert!(name("n", "-a").is_err() && name("n", "a/b").is_err());
    assert!(hostname("h", &"a".repeat(65)).is_err());
    for text in ["A=b", "spring.datasource.url=x", "A="] {
        environment(text).unwrap();
    }
    for text in ["A", "=b", "A B=c", "A\n=b", "A\u{7f}=b"] {
        assert!(environment(text).is_err(), "{text:?}");
    }
    assert_eq!(capability("c", "cap_net_admin").unwrap(), "NET_ADMIN");
    for text in [
        "",
        "NET",
        "CAP_",
        "CAP_CAP_CHOWN",
        "NET_ADMIN,SYS_ADMIN",
        "all ",
    ] {
        assert!(capability("c", text).is_err(), "{text}");
    }
}
