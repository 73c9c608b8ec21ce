//! Pushes to a real registry, with signatures.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use edge_signature::{Credentials, Registry};
use edge_sim::testbed::{Cloud, edge_sim};
use project::Project;
use project::engine::{Engine, which};
use serde_json::json;

#[test]
fn push_signs_once_and_a_tag_never_moves() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    engine.lend(&mut project);
    let push = ["push", "hello", "--version", "v1"];
    project.fails(&push, 1, "build it first");
    let name = format!("{}:hello-v1", cloud.value("registry"));
    engine.image(&name, "one");
    let (code, first, printed) = project.run(&push);
    assert_eq!(code, 0, "{printed}");
    assert!(first.contains("@sha256:"), "{first}");
    let (code, second, printed) = project.run(&push);
    assert_eq!((code, &second), (0, &first));
    assert!(printed.contains("already signed"), "{printed}");
    let (code, reported, _) = project.run(&[&push[..], &["--json"]].concat());
    let reported: serde_json::Value = serde_json::from_str(&reported).unwrap();
    assert_eq!(
        (code, &reported["image"], &reported["new_signatures"]),
        (0, &json!(first.trim()), &json!(0))
    );
    assert_eq!(
        (&reported["app"], &reported["version"], &reported["grants"]),
        (&json!("hello"), &json!("v1"), &json!([]))
    );
    assert!(reported["release_number"].is_u64(), "{reported}");
    let (code, verified, _) = project.run(&["verify", "hello", "--version", "v1"]);
    assert!(
        code == 0 && verified.contains("app      hello\nversion  v1"),
        "{verified}"
    );
    let list = project.run(&["list"]).1;
    assert!(list.contains("hello  v1       "), "{list}");

    engine.image(&name, "two");
    project.fails(&push, 4, "is there with other content");
    project.fails(&["verify", "hello", "--version", "v2"], 4, "not found");
    project.fails(
        &["deploy", "hello", "nowhere", "--version", "v2"],
        4,
        "not found",
    );

    project.put("hello/app.yaml", "name: hello\ngrants: [gpu]\n");
    project.fails(&push, 2, "sign these grants with --yes");
    consent_to_root(&project, &push);

    let other = Cloud::up();
    let key = fs::read_to_string(other.file("signing.key")).unwrap();
    fs::write(cloud.file("signing.key"), key).unwrap();
    let (code, _, refused) = project.run(&["verify", "hello", "--version", "v1"]);
    let trusted = format!("trusted: {} (", cloud.file("signing.key").display());
    assert!(
        code == 7 && refused.contains("a key that is not trusted;") && refused.contains(&trusted),
        "{code} {refused}"
    );
    fs::write(cloud.file("signing.key"), "nonsense").unwrap();
    project.fails(&["verify", "hello", "--version", "v1"], 7, "PKCS#8");
    fs::remove_file(cloud.file("signing.key")).unwrap();
    project.fails(&push, 3, "signing.key");
    fs::write(cloud.file("registry.password"), "wrong").unwrap();
    project.fails(&["list"], 4, "wrong or no credentials");
    assert!(!project.run(&["list"]).2.contains("wrong\n"));
    edge_sim(&["cloud", "down"], cloud.path());
    project.fails(&["list"], 4, "does not answer");
}

/// A tag whose content the registry has lost stops no push of the app.
#[test]
fn a_stale_tag_is_skipped() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    engine.lend(&mut project);
    let push = |version: &str, content: &str| {
        engine.image(&format!("{}:hello-{version}", project.registry), content);
        project.run(&["push", "hello", "--version", version])
    };
    let (code, _, printed) = push("v1", "one");
    assert_eq!(code, 0, "{printed}");
    let (_, path) = project.registry.split_once('/').unwrap();
    let tags = format!("registry/docker/registry/v2/repositories/{path}/_manifests/tags");
    let link = cloud.file(&tags).join("hello-v1/current/link");
    assert!(link.exists());
    fs::write(&link, "").unwrap();
    let (code, _, printed) = push("v2", "two");
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("tag hello-v1 cannot be read"), "{printed}");
}

