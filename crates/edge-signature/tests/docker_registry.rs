//! The registry client against docker-registry.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;

use edge_signature::{
    Annotations, Credentials, Digest, Draft, Error, Format, ImageRef, Keys, Registry, Repository,
    Select, Signed, payload, sign_with_pem, verify,
};
use edge_sim::testbed::{Cloud, edge_sim};
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn registry(cloud: &Cloud, password: Option<&str>) -> Registry {
    let name = cloud
        .value("registry")
        .replace("cloud.edge.test", "localhost");
    let password_file = fs::read_to_string(cloud.file("registry.password")).unwrap();
    let credentials = Credentials {
        username: "AWS".into(),
        password: password.unwrap_or(password_file.trim()).into(),
    };
    let authority = fs::read(cloud.file("ca.pem")).unwrap();
    let repository: Repository = name.parse().unwrap();
    Registry::new(&repository, Some(credentials), &[authority]).unwrap()
}

fn image(registry: &Registry, tag: &str) -> ImageRef {
    format!("{}:{tag}", registry.repository()).parse().unwrap()
}

async fn push(registry: &Registry, tag: &str) -> Digest {
    let config = registry.push_blob(b"{}".to_vec()).await.unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config },
        "annotations": { "tag": tag },
    });
    let bytes = manifest.to_string().into_bytes();
    registry.push_manifest(tag, bytes, MANIFEST).await.unwrap()
}

fn signed(cloud: &Cloud, image: &ImageRef, digest: &Digest, release: u64) -> Signed {
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: release,
        grants: Vec::new(),
        run: None,
    };
    let payload = payload(image, digest, &annotations);
    let key = fs::read(cloud.file("signing.key")).unwrap();
    let signature = sign_with_pem(&key, &payload).unwrap().0;
    Signed::new(payload, signature)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn signatures_are_appended_and_found_again() {
    let cloud = Cloud::up();
    let keys = Keys::from_pems(&[fs::read(cloud.file("signing.pub")).unwrap()]).unwrap();
    wait(async {
        let registry = registry(&cloud, None);
        let digest = push(&registry, "v1").await;
        let name = image(&registry, "v1");
        let manifest = registry.resolve(&name).await.unwrap();
        assert_eq!(manifest.digest, digest);
        assert!(registry.signatures(&digest).await.unwrap().is_empty());
        let unsigned =
            verify(&keys, registry.repository(), &digest, &[], Select::Newest).unwrap_err();
        assert!(matches!(unsigned, Error::Unsigned(_)));
        for release in 1..=2 {
            let one = signed(&cloud, &name, &digest, release);
            registry
                .push_signature(&keys, &manifest, &one)
                .await
                .unwrap();
            let all = registry.signatures(&digest).await.unwrap();
            assert_eq!(all.len() as u64, release);
            assert_eq!(all.last(), Some(&one));
            verify(&keys, registry.repository(), &digest, &all, Select::Newest).unwrap();
        }
        registry.login().await.unwrap();
        let mut tags = registry.tags().await.unwrap();
        tags.sort();
        assert_eq!(tags, [format!("sha256-{}.sig", digest.hex()), "v1".into()]);
    });
}

#[test]
fn a_run_specification_is_found_by_its_own_digest() {
    let cloud = Cloud::up();
    wait(async {
        let registry = registry(&cloud, None);
        let bytes = br#"{"app":"hello","v":1}"#;
        for _ in 0..2 {
            let digest = registry.push_run_spec(bytes.to_vec()).await.unwrap();
            assert_eq!(digest, Digest::of(bytes));
            assert_eq!(registry.run_spec(&digest).await.unwrap(), bytes);
            let tag = format!("sha256-{}.run", digest.hex());
            assert_eq!(registry.tags().await.unwrap(), [tag]);
        }
        let absent = registry.run_spec(&Digest::of(b"absent")).await;
        assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    });
}

