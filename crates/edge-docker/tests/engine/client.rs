//! Comparison of permitted requests with those of docker's own client for the same
//! arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::corpus::{containers, split};
use crate::dice::Dice;
use crate::generated::spell;
use crate::test_root::TestRoot;

/// Words that docker does not have, or that its client reads from its own
/// machine, or that ask it to stay attached.
fn comparable(line: &[String]) -> bool {
    let ours = [
        "--grant",
        "--allow-downgrade",
        "--env-file",
        // Docker's client refuses it for this version of the API; compared below.
        "--health-start-interval",
        "-d=false",
        "--detach=false",
        "-a",
    ];
    !line.iter().any(|w| {
        ours.iter()
            .any(|o| w == o || w.starts_with(&format!("{o}=")))
    })
}

/// What the real client sends for `line`, detached.
fn theirs(test_root: &TestRoot, line: &[String]) -> Option<Value> {
    test_root.recorder.take();
    let output = Command::new("docker")
        .arg("--host")
        .arg(format!(
            "unix://{}",
            test_root.path("/run/docker.sock").display()
        ))
        .args(["run", "-d"])
        .args(&line[1..])
        .env("DOCKER_CONFIG", test_root.directory().join("none"))
        .output()
        .expect("the docker client is missing: apt-get install docker.io");
    let requests = test_root.recorder.take();
    let create = requests
        .iter()
        .find(|a| a.target.contains("/containers/create"));
    let body = create.map(|c| serde_json::from_slice(&c.body).unwrap());
    if body.is_none() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line:?}: no create: {said}");
    }
    body
}