/// Other tools list bundles under the type of their configuration, or under none.
#[test]
fn bundles_are_found_under_any_type() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.local_registry(), &json!({}));
    engine.lend(&mut project);
    engine.image(&format!("{}:hello-v1", project.registry), "one");
    let push = ["push", "hello", "--version=v1", "--format=v3"];
    let pushed = project.succeeds(&push);
    let hex = pushed.trim().rsplit_once("sha256:").unwrap().1;
    for kind in [None, Some("application/vnd.oci.empty.v1+json")] {
        rewrite_index(&project, &format!("sha256-{hex}"), kind);
        project.succeeds(&["verify", "hello", "--version=v1"]);
        let printed = project.run(&push).2;
        assert!(printed.contains("already signed"), "{printed}");
    }
}

/// Replaces the artifact type of each entry of an index, and removes the annotations.
fn rewrite_index(project: &Project, tag: &str, kind: Option<&str>) {
    let registry = registry(project);
    let image = format!("{}:{tag}", project.registry).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let rewritten = runtime.unwrap().block_on(async {
        let index = registry.resolve(&image).await?;
        let mut index: serde_json::Value = serde_json::from_slice(&index.bytes).unwrap();
        for entry in index["manifests"].as_array_mut().unwrap() {
            let entry = entry.as_object_mut().unwrap();
            entry.remove("annotations");
            entry.remove("artifactType");
            if let Some(kind) = kind {
                entry.insert("artifactType".into(), kind.into());
            }
        }
        let media_type = "application/vnd.oci.image.index.v1+json";
        let bytes = index.to_string().into_bytes();
        registry.push_manifest(tag, bytes, media_type).await
    });
    rewritten.unwrap();
}

fn registry(project: &Project) -> Registry {
    let login = Credentials {
        username: "AWS".into(),
        password: project.cloud.password(),
    };
    let ca = fs::read(project.cloud.file("ca.pem")).unwrap();
    Registry::new(&project.registry.parse().unwrap(), Some(login), &[ca]).unwrap()
}

/// An image that did not change is signed again for the next version, and for another app.
#[test]
fn each_version_of_one_manifest_has_its_own_signature() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    engine.lend(&mut project);
    let name = |tag: &str| format!("{}:{tag}", cloud.value("registry"));
    engine.image(&name("hello-v1"), "one");
    project.put("other/app.yaml", "name: other\n");
    let push = |app: &str, version: &str| {
        let tag = name(&format!("{app}-{version}"));
        let tagged = engine.docker(&["tag", &name("hello-v1"), &tag]).status();
        assert!(tagged.unwrap().success());
        let (code, pushed, printed) = project.run(&["push", app, "--version", version]);
        assert_eq!(code, 0, "{printed}");
        pushed
    };
    let versions = [("hello", "v1"), ("hello", "v3"), ("other", "v2")];
    let pushed = versions.map(|(app, version)| push(app, version));
    assert!(pushed.iter().all(|p| *p == pushed[0]), "{pushed:?}");
    let mut numbers = Vec::new();
    for (app, version) in versions {
        let (code, said, printed) = project.run(&["verify", app, "--version", version]);
        let expected = format!("app      {app}\nversion  {version}\n");
        assert!(code == 0 && said.contains(&expected), "{said}{printed}");
        let number = said.lines().find_map(|l| l.strip_prefix("release  "));
        numbers.push(number.unwrap().parse::<u64>().unwrap());
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
    let by_digest = pushed[0].trim();
    let names = "hello v1, hello v3, other v2";
    project.fails(&["verify", by_digest], 7, names);
    let again = ["push", "hello", "--version", "v1"];
    let printed = project.run(&again).2;
    assert!(printed.contains("already signed"), "{printed}");
    // What is signed is the app.yaml of the push: another one is another specification.
    let run_spec = |version: &str| {
        let said = project.run(&["verify", "hello", "--version", version]).1;
        let digest = said.lines().find_map(|l| l.strip_prefix("run      "));
        digest.unwrap().to_string()
    };
    let old = run_spec("v3");
    assert_eq!(run_spec("v1"), old);
    assert!(
        printed.contains(&format!("run specification {old}, ")),
        "{printed}"
    );
    project.put("hello/app.yaml", "name: hello\nports: ['8080:80']\n");
    let printed = project.run(&again).2;
    assert!(
        printed.contains("signed 1") || printed.contains("release number"),
        "{printed}"
    );
    assert_ne!(run_spec("v1"), old);
    assert_eq!(run_spec("v3"), old);
}

