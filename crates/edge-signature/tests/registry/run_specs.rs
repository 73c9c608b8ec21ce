//! Run specifications: pushed beside the image, fetched by the signed digest.

use edge_signature::{Annotations, CachedSignature, Digest, Draft, Error, Format, Manifest};
use serde_json::{Value, json};

use crate::images::{BOTH, OCI, image, put_image, registry, verify, verify_twice, wait};
use crate::keys::{Team, team};
use crate::server::{Reply, Server};

type Answer = fn() -> Reply;

const SPEC: &[u8] = br#"{"app":"hello","v":1}"#;

/// Pushes an image `v1` and a signature that states the digest `run`.
async fn push(us: &Team, server: &Server, format: Format, run: Option<Digest>) -> Digest {
    let digest = put_image(server, "hello-v1");
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: 1,
        grants: Vec::new(),
        run,
    };
    let draft = Draft::new(format, &image(server, "hello-v1"), &digest, &annotations);
    let signed = us.complete(draft);
    let manifest = Manifest::new(server.manifest(digest.as_str()).unwrap());
    let registry = registry(server);
    let attached = registry.push_signature(&us.keys, &manifest, &signed).await;
    attached.unwrap();
    server.requests();
    digest
}

#[test]
fn the_signed_specification_comes_with_the_signature() {
    wait(async {
        for format in BOTH {
            let (server, us) = (Server::start(), team());
            let spec = registry(&server)
                .push_run_spec(SPEC.to_vec())
                .await
                .unwrap();
            assert_eq!(spec, Digest::of(SPEC));
            let digest = push(&us, &server, format, Some(spec.clone())).await;
            let (verified, cached) = verify_twice(&us, &server).await;
            assert_eq!(verified.run.as_deref(), Some(SPEC));
            assert_eq!(verified.annotations.run, Some(spec));
            let text = serde_json::to_value(&cached).unwrap();
            assert_eq!(
                (&text["v"], text["run"].as_array().unwrap().len()),
                (&json!(1), 1)
            );
            assert_eq!(verified.digest, digest);
        }
        let (server, us) = (Server::start(), team());
        push(&us, &server, Format::V2, None).await;
        let (verified, cached) = verify_twice(&us, &server).await;
        assert_eq!((verified.run, verified.annotations.run), (None, None));
        assert!(serde_json::to_value(&cached).unwrap().get("run").is_none());
    });
}

#[test]
fn the_artifact_has_its_own_type_and_is_pushed_once() {
    let server = Server::start();
    wait(async {
        let registry = registry(&server);
        let spec = registry.push_run_spec(SPEC.to_vec()).await.unwrap();
        let tag = format!("sha256-{}.run", spec.hex());
        let bytes = server.manifest(&tag).unwrap();
        let kind = "application/vnd.edge-ai.run.v1+json";
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest["artifactType"], kind);
        assert_eq!(
            manifest["config"]["mediaType"],
            "application/vnd.oci.empty.v1+json"
        );
        let layers = json!([{ "mediaType": kind, "size": SPEC.len(), "digest": spec }]);
        assert_eq!(manifest["layers"], layers);
        // The tags of the repository are immutable: a second push writes none.
        server.requests();
        registry.push_run_spec(SPEC.to_vec()).await.unwrap();
        let requests = server.requests();
        assert!(
            !requests.iter().any(|r| r.starts_with("PUT")),
            "{requests:?}"
        );

        let large = registry
            .push_run_spec(vec![b'x'; 65_537])
            .await
            .unwrap_err();
        assert!(large.to_string().contains("65537 bytes"), "{large}");
        assert!(registry.push_run_spec(vec![b'x'; 65_536]).await.is_ok());
    });
}

