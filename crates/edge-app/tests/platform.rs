//! Images of another processor than `platform` of `edge-app.yaml`, which are neither
//! built, pushed nor signed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;

use edge_signature::{Credentials, Registry};
use edge_sim::testbed::Cloud;
use project::Project;
use project::engine::Engine;
use serde_json::{Value, json};

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const PUSH: [&str; 4] = ["push", "hello", "--version", "v1"];
const NEXT: &str = "build it for linux/arm64 with the docker-buildx plugin";

/// The engine of this machine builds for its own processor.
#[test]
fn an_image_of_another_processor_is_neither_built_nor_pushed() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::new(&cloud, cloud.local_registry(), &json!({}));
    engine.lend(&mut project);
    let name = format!("{}:hello-v1", project.registry);
    engine.image("base:amd64", "one");
    project.put("hello/Dockerfile", "FROM base:amd64\nCOPY app.yaml /\n");
    project.set("platform", json!("linux/arm64"));
    let (code, _, printed) = project.run(&["build", "hello", "--version", "v1"]);
    // Docker may refuse the base image itself, before there is an image.
    let refused = code == 3 && printed.contains("is for linux/amd64") && printed.contains(NEXT);
    assert!(
        refused || code == 1 && printed.contains("did not build"),
        "{printed}"
    );
    engine.image(&name, "one");
    project.fails(&PUSH, 3, "is for linux/amd64");
    project.fails(&["verify", "hello", "--version=v1"], 4, "not found");
    engine.load(&name, "arm", "v7");
    project.fails(&PUSH, 3, "is for linux/arm/v7");
    engine.load(&name, "arm64", "v8");
    project.succeeds(&PUSH);
}

/// Image or index in a registry: `[os/architecture of the entry, of the configuration]`.
fn index(project: &Project, images: &[[&str; 2]]) -> String {
    let login = Credentials {
        username: "AWS".into(),
        password: project.cloud.password(),
    };
    let ca = fs::read(project.cloud.file("ca.pem")).unwrap();
    let registry = Registry::new(&project.registry.parse().unwrap(), Some(login), &[ca]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let split = |text: &str| {
        let parts: Vec<_> = text.splitn(3, '/').collect();
        let variant = parts.get(2).copied().unwrap_or_default();
        json!({ "os": parts[0], "architecture": parts[1], "variant": variant })
    };
    let pushed = runtime.unwrap().block_on(async {
        let mut entries: Vec<Value> = Vec::new();
        for [entry, config] in images {
            let config = split(config).to_string().into_bytes();
            let size = config.len();
            let digest = registry.push_blob(config).await?;
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": [],
                "config": { "mediaType": CONFIG_TYPE, "size": size, "digest": digest },
            });
            let bytes = manifest.to_string().into_bytes();
            let size = bytes.len();
            let tag = format!("foreign-{}", digest.hex());
            let digest = registry.push_manifest(&tag, bytes, MANIFEST_TYPE).await?;
            if entry.is_empty() {
                return Ok(digest);
            }
            entries.push(json!({
                "mediaType": MANIFEST_TYPE, "size": size, "digest": digest, "platform": split(entry),
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries });
        let bytes = index.to_string().into_bytes();
        registry.push_manifest("foreign-index", bytes, INDEX_TYPE).await
    });
    let pushed: Result<_, edge_signature::Error> = pushed;
    format!("--from={}@{}", project.registry, pushed.unwrap())
}

#[test]
fn copies_have_an_image_for_the_devices() {
    let cloud = Cloud::up();
    let project = Project::new(&cloud, cloud.local_registry(), &json!({}));
    project.set("platform", json!("linux/arm64"));
    let (arm, amd) = ("linux/arm64", "linux/amd64");
    for (images, stated) in [
        (&[["", amd]][..], "is for linux/amd64, and"),
        (&[["", "linux/arm64/v9"]], "is for linux/arm64/v9, and"),
        (
            &[[amd, amd], ["linux/arm/v7", "linux/arm/v7"]],
            "is for linux/amd64, linux/arm/v7, and",
        ),
        // An entry that claims what the image is not.
        (&[[arm, amd]], "is for linux/amd64, and"),
        (&[[amd, arm]], "is for linux/amd64, and"),
        (
            &[[arm, arm], [arm, "linux/arm64/v9"]],
            "is for linux/arm64/v9, and",
        ),
    ] {
        let from = index(&project, images);
        let (code, _, printed) = project.run(&[&PUSH[..], &[&from]].concat());
        assert!(
            code == 3 && printed.contains(stated),
            "{images:?}: {printed}"
        );
        project.fails(&["verify", "hello", "--version=v1"], 4, "not found");
    }
    for (version, images) in [
        ("v2", &[["", arm]][..]),
        (
            "v3",
            &[
                [amd, amd],
                ["linux/arm64/v8", arm],
                ["unknown/unknown", "unknown/unknown"],
            ],
        ),
    ] {
        let from = index(&project, images);
        project.succeeds(&["push", "hello", "--version", version, &from]);
    }
}