#[test]
fn kms_signs_and_ssm_names_the_registry() {
    let (cloud, engine) = (Cloud::with(&[]), Engine::start());
    let mut project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    engine.lend(&mut project);
    project.set("signing_key", json!({ "kms": "edge-container-signing" }));
    project.set("registry", json!({ "ssm": "/edge-ai/ecr/repository-url" }));
    for (name, value) in [
        ("AWS_ENDPOINT_URL", cloud.value("aws_endpoint")),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ] {
        project.variables.push((name, value));
    }
    engine.image(&format!("{}:hello-v1", cloud.value("registry")), "one");
    let (code, _, printed) = project.run(&["push", "hello", "--version", "v1"]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(project.run(&["verify", "hello", "--version", "v1"]).0, 0);
    project.set("signing_key", json!({ "kms": "absent" }));
    project.fails(&["verify", "hello", "--version", "v1"], 7, "absent");
    project.set("registry", json!({ "ssm": "/absent" }));
    project.fails(&["list"], 4, "/absent");
}

/// Labels that edge-docker alone writes are refused before anything is in the registry.
#[test]
fn labels_of_edge_docker_are_refused_before_the_upload() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.local_registry(), &json!({}));
    engine.lend(&mut project);
    let push = ["push", "hello", "--version", "v1"];
    let name = format!("{}:hello-v1", project.registry);
    for change in [
        "LABEL edge.app=other",
        "LABEL edge.anything=",
        "LABEL a=b edge.run=x",
    ] {
        engine.import(&name, "one", &["--change", change]);
        project.fails(&push, 6, "labels that begin with edge.");
    }
    project.fails(&["verify", "hello", "--version=v1"], 4, "not found");
    engine.import(
        &name,
        "one",
        &["--change", "LABEL edgelike=b com.x.edge.app=c"],
    );
    project.succeeds(&push);

    // An image of another registry is judged by its configuration there.
    let copy = |config: &str| {
        let digest = foreign_image(&project, config);
        format!("--from={}@{digest}", project.registry)
    };
    for config in [
        r#"{"config":{"Labels":{"edge.sandbox":"x"}}}"#,
        r#"{"config":{"Labels":{"edge.app":"x"}},"config":{}}"#,
        "neither JSON nor an image",
    ] {
        let from = copy(config);
        project.fails(
            &["push", "hello", "--version=v2", &from],
            6,
            "push is refused",
        );
        project.fails(&["verify", "hello", "--version=v2"], 4, "not found");
    }
    let from = copy(r#"{"os":"linux","architecture":"amd64","config":{"Labels":{"a":"b"}}}"#);
    project.succeeds(&["push", "hello", "--version=v2", &from]);
}

/// Puts an image with this configuration into the registry and returns its digest.
fn foreign_image(project: &Project, config: &str) -> String {
    let registry = registry(project);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let pushed = runtime.unwrap().block_on(async {
        let digest = registry.push_blob(config.as_bytes().to_vec()).await?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "layers": [],
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": config.len(), "digest": digest },
        });
        let bytes = manifest.to_string().into_bytes();
        registry
            .push_manifest(&format!("foreign-{}", digest.hex()), bytes, kind)
            .await
    });
    pushed.unwrap().to_string()
}