/// docker-registry lists no referrers, so the fallback tag does.
#[test]
fn bundles_of_an_index_and_its_children() {
    let cloud = Cloud::up();
    let keys = Keys::from_pems(&[fs::read(cloud.file("signing.pub")).unwrap()]).unwrap();
    let private = fs::read(cloud.file("signing.key")).unwrap();
    wait(async {
        let registry = registry(&cloud, None);
        let mut entries = Vec::new();
        for platform in ["amd64", "arm64"] {
            let digest = push(&registry, platform).await;
            let name = image(&registry, platform);
            let size = registry.resolve(&name).await.unwrap().bytes.len();
            entries.push(
                json!({ "mediaType": MANIFEST, "digest": digest, "size": size,
                "platform": { "os": "linux", "architecture": platform } }),
            );
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries });
        let bytes = index.to_string().into_bytes();
        registry
            .push_manifest("hello-v1", bytes, kind)
            .await
            .unwrap();
        let name = image(&registry, "hello-v1");
        let manifests = registry.resolve_all(&name).await.unwrap();
        assert_eq!(manifests.len(), 3);
        for manifest in &manifests {
            for format in [Format::V2, Format::V3] {
                let annotations = Annotations {
                    app: "hello".into(),
                    version: "v1".into(),
                    release_number: 1,
                    grants: Vec::new(),
                    run: None,
                };
                let draft = Draft::new(format, &name, &manifest.digest, &annotations);
                let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
                let signed = draft.signed(signature);
                registry
                    .push_signature(&keys, manifest, &signed)
                    .await
                    .unwrap();
                let digest = &manifest.digest;
                registry
                    .verify_digest(&keys, digest, &[format], Select::Newest)
                    .await
                    .unwrap();
            }
        }
        let (verified, cached) = registry.verify(&keys, &name).await.unwrap();
        assert_eq!(verified.digest, manifests[0].digest);
        assert!(manifests[1..].contains(&cached.image().unwrap()));
    });
}

#[test]
fn the_signature_of_another_image_is_not_trusted() {
    let cloud = Cloud::up();
    let keys = Keys::from_pems(&[fs::read(cloud.file("signing.pub")).unwrap()]).unwrap();
    wait(async {
        let registry = registry(&cloud, None);
        let (signed_digest, other) = (push(&registry, "v1").await, push(&registry, "v2").await);
        let one = signed(&cloud, &image(&registry, "v1"), &signed_digest, 1);
        let manifest = registry.resolve(&image(&registry, "v2")).await.unwrap();
        registry
            .push_signature(&keys, &manifest, &one)
            .await
            .unwrap();
        let all = registry.signatures(&other).await.unwrap();
        let error = verify(&keys, registry.repository(), &other, &all, Select::Newest).unwrap_err();
        assert!(error.to_string().contains("another digest"), "{error}");
    });
}

#[test]
fn absent_unauthorized_and_down_are_different_errors() {
    let cloud = Cloud::up();
    wait(async {
        let client = registry(&cloud, None);
        let digest = push(&client, "v1").await;
        let absent = client.resolve(&image(&client, "v9")).await.unwrap_err();
        assert!(matches!(absent, Error::NotFound(_)), "{absent:?}");
        let wrong = registry(&cloud, Some("wrong"));
        for error in [
            wrong.resolve(&image(&wrong, "v1")).await.unwrap_err(),
            wrong.signatures(&digest).await.unwrap_err(),
            wrong.push_blob(vec![1]).await.unwrap_err(),
            wrong.tags().await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
        }
        let without_ca = Registry::new(client.repository(), None, &[]).unwrap();
        let error = without_ca.resolve(&image(&client, "v1")).await.unwrap_err();
        assert!(matches!(error, Error::Unverifiable(_)), "{error:?}");
        edge_sim(&["cloud", "down"], cloud.path());
        for error in [
            client.resolve(&image(&client, "v1")).await.unwrap_err(),
            client.signatures(&digest).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unverifiable(_)), "{error:?}");
        }
    });
}
