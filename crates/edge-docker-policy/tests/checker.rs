//! The checker itself finds what is harmful.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "checker/mod.rs"]
mod checker;

use checker::{api, create_body};
use serde_json::json;

#[test]
fn harmful_create_bodies_are_found() {
    let good = json!({
        "Image": "sha256:00", "Labels": { "edge.app": "hello", "edge.version": "v1",
            "edge.digest": "", "edge.signer": "", "edge.sandbox": "", "edge.image": "", "edge.run": "", "edge.pins": "" },
        "HostConfig": { "PidsLimit": 9, "SecurityOpt": ["no-new-privileges"] },
    });
    let verdict = |body: String| create_body(body.as_bytes(), |_, _| "sha256:00".into());
    verdict(good.to_string()).unwrap();
    assert!(create_body(good.to_string().as_bytes(), |_, _| "sha256:01".into()).is_err());
    let doubled = good.to_string().replacen('{', "{\"Image\":\"x\",", 1);
    assert!(verdict(doubled).is_err());
    for (field, value) in [
        ("Privileged", json!(true)),
        ("privileged", json!(true)),
        ("Binds", json!([])),
        ("MaskedPaths", json!([])),
        ("PidMode", json!("host")),
        ("NetworkMode", json!("host")),
        ("CapAdd", json!(["SYS_ADMIN"])),
        ("CapAdd", json!(["NET_RAW"])),
        ("CapDrop", json!([])),
        (
            "LogConfig",
            json!({ "Type": "json-file", "Config": { "tag": "{{pad}}" } }),
        ),
        ("CpusetCpus", json!("0-99999999999")),
        ("ExtraHosts", json!(["x:127.0.0.1"])),
        ("Devices", json!([{ "PathOnHost": "/dev/sda" }])),
        ("Mounts", json!([{ "Type": "bind", "Source": "/" }])),
        ("SecurityOpt", json!([])),
        ("PidsLimit", json!(-1)),
    ] {
        let mut bad = good.clone();
        bad["HostConfig"][field] = value;
        assert!(verdict(bad.to_string()).is_err(), "{field}");
    }
}

#[test]
fn harmful_requests_are_found() {
    for (method, uri, body) in [
        ("POST", "/v1.41/containers/create", "{}"),
        ("POST", "/v1.41/containers/%63reate", ""),
        ("POST", "/v1.41/x/../containers/create?name=a", ""),
        ("POST", "/containers/a/start", r#"{"Privileged":true}"#),
        ("POST", "/v1.41/containers/a/exec", "{}"),
        ("PUT", "/v1.41/containers/a/archive?path=/", ""),
        ("GET", "/v1.41/containers/a/attach/ws", ""),
        ("DELETE", "/v1.41/plugins/a", ""),
    ] {
        let verdict = api::without_ticket(method, uri, body.as_bytes());
        assert!(verdict.is_err(), "{method} {uri}");
    }
    assert_eq!(
        api::without_ticket("POST", "/v1.41/containers/a/stop?t=1", b""),
        Ok(())
    );
}
