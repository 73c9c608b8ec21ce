//! Lines in data files, each with the rule that must fire.

use std::io::Write;

use serde_json::json;

use crate::checker;
use crate::test_root::{REPOSITORY, SANDBOX_ID, TestRoot, image_id};

/// Splits as a shell does, with both kinds of quotes.
pub fn split(line: &str) -> Vec<String> {
    let (mut arguments, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                open = true;
            }
            (None, ' ') => {
                if open || !word.is_empty() {
                    arguments.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        arguments.push(word);
    }
    let name = |word: String| {
        let image = |app: &str| format!("{REPOSITORY}:{app}-v1");
        word.replace("@H", &image("hello"))
            .replace("@V", &image("vision"))
            .replace("@N", &image("net"))
            .replace("@S", "sandbox/toy")
    };
    arguments.into_iter().map(name).collect()
}

/// Containers: `mine` and `toybox` are edge-docker's, `alien` is not, `stale`
/// has lost its proof, `forged` has another image than its label says.
pub fn containers(test_root: &TestRoot) {
    let config = test_root.sign("hello", &[]);
    let tag = test_root.path("/data/config/edge-docker/tags/hello-v1");
    let digest = std::fs::read_to_string(tag).unwrap();
    let container = |image: &str, labels| json!({ "Image": image, "Config": { "Labels": labels } });
    let signed = |digest: &str| json!({ "edge.app": "hello", "edge.digest": digest });
    let all = [
        ("mine", container(config.as_str(), signed(&digest))),
        (
            "toybox",
            container(SANDBOX_ID, json!({ "edge.sandbox": "toy" })),
        ),
        ("alien", container(config.as_str(), json!({}))),
        (
            "stale",
            container(
                config.as_str(),
                signed(&format!("sha256:{}", "0".repeat(64))),
            ),
        ),
        ("forged", container(SANDBOX_ID, signed(&digest))),
    ];
    for (number, (name, mut found)) in all.into_iter().enumerate() {
        found["Id"] = json!(format!("{number}d").repeat(32));
        found["Name"] = json!(format!("/{name}"));
        found["HostConfig"] = json!({ "RestartPolicy": { "Name": "no" }, "AutoRemove": false });
        found["State"] = json!({ "Running": true, "Restarting": false, "ExitCode": 0,
            "OOMKilled": false, "Error": "" });
        test_root.recorder.container(name, found);
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
}

#[test]
fn hostile_lines_are_refused_by_the_rule_that_is_named() {
    let test_root = TestRoot::new();
    containers(&test_root);
    let (mut count, mut wrong) = (0, String::new());
    for line in lines(include_str!("../corpus/hostile.txt")) {
        let (rule, typed) = line.split_once(" | ").unwrap_or_else(|| panic!("{line}"));
        let typed = split(typed);
        let typed: Vec<_> = typed.iter().map(String::as_str).collect();
        let outcome = test_root.run_line(&typed);
        let refused = outcome.code == 125 && outcome.requests.is_empty();
        if !refused || !outcome.message.contains(rule) {
            wrong += &format!("{line}\n  {}: {}\n", outcome.code, outcome.message);
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count >= 540, "only {count} hostile lines");
    writeln!(std::io::stdout(), "{count} hostile lines, 0 wrong").unwrap();
}

#[test]
fn benign_lines_do_what_they_say() {
    let test_root = TestRoot::new();
    containers(&test_root);
    let (mut count, mut wrong) = (0, String::new());
    for line in lines(include_str!("../corpus/benign.txt")) {
        let typed = split(line);
        let typed: Vec<_> = typed.iter().map(String::as_str).collect();
        let outcome = test_root.run_line(&typed);
        let creates = ["run", "create"].contains(&typed[0])
            || (typed[0] == "container" && ["run", "create"].contains(&typed[1]));
        let created = outcome.created();
        let verdicts: Result<Vec<_>, _> = created
            .iter()
            .map(|c| checker::create_body(&c.body, image_id))
            .collect();
        let good = outcome.code == 0 && (created.len() == 1) == creates && verdicts.is_ok();
        if !good {
            wrong += &format!(
                "{line}\n  {} {verdicts:?}: {}\n",
                outcome.code, outcome.message
            );
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count >= 210, "only {count} benign lines");
    writeln!(std::io::stdout(), "{count} benign lines, 0 wrong").unwrap();
}

#[test]
fn production_runs_no_sandbox() {
    let test_root = TestRoot::new();
    let policy = test_root.path("/etc/edge-ai/container-config/policy.json");
    std::fs::write(
        policy,
        r#"{"sandbox":false,"run":"any","engineer":"debug"}"#,
    )
    .unwrap();
    for line in [
        "run @S",
        "create @S",
        "load",
        "build -t sandbox/a -",
        "tag sandbox/toy sandbox/b",
    ] {
        let typed = split(line);
        let typed: Vec<_> = typed.iter().map(String::as_str).collect();
        let outcome = test_root.run_line(&typed);
        assert_eq!(outcome.code, 125, "{line}: {}", outcome.message);
        assert!(
            outcome.message.contains("signed containers only"),
            "{line}: {}",
            outcome.message
        );
        assert!(outcome.requests.is_empty());
    }
    assert_eq!(
        test_root.run_line(&["run", "r.io/edge-ai:hello-v1"]).code,
        0
    );
}

#[test]
fn anchors_that_are_damaged_run_nothing() {
    for (file, content) in [
        ("container-config/policy.json", &b"{"[..]),
        ("container-config/policy.json", br#"{"sandbox":true,"x":1}"#),
        ("container-config/container-signing.pub", b""),
        ("container-config/ecr-url.txt", b"\xff"),
        ("container-config/ecr-url.txt", b"alpine"),
        ("devices.json", b"{\"grants\":[]}"),
        ("devices.json", br#"{"grants":{"x":{"privileged":true}}}"#),
        (
            "devices.json",
            br#"{"grants":{"x":{"devices":["../sda"]}}}"#,
        ),
        (
            "devices.json",
            br#"{"grants":{"x":{"devices":["/dev/sda"]}}}"#,
        ),
    ] {
        let test_root = TestRoot::new();
        std::fs::write(
            test_root.directory().join("etc/edge-ai").join(file),
            content,
        )
        .unwrap();
        let outcome = test_root.run_line(&["run", "r.io/edge-ai:hello-v1"]);
        assert_ne!(outcome.code, 0, "{file}");
        assert!(outcome.created().is_empty(), "{file}");
    }
}
