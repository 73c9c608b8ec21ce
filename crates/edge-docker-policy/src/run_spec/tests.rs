use super::*;

fn full() -> RunSpec {
    let mut spec = RunSpec::new("hello");
    spec.restart = "unless-stopped".into();
    spec.ports = vec!["8080:80/tcp".into()];
    spec.environment = [("THING".into(), "at {thing} {\"a\":1}".into())].into();
    spec.volumes = vec![SpecVolume {
        source: "logs".into(),
        target: "/var/log".into(),
        read_only: true,
    }];
    spec.mem_limit = 64 << 20;
    spec.cpus = 1_500_000_000;
    spec.entrypoint = Some(vec!["/bin/sh".into(), "-c".into()]);
    spec.command = vec!["exec hello".into()];
    spec.healthcheck = Some(Healthcheck {
        test: vec!["CMD".into(), "true".into()],
        interval: 1500,
        ..Healthcheck::default()
    });
    spec
}

#[test]
fn one_text_stands_for_one_specification() {
    let bytes = full().to_bytes().unwrap();
    assert_eq!(RunSpec::parse(&bytes).unwrap(), full());
    let text = String::from_utf8(bytes).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    // serde_json's map sorts its keys.
    assert_eq!(value.to_string(), text);
    for other in [
        text.replace("\"v\":1", "\"v\":2"),
        text.replace("\"v\":1", "\"v\":1,\"w\":1"),
        text.replace("\"v\":1", "\"v\": 1"),
        text.replace("\"v\":1", "\"user\":\"\",\"v\":1"),
        text.replace("\"v\":1", "\"unit\":null,\"v\":1"),
        text.replace("67108864", "67108864.0"),
        text.replace(":1500,", ":1.5e3,"),
        text.replace("\"v\":1", "\"v\":1,\"v\":1"),
        text.replace("hello\"", "hell\\u006f\""),
        format!("{text}\n"),
        text[..text.len() - 1].into(),
        String::new(),
        "[]".into(),
    ] {
        assert!(RunSpec::parse(other.as_bytes()).is_err(), "{other}");
    }
    assert_eq!(
        String::from_utf8(RunSpec::new("a").to_bytes().unwrap()).unwrap(),
        r#"{"app":"a","v":1}"#
    );
}

#[test]
fn the_owner_of_the_data_is_the_app_or_not_stated() {
    let mut spec = RunSpec::new("a");
    spec.storage_owner = StorageOwner::App;
    let text = r#"{"app":"a","storage_owner":"app","v":1}"#;
    assert_eq!(spec.to_bytes().unwrap(), text.as_bytes());
    assert_eq!(RunSpec::parse(text.as_bytes()).unwrap(), spec);
    for other in [
        r#""kept""#,
        r#""Kept""#,
        r#""App""#,
        r#""root""#,
        r#""""#,
        "0",
        "null",
        "true",
        r#"["app"]"#,
        r#"{"app":null}"#,
    ] {
        let text = text.replace(r#""app","v""#, &format!(r#"{other},"v""#));
        assert!(RunSpec::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_large_specification_is_refused() {
    let mut spec = RunSpec::new("a");
    spec.command = vec!["x".repeat(MAX_RUN_SPEC_BYTES)];
    assert!(spec.to_bytes().is_err());
    assert!(RunSpec::parse(&vec![b' '; MAX_RUN_SPEC_BYTES + 1]).is_err());
}

#[test]
fn a_request_holds_what_was_signed() {
    let names = DeviceNames {
        thing: Some("edge-ai-7".into()),
        serial: None,
    };
    let request = full().request("r.io/x:hello-v1", "/data/apps/hello", &names);
    let body = serde_json::to_value(&request.unwrap().body).unwrap();
    assert_eq!(body["Entrypoint"], serde_json::json!(["/bin/sh", "-c"]));
    assert_eq!(body["Cmd"], serde_json::json!(["exec hello"]));
    assert_eq!(body["Env"][0], "THING=at edge-ai-7 {\"a\":1}");
    assert_eq!(body["HostConfig"]["NanoCpus"], 1_500_000_000);
    assert_eq!(
        body["Healthcheck"]["Test"],
        serde_json::json!(["CMD", "true"])
    );
    assert_eq!(body["Healthcheck"]["Interval"], 1_500_000_000);
    let nameless = DeviceNames::default();
    assert!(full().request("x", "/data/apps/hello", &nameless).is_err());
}
