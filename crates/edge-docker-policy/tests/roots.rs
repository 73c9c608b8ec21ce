//! Grants of a board's table that amount to root on the device, and ordinary ones.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_docker_policy::grants::{Granted, Table};
use edge_docker_policy::identity::Identity;
use serde_json::{Value, json};

/// Grants, one a line: each amounts to root.
const ROOTS: &str = include_str!("roots/root.txt");
/// Grants, one a line: each is ordinary.
const ORDINARY: &str = include_str!("roots/ordinary.txt");
/// Default table of the image.
const SHIPPED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/devices.json"
));

fn lines(text: &str) -> Vec<&str> {
    let line = |line: &&str| !line.is_empty() && !line.starts_with('#');
    text.lines().filter(line).collect()
}

/// Reads a grant: JSON, or `d PATH` for a device, `m PATH` for a read-only mount, `w PATH`
/// for a writable one, `c NAME` for a capability, `s NAME` for a kernel parameter.
fn grant(line: &str) -> Value {
    let mount = |path: &str, read_only: bool| json!({ "mounts": [{ "source": path, "target": "/x", "read_only": read_only }] });
    match line.split_once(' ') {
        Some(("d", path)) => json!({ "devices": [path] }),
        Some(("m", path)) => mount(path, true),
        Some(("w", path)) => mount(path, false),
        Some(("c", name)) => json!({ "capabilities": [name] }),
        Some(("s", name)) => json!({ "sysctls": { name: "1" } }),
        _ => serde_json::from_str(line).unwrap(),
    }
}

fn parse(grants: Value) -> Result<Table, String> {
    let text = json!({ "grants": grants, "sandbox": ["x", "x:a"] }).to_string();
    Table::parse(text.as_bytes()).map_err(|error| format!("{error:#}"))
}

fn signed(root: &[&str]) -> Identity {
    Identity::Signed {
        app: "app".into(),
        version: "v1".into(),
        grants: vec!["x".into(), "x:a".into()],
        root: root.iter().map(ToString::to_string).collect(),
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

/// Returns the names that permit something, of a grant with and without an argument.
fn names(granted: &Granted) -> Vec<&str> {
    granted.names.iter().map(String::as_str).collect()
}

#[test]
fn grants_that_amount_to_root_say_so() {
    let roots = lines(ROOTS);
    assert!(roots.len() >= 150, "{} grants", roots.len());
    for line in roots {
        let mut value = grant(line);
        let error = parse(json!({ "x": value })).expect_err(line);
        assert!(
            error.contains("\"x\"") && error.contains("\"root\": true"),
            "{line}: {error}"
        );
        value["root"] = json!(false);
        parse(json!({ "x": value })).expect_err(line);

        // With the statement of the board, it still needs that of the signer.
        value["root"] = json!(true);
        let table = parse(json!({ "x": value })).unwrap_or_else(|why| panic!("{line}: {why}"));
        for identity in [
            signed(&[]),
            signed(&["y", "X", "x:", "x:b", ""]),
            Identity::Sandbox { app: "app".into() },
        ] {
            let granted = table.granted(&identity);
            assert_eq!(names(&granted), Vec::<&str>::new(), "{line}");
            assert_eq!(granted.withheld.len() + granted.unmapped.len(), 2, "{line}");
            assert_eq!(granted.withheld.len(), 1, "{line}");
        }
        let granted = table.granted(&signed(&["x", "x:a"]));
        assert_eq!(granted.names.len(), 1, "{line}");
        assert_eq!(granted.names, granted.root, "{line}");
    }
}

#[test]
fn ordinary_grants_need_no_statement() {
    let ordinary = lines(ORDINARY);
    assert!(ordinary.len() >= 80, "{} grants", ordinary.len());
    for line in ordinary {
        let table = parse(json!({ "x": grant(line) }));
        let table = table.unwrap_or_else(|why| panic!("{line}: {why}"));
        for identity in [signed(&[]), Identity::Sandbox { app: "app".into() }] {
            let granted = table.granted(&identity);
            assert_eq!(granted.names.len(), 1, "{line}");
            assert!(granted.root.is_empty() && granted.withheld.is_empty());
        }
    }
}

#[test]
fn root_holds_for_one_argument() {
    let table =
        parse(json!({ "x": { "devices": ["/dev/{arg}"], "arg": ["a", "sda"], "root": true } }));
    let identity = Identity::Signed {
        app: "app".into(),
        version: "v1".into(),
        grants: vec!["x:a".into(), "x:sda".into()],
        root: vec!["x:a".into(), "x".into()],
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let granted = table.unwrap().granted(&identity);
    assert_eq!(
        (names(&granted), granted.withheld.clone()),
        (vec!["x:a"], vec!["x:sda".to_string()])
    );
}

#[test]
fn a_directory_that_a_container_writes_holds_no_other_grant() {
    let disk = |source: &str, read_only: bool| json!({ "mounts": [{ "source": source, "target": "/x", "read_only": read_only }] });
    for (writable, below) in [
        ("/mnt/ssd", disk("/mnt/ssd/models", true)),
        ("/mnt/ssd", disk("/mnt/ssd/a/b", false)),
        ("/run/edge-bus/a", disk("/run/edge-bus/a/socket", true)),
        ("/var/run/edge-bus/a", disk("/run/edge-bus/a/socket", true)),
        ("/run/edge-bus/a", disk("/var/run/edge-bus/a/socket", true)),
        (
            "/media/{arg}",
            json!({ "mounts": [{ "source": "/media/usb/x", "target": "/x" }] }),
        ),
    ] {
        let mut first = disk(writable, false);
        if writable.contains("{arg}") {
            first["arg"] = json!(["sd", "usb"]);
        }
        let error = parse(json!({ "a": first, "b": below })).expect_err(writable);
        assert!(error.contains("exchange"), "{error}");
    }
    // One grant with both is no better.
    let both = json!({ "mounts": [
        { "source": "/mnt/ssd", "target": "/x", "read_only": false },
        { "source": "/mnt/ssd/models", "target": "/x/models" }] });
    parse(json!({ "a": both })).expect_err("both");
    for (first, second) in [
        (disk("/mnt/ssd", true), disk("/mnt/ssd/models", false)),
        (disk("/mnt/ssd", false), disk("/mnt/ssd", true)),
        (disk("/mnt/ssd", false), disk("/mnt/ssd-2", true)),
    ] {
        parse(json!({ "a": first, "b": second })).unwrap();
    }
}

#[test]
fn the_shipped_table_grants_no_root() {
    let table = Table::parse(SHIPPED.as_bytes()).unwrap();
    let value: Value = serde_json::from_str(SHIPPED).unwrap();
    let grants = value["grants"].as_object().unwrap();
    assert!(grants.values().all(|grant| grant["root"].is_null()));
    assert!(!grants.contains_key("dbus"));
    let identity = Identity::Signed {
        app: "app".into(),
        version: "v1".into(),
        grants: vec!["dbus".into(), "vpn".into()],
        root: vec!["dbus".into()],
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let granted = table.granted(&identity);
    assert_eq!(
        (names(&granted), granted.unmapped.clone()),
        (vec!["vpn"], vec!["dbus".to_string()])
    );
}
