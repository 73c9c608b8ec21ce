//! edge-signature against a real registry.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;

use edge_signature::{
    Annotations, Credentials, Digest, Draft, Error, Format, ImageRef, Keys, Registry, Repository,
    Signed, payload, sign_with_pem, verify,
};
use edge_sim::testbed::{Cloud, edge_sim};
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn registry(cloud: &Cloud, password: Option<&str>) -> Registry {
    let name = cloud
        .value("registry")
        .replace("cloud.edge.test", "localhost");
    let kept = fs::read_to_string(cloud.file("registry.password")).unwrap();
    let credentials = Credentials {
        username: "AWS".into(),
        password: password.unwrap_or(kept.trim()).into(),
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

fn signed(cloud: &Cloud, image: &ImageRef, digest: &Digest, serial: u64) -> Signed {
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        serial,
        grants: Vec::new(),
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
        assert_eq!(registry.resolve(&name).await.unwrap().digest, digest);
        assert!(registry.signatures(&digest).await.unwrap().is_empty());
        let unsigned = verify(&keys, registry.repository(), &digest, &[]).unwrap_err();
        assert!(matches!(unsigned, Error::Unsigned(_)));
        for serial in 1..=2 {
            let one = signed(&cloud, &name, &digest, serial);
            registry.append_signature(&digest, &one).await.unwrap();
            let all = registry.signatures(&digest).await.unwrap();
            assert_eq!(all.len() as u64, serial);
            assert_eq!(all.last(), Some(&one));
            verify(&keys, registry.repository(), &digest, &all).unwrap();
        }
        registry.login().await.unwrap();
        let mut tags = registry.tags().await.unwrap();
        tags.sort();
        assert_eq!(tags, [format!("sha256-{}.sig", digest.hex()), "v1".into()]);
    });
}

/// docker-registry keeps no list of referrers: the fallback tag does.
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
        registry.push_manifest("v1", bytes, kind).await.unwrap();
        let name = image(&registry, "v1");
        let family = registry.family(&name).await.unwrap();
        assert_eq!(family.len(), 3);
        for manifest in &family {
            for format in [Format::V2, Format::V3] {
                let annotations = Annotations {
                    app: "hello".into(),
                    version: "v1".into(),
                    serial: 1,
                    grants: Vec::new(),
                };
                let draft = Draft::new(format, &name, &manifest.digest, &annotations);
                let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
                let signed = draft.signed(signature);
                registry.attach(&keys, manifest, &signed).await.unwrap();
                let digest = &manifest.digest;
                registry.verified(&keys, digest, &[format]).await.unwrap();
            }
        }
        let (verified, proof) = registry.prove(&keys, &name).await.unwrap();
        assert_eq!(verified.digest, family[0].digest);
        assert!(family[1..].contains(&proof.image().unwrap()));
    });
}

#[test]
fn the_signature_of_another_image_does_not_count() {
    let cloud = Cloud::up();
    let keys = Keys::from_pems(&[fs::read(cloud.file("signing.pub")).unwrap()]).unwrap();
    wait(async {
        let registry = registry(&cloud, None);
        let (good, evil) = (push(&registry, "v1").await, push(&registry, "v2").await);
        let one = signed(&cloud, &image(&registry, "v1"), &good, 1);
        registry.append_signature(&evil, &one).await.unwrap();
        let all = registry.signatures(&evil).await.unwrap();
        let error = verify(&keys, registry.repository(), &evil, &all).unwrap_err();
        assert!(error.to_string().contains("another digest"), "{error}");
    });
}

#[test]
fn absent_unauthorized_and_down_are_told_apart() {
    let cloud = Cloud::up();
    wait(async {
        let good = registry(&cloud, None);
        let digest = push(&good, "v1").await;
        let absent = good.resolve(&image(&good, "v9")).await.unwrap_err();
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
        let stranger = Registry::new(good.repository(), None, &[]).unwrap();
        let error = stranger.resolve(&image(&good, "v1")).await.unwrap_err();
        assert!(matches!(error, Error::CannotTell(_)), "{error:?}");
        edge_sim(&["cloud", "down"], cloud.path());
        for error in [
            good.resolve(&image(&good, "v1")).await.unwrap_err(),
            good.signatures(&digest).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::CannotTell(_)), "{error:?}");
        }
    });
}