/// Nothing, zero, false and empty are the same to the engine.
fn lean(value: &Value) -> Option<Value> {
    let empty = match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if empty {
        return None;
    }
    match value {
        Value::Array(list) if list.is_empty() => None,
        Value::Object(fields) => {
            let kept: serde_json::Map<_, _> = fields
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), lean(v)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => Some(list.iter().map(|v| lean(v).unwrap_or(json!({}))).collect()),
        other => Some(other.clone()),
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn fields(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// By target: what is mounted there, however it was asked for.
fn mounts(host: &Value, sources: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut mounts = BTreeMap::new();
    for mount in list(&host["Mounts"]) {
        let text = |key: &str| mount[key].as_str().unwrap_or_default().to_string();
        let named = sources.get(&text("Source")).cloned();
        let source = named.unwrap_or(text("Source"));
        let what = match text("Type").as_str() {
            "tmpfs" => {
                let options = &mount["TmpfsOptions"];
                let size = options["SizeBytes"].as_i64().map(|n| format!("size={n}"));
                let mode = options["Mode"].as_u64().map(|m| format!("mode={m:o}"));
                let both: Vec<_> = size.into_iter().chain(mode).collect();
                format!("tmpfs{}", both.join(","))
            }
            _ => format!("{source} {}", mount["ReadOnly"] == true),
        };
        mounts.insert(text("Target"), what);
    }
    for bind in list(&host["Binds"]) {
        let parts: Vec<_> = bind.as_str().unwrap().split(':').collect();
        let read_only = parts.get(2) == Some(&"ro");
        let source = parts[0].trim_end_matches('/');
        mounts.insert(parts[1].into(), format!("{source} {read_only}"));
    }
    for (target, options) in fields(&host["Tmpfs"]) {
        let options = options.as_str().unwrap_or_default();
        let options: Vec<_> = options.split(',').map(tmpfs_option).collect();
        mounts.insert(target, format!("tmpfs{}", options.join(",")));
    }
    mounts
}

fn capabilities(value: &Value) -> BTreeSet<String> {
    let name = |v: &Value| v.as_str().unwrap().to_uppercase();
    let plain = |v: &Value| name(v).trim_start_matches("CAP_").to_string();
    list(value).iter().map(plain).collect()
}

/// An option of a tmpfs with its number, however it was spelled.
fn tmpfs_option(option: &str) -> String {
    match option.split_once('=') {
        Some(("mode", mode)) => format!("mode={}", mode.trim_start_matches('0')),
        Some(("size", size)) => {
            let (number, unit) = size.split_at(size.find(['k', 'm', 'g']).unwrap_or(size.len()));
            let shift = ["", "k", "m", "g"].iter().position(|u| *u == unit).unwrap();
            let bytes =
                number.parse::<f64>().unwrap() * 1024_f64.powi(i32::try_from(shift).unwrap());
            format!("size={bytes}")
        }
        _ => option.into(),
    }
}

/// Default capabilities of docker's engine, and those that remain.
const DOCKER: &str = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP \
    NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE";
const NARROWED: &str = "NET_RAW MKNOD SETFCAP AUDIT_WRITE SYS_CHROOT";

/// Capabilities that the engine gives for a body, less those that are not given without
/// being asked for.
fn effective(host: &Value) -> BTreeSet<String> {
    let (add, drop) = (
        capabilities(&host["CapAdd"]),
        capabilities(&host["CapDrop"]),
    );
    let words = |text: &str| {
        text.split_whitespace()
            .map(String::from)
            .collect::<BTreeSet<_>>()
    };
    let narrowed = words(NARROWED);
    let kept = |c: &String| !drop.contains(c) && !drop.contains("ALL") && !narrowed.contains(c);
    words(DOCKER).into_iter().filter(kept).chain(add).collect()
}

/// The rest of the host's half, without what is compared apart, imposed on all
/// (no new privileges, a limit of processes), or the engine's own default.
fn rest(host: &Value) -> Value {
    let mut rest = fields(&lean(host).unwrap_or_default());
    for key in [
        "Mounts",
        "Binds",
        "Tmpfs",
        "CapAdd",
        "CapDrop",
        "ConsoleSize",
        "MemorySwappiness",
        "SecurityOpt",
    ] {
        rest.remove(key);
    }
    let defaults = [
        ("PidsLimit", json!(1024)),
        ("NetworkMode", json!("default")),
        ("NetworkMode", json!("bridge")),
        ("RestartPolicy", json!({ "Name": "no" })),
    ];
    for (key, value) in defaults {
        if rest.get(key) == Some(&value) {
            rest.remove(key);
        }
    }
    // Docker's client shuffles limits, too.
    if let Some(limits) = rest.get_mut("Ulimits").and_then(Value::as_array_mut) {
        limits.sort_by_key(|limit| limit["Name"].to_string());
    }
    if let Some(log) = rest.get_mut("LogConfig").and_then(Value::as_object_mut) {
        log.entry("Type").or_insert(json!("json-file"));
    }
    Value::Object(rest)
}

/// A body in a form in which both can be compared.
fn meaning(body: &Value, sources: &BTreeMap<String, String>) -> Value {
    let host = &body["HostConfig"];
    let mut top = fields(&lean(body).unwrap());
    for key in ["Image", "HostConfig", "NetworkingConfig"] {
        top.remove(key);
    }
    // Docker's client shuffles variables (a map in between); of one name the last
    // counts.
    let variables = list(&top.remove("Env").unwrap_or_default());
    let pair = |v: &Value| {
        let (name, value) = v.as_str()?.split_once('=')?;
        Some((name.to_string(), value.to_string()))
    };
    let variables: BTreeMap<_, _> = variables.iter().filter_map(pair).collect();
    let mut labels = fields(&top.remove("Labels").unwrap_or_default());
    labels.retain(|name, _| !name.starts_with("edge."));
    let networks = fields(&body["NetworkingConfig"]["EndpointsConfig"]);
    let aliases = networks.into_iter().map(|(n, o)| (n, o["Aliases"].clone()));
    let aliases: BTreeMap<_, _> = aliases.filter(|(_, a)| !list(a).is_empty()).collect();
    json!({
        "top": top,
        "variables": variables,
        "labels": labels,
        "host": rest(host),
        "mounts": mounts(host, sources),
        "capabilities": effective(host),
        "aliases": aliases,
    })
}

/// What our pins stand for.
fn sources(test_root: &TestRoot) -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    let Ok(records) = fs::read_dir(test_root.path("/data/config/edge-docker/pins")) else {
        return sources;
    };
    for record in records.map(|r| r.unwrap().path()) {
        let key = record.file_stem().unwrap().to_string_lossy().into_owned();
        let record: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        let directory = record["folder"].as_str().unwrap();
        for (number, below) in record["below"].as_array().unwrap().iter().enumerate() {
            let path = format!("{directory}/{}", below.as_str().unwrap());
            let pin = format!("/run/edge-docker/pins/{key}/{number}");
            sources.insert(pin, path.trim_end_matches('/').into());
        }
    }
    sources
}

/// Whether `line` is allowed; if so, both clients mean the same.
fn compare(test_root: &TestRoot, line: &[String]) -> bool {
    let mut typed = vec!["run", "-d"];
    typed.extend(line[1..].iter().map(String::as_str));
    let outcome = test_root.run_line(&typed);
    let created = outcome.created();
    let Some(ours) = created.first() else {
        return false;
    };
    let ours: Value = serde_json::from_slice(&ours.body).unwrap();
    let theirs = theirs(test_root, line).unwrap_or_else(|| panic!("docker refuses {line:?}"));
    let (ours, theirs) = (
        meaning(&ours, &sources(test_root)),
        meaning(&theirs, &BTreeMap::new()),
    );
    assert_eq!(ours, theirs, "{line:?}");
    true
}

#[test]
fn allowed_lines_mean_what_the_real_client_means() {
    let test_root = TestRoot::new();
    containers(&test_root);
    let corpus = include_str!("../corpus/benign.txt").lines();
    let lines = corpus.filter(|l| l.starts_with("run ")).map(split);
    let mut count = 0;
    for line in lines.filter(|l| comparable(l)) {
        assert!(compare(&test_root, &line), "{line:?} is not allowed");
        count += 1;
    }
    let mut dice = Dice::new(0xd1ce);
    while count < 250 {
        let mut line = vec!["run".to_string()];
        for _ in 0..=dice.below(6) {
            spell(&mut dice, true, &mut line);
        }
        line.extend(split("@V sh -c x"));
        if comparable(&line) && compare(&test_root, &line) {
            count += 1;
        }
    }
    writeln!(
        std::io::stdout(),
        "{count} lines compared with docker's client"
    )
    .unwrap();
}

/// The only request of another version of the API: as docker's client sends it.
#[test]
fn a_start_interval_is_sent_to_engines_that_know_it() {
    let line = split("run --health-cmd true --health-start-interval 1500ms @H sleep 9");
    let sent = |minor| {
        let test_root = TestRoot::new();
        test_root.recorder.set_minor(minor);
        let typed: Vec<_> = ["run", "-d"]
            .into_iter()
            .chain(line[1..].iter().map(|w| &w[..]))
            .collect();
        let outcome = test_root.run_line(&typed);
        let created = outcome.created()[0].clone();
        let body: Value = serde_json::from_slice(&created.body).unwrap();
        (created.target, body, theirs(&test_root, &line))
    };
    for minor in [44, 45, 50] {
        let (target, ours, theirs) = sent(minor);
        assert!(target.starts_with("/v1.44/"), "{target}");
        let none = BTreeMap::new();
        assert_eq!(
            meaning(&ours, &none),
            meaning(&theirs.unwrap(), &none),
            "{minor}"
        );
        assert_eq!(ours["Healthcheck"]["StartInterval"], 1_500_000_000);
    }
    for minor in [41, 43] {
        let (target, _, theirs) = sent(minor);
        assert!(
            target.starts_with("/v1.41/") && theirs.is_none(),
            "{target}"
        );
    }
}