#[test]
fn the_manifest_under_the_tag_is_not_trusted() {
    let (server, us) = (Server::start(), team());
    wait(async {
        let registry = registry(&server);
        let spec = registry.push_run_spec(SPEC.to_vec()).await.unwrap();
        let other = registry.push_blob(b"{\"v\":1}".to_vec()).await.unwrap();
        push(&us, &server, Format::V2, Some(spec.clone())).await;
        let tag = format!("sha256-{}.run", spec.hex());
        let valid = server.manifest(&tag).unwrap();
        let valid = String::from_utf8(valid).unwrap();
        for manifest in [
            valid.replace(spec.hex(), other.hex()),
            valid.replace(&SPEC.len().to_string(), "1099511627776"),
            "[".repeat(100_000),
            String::new(),
        ] {
            server.put_manifest(&tag, OCI, manifest.as_bytes());
            let (verified, _) = verify_twice(&us, &server).await;
            assert_eq!(verified.run.as_deref(), Some(SPEC));
        }
    });
}

#[test]
fn a_missing_or_exchanged_specification_is_not_ignored() {
    let (server, us) = (Server::start(), team());
    let spec = Digest::of(SPEC);
    let path = format!("/blobs/{spec}");
    let answer = |reply: Answer| {
        let path = path.clone();
        server.hook(move |r| (r.method == "GET" && r.path.ends_with(&path)).then(reply));
    };
    wait(async {
        push(&us, &server, Format::V2, Some(spec.clone())).await;
        let error = verify(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        let text = format!("run specification {spec}: not found");
        assert!(error.to_string().contains(&text), "{error}");
        let cases: [(Answer, &str); 5] = [
            (
                || Reply::new(200, b"{\"app\":\"other\",\"v\":1}"),
                "other content",
            ),
            (|| Reply::new(200, &SPEC[..SPEC.len() - 1]), "other content"),
            (|| Reply::new(200, ""), "other content"),
            (|| Reply::new(200, vec![b'x'; 70_000]), "larger than"),
            (
                || Reply::delivered(crate::server::Delivery::Endless),
                "larger than",
            ),
        ];
        for (reply, expected) in cases {
            answer(reply);
            let error = verify(&us, &server).await.unwrap_err();
            assert!(
                matches!(error, Error::Malformed(_)),
                "{expected}: {error:?}"
            );
            assert!(error.to_string().contains(expected), "{expected}: {error}");
        }
        // A registry that does not work says nothing about the image.
        answer(|| Reply::new(503, ""));
        let error = verify(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::Unverifiable(_)), "{error:?}");
        answer(|| Reply::new(401, ""));
        let error = verify(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
        answer(|| Reply::new(200, SPEC));
        verify_twice(&us, &server).await;
    });
}

#[test]
fn a_cached_specification_is_compared_with_the_signature_at_each_use() {
    let (server, us) = (Server::start(), team());
    wait(async {
        let registry = registry(&server);
        let spec = registry.push_run_spec(SPEC.to_vec()).await.unwrap();
        push(&us, &server, Format::V2, Some(spec)).await;
        let (_, cached) = verify_twice(&us, &server).await;
        let valid = serde_json::to_value(&cached).unwrap();
        let repository = server.repository().parse().unwrap();
        let verify = |value: &Value| {
            let cached: CachedSignature = serde_json::from_value(value.clone()).unwrap();
            cached.verify(&us.keys, &repository)
        };
        let text = valid["run"][0].clone();
        for run in [json!([]), json!(["e30="]), json!([""]), Value::Null] {
            let mut changed = valid.clone();
            changed["run"] = run.clone();
            if run.is_null() {
                changed.as_object_mut().unwrap().remove("run");
            }
            let error = verify(&changed).unwrap_err().to_string();
            assert!(error.contains("run specification sha256:"), "{error}");
            assert!(error.contains("is missing"), "{error}");
        }
        // Others beside the signed one, and fields of a later version, change nothing.
        let mut later = valid.clone();
        later["run"] = json!(["e30=", text]);
        later["v"] = json!(2);
        later["later"] = json!({ "a": [1] });
        assert_eq!(verify(&later).unwrap().run.as_deref(), Some(SPEC));
        let read: CachedSignature = serde_json::from_value(later.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), later);
    });
}
