//! Release sets and revocation lists: made from `edge-app.yaml`, signed by two keys, and
//! verified as a device does.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;

use edge_signature::set::{SetKeys, VerifiedSet};
use edge_signature::{Credentials, Keys, Registry};
use edge_sim::testbed::Cloud;
use project::Project;
use project::engine::Engine;
use serde_json::{Value, json};

fn json_of(project: &Project, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--yes", "--json"]].concat();
    let (code, text, printed) = project.run(&arguments);
    assert_eq!(code, 0, "{arguments:?}: {printed}");
    serde_json::from_str(&text).unwrap()
}

/// Verifies a set with the keys of the local cloud, as a device does.
fn verify(cloud: &Cloud, set: &Value, threshold: usize) -> Result<VerifiedSet, String> {
    let keys = ["set_pub", "set_offline_pub"].map(|key| fs::read(cloud.value(key)).unwrap());
    let keys = Keys::from_pems(&keys).unwrap();
    let password = fs::read_to_string(cloud.value("registry_password_file")).unwrap();
    let credentials = Credentials {
        username: "AWS".into(),
        password: password.trim().into(),
    };
    let (repository, digest) = set["set"].as_str().unwrap().split_once('@').unwrap();
    let repository = repository.replace("cloud.edge.test", "localhost");
    let authority = fs::read(cloud.file("ca.pem")).unwrap();
    let registry = Registry::new(
        &repository.parse().unwrap(),
        Some(credentials),
        &[authority],
    );
    let registry = registry.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let trusted = SetKeys { keys, threshold };
    let verified = runtime.block_on(registry.set(&trusted, &digest.parse().unwrap()));
    verified
        .map(|(verified, _)| verified)
        .map_err(|error| error.to_string())
}

/// Project whose app `hello` is pushed as v1 and v2. The registry has the name by which the
/// laptop reaches it, since the v2 signature states it.
fn pushed<'a>(cloud: &'a Cloud, engine: &Engine) -> Project<'a> {
    let registry = cloud
        .value("registry")
        .replace("cloud.edge.test", "localhost");
    let mut project = Project::new(
        cloud,
        registry,
        &json!({ "jetson": { "thing": "edge-ai-1" } }),
    );
    engine.lend(&mut project);
    for version in ["v1", "v2"] {
        engine.image(&format!("{}:hello-{version}", project.registry), version);
        project.succeeds(&["push", "hello", "--version", version]);
    }
    project.set("set_key", json!(cloud.value("set_key")));
    project
}

#[test]
fn a_group_is_released_by_two_keys() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let project = pushed(&cloud, &engine);
    let release = ["release", "barn"];
    project.fails(&release, 3, "no group");
    project.set("groups", json!({ "barn": ["jetson"] }));
    project.fails(&release, 3, "has no apps");
    let group = |group: Value| project.set("groups", json!({ "barn": group }));
    group(json!({ "devices": ["other"], "apps": { "hello": "v1" } }));
    project.fails(&release, 3, "device other has no thing");
    group(json!({ "devices": ["jetson"], "apps": { "hello": "v9" } }));
    project.fails(&release, 4, "not found");
    group(json!({ "devices": ["jetson"], "apps": { "hello": "v1" }, "order": ["mqtt"] }));
    project.fails(&release, 4, "order has");
    group(json!({ "devices": ["jetson"], "apps": { "hello": "v1" }, "window": "Sunday" }));
    project.fails(&release, 3, "[DAY] HH:MM LENGTH");
    group(json!({ "devices": ["jetson"], "apps": { "hello": "v1" }, "x": 1 }));
    project.fails(&release, 3, "x");
    group(json!({ "devices": ["jetson"], "apps": { "hello": "v1" },
        "timeouts": { "hello": 90 }, "window": "Sun 02:00 3h" }));
    project.fails(&release, 2, "sign this set with --yes");

    let first = json_of(&project, &release);
    let document = &first["document"];
    assert_eq!(
        (&document["for"], &document["settle"]),
        (&json!(["edge-ai-1"]), &json!(60))
    );
    assert_eq!(document["apps"][0]["timeout"], 90);
    assert_eq!(
        document["window"],
        json!({ "day": 0, "minutes": 180, "start": 120 })
    );
    assert_eq!(verify(&cloud, &first, 1).unwrap().set.name, "barn");
    assert!(verify(&cloud, &first, 2).unwrap_err().contains("1 of 2"));
    // The other key, on another machine: it signs what is there.
    let number = first["number"].to_string();
    let key = cloud.value("set_offline_key");
    let other = [
        "release", "barn", "--sign", &number, "--key", &key, "--format", "v3",
    ];
    let again = json_of(&project, &other);
    assert_eq!(again["set"], first["set"]);
    assert_eq!(verify(&cloud, &first, 2).unwrap().signers.len(), 2);
    project.fails(&["release", "barn", "--sign", "1", "--yes"], 4, "not found");

    // The next one: a changed version, and an app that is gone.
    group(json!({ "things": ["edge-ai-*"], "apps": { "hello": "v2" } }));
    let (_, _, printed) = project.run(&release);
    assert!(printed.contains("changed  hello v1 -> v2"), "{printed}");
    let second = json_of(&project, &release);
    assert!(second["number"].as_u64() > first["number"].as_u64());
    group(json!({ "things": ["edge-ai-*"], "apps": {} }));
    let third = json_of(&project, &release);
    assert_eq!(third["document"]["remove"], json!(["hello"]));
}

#[test]
fn versions_are_revoked_and_restored() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let project = pushed(&cloud, &engine);
    project.fails(&["revoke"], 2, "--restore");
    project.fails(&["revoke", "hello-v9", "--yes"], 4, "not found");
    project.fails(&["revoke", "sha256:0", "--yes"], 2, "sha256");
    project.fails(&["revoke", "hello-v1"], 2, "--yes");
    let first = json_of(&project, &["revoke", "hello-v1"]);
    let revoked = &first["document"]["revoked"];
    assert_eq!(revoked.as_array().unwrap().len(), 1);
    let verified = verify(&cloud, &first, 1).unwrap();
    assert!(verified.set.is_revocation_list() && verified.set.is_for("edge-ai-1"));
    let second = json_of(&project, &["revoke", "hello-v2", "--restore", "hello-v1"]);
    assert_eq!(&second["document"]["restored"], revoked);
    assert!(second["number"].as_u64() > first["number"].as_u64());
    project.fails(
        &["revoke", "hello-v1", "--restore", "hello-v1", "--yes"],
        4,
        "restored",
    );
}