/// Consent to grants that amount to root: by their names alone, at a terminal or not.
fn consent_to_root(project: &Project, push: &[&str]) {
    let with = |more: &[&'static str]| [push, more].concat();
    project.put(
        "hello/app.yaml",
        "name: hello\ngrants: [gpu, dbus, disk]\nroot: [dbus, disk]\n",
    );
    for (more, expected) in [
        (&[][..], "--grant-root dbus --grant-root disk"),
        (&["--yes"], "--grant-root dbus --grant-root disk"),
        (&["--yes", "--grant-root", "dbus"], "--grant-root disk,"),
        (
            &["--yes", "--grant-root=dbus", "--grant-root=gpu"],
            "does not name it",
        ),
        (&["--yes", "--grant-root", "dbus,disk"], "does not name it"),
        (&["--yes", "--grant-root", ""], "does not name it"),
        (&["--yes", "--grant-root", "DBUS"], "does not name it"),
        // Root grants are not the ordinary ones.
        (
            &["--grant-root=dbus", "--grant-root=disk"],
            "sign these grants with --yes",
        ),
    ] {
        project.fails(&with(more), 2, expected);
    }
    let (_, _, printed) = project.run(&with(&["--yes"]));
    assert!(
        printed.contains("ROOT on every device: dbus, disk"),
        "{printed}"
    );
    assert!(!printed.contains('\x1b'), "{printed}");
    // With every consent the push goes on, to the image that is there with other content.
    let consent = ["--yes", "--grant-root=dbus", "--grant-root=disk"];
    project.fails(&with(&consent), 4, "is there with other content");

    // At a terminal, the names are the consent; `y` is none.
    for (answer, expected) in [
        ("y", "nothing was pushed"),
        ("yes", "nothing was pushed"),
        ("", "nothing was pushed"),
        ("dbus", "nothing was pushed"),
        ("disk dbus", "nothing was pushed"),
        ("dbus  disk", "is there with other content"),
    ] {
        let printed = at_terminal(project, &with(&["--yes"]), answer);
        assert!(printed.contains(expected), "{answer}: {printed}");
        assert!(
            printed.contains("\x1b[1;31mhello requests ROOT"),
            "{printed}"
        );
    }
}

/// Runs edge-app at a terminal, answers its question, and returns what it printed.
fn at_terminal(project: &Project, arguments: &[&str], answer: &str) -> String {
    let program = project.command(arguments);
    let quoted: Vec<_> = [program.get_program()]
        .into_iter()
        .chain(program.get_args())
        .map(|part| format!("'{}'", part.to_str().unwrap()))
        .collect();
    let mut command = Command::new(which("script"));
    command.args([
        "--quiet",
        "--return",
        "--command",
        &quoted.join(" "),
        "/dev/null",
    ]);
    command.current_dir(project.directory.path());
    command.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{answer}").unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// A build that changes nothing has another time under each version: that of its push.
#[test]
fn the_same_content_is_listed_with_the_time_of_each_push() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.value("registry"), &json!({}));
    engine.lend(&mut project);
    let mut numbers = Vec::new();
    for version in ["v1", "v2"] {
        engine.load(
            &format!("{}:hello-{version}", project.registry),
            "amd64",
            "",
        );
        let pushed = project.succeeds(&["push", "hello", "--version", version, "--json"]);
        let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
        numbers.push(pushed["release_number"].as_u64().unwrap());
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
    // The first version once more is not pushed later.
    project.succeeds(&["push", "hello", "--version", "v1"]);
    let list = project.succeeds(&["list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let (first, second) = (&list[0], &list[1]);
    assert_eq!(first["digest"], second["digest"], "{list}");
    assert_eq!(
        (&first["serial"], &second["serial"]),
        (&json!(numbers[0]), &json!(numbers[1])),
        "{list}"
    );
}
