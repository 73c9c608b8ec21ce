//! Search for signatures in both formats.

use edge_signature::{Credentials, Digest, Error, Format, Registry, Select};
use serde_json::{Value, json};

use crate::images::{
    BOTH, BUNDLE, INDEX, OCI, SIMPLE, image, image_manifest, impatient, put_image, put_index,
    registry, verify, verify_twice, wait,
};
use crate::keys::team;
use crate::server::{Reply, Server};

#[test]
fn one_round_trip_for_each_manifest_and_signature() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    let hex = digest.hex().to_string();
    wait(async {
        us.push_signature(&server, &digest, Format::V2, 1).await;
        let (verified, cached) = verify_twice(&us, &server).await;
        assert_eq!(verified.digest, digest);
        assert_eq!(cached.image_id().unwrap(), Digest::of(b"hello-v1"));
        let requests = server.requests();
        assert_eq!(requests.len(), 5, "{requests:?}");
        assert_eq!(requests[0], "GET /v2/team/manifests/hello-v1");
        assert_eq!(
            requests[1],
            format!("GET /v2/team/manifests/sha256-{hex}.sig")
        );
        assert!(requests[2].starts_with("GET /v2/team/blobs/sha256:"));
        // The other format may have a newer signature.
        assert!(requests[3].starts_with("GET /v2/team/referrers/sha256:"));
        assert_eq!(requests[4], format!("GET /v2/team/manifests/sha256-{hex}"));

        server.drop_manifest(&format!("sha256-{hex}.sig"));
        us.push_signature(&server, &digest, Format::V3, 1).await;
        verify_twice(&us, &server).await;
        let requests = server.requests();
        let expected = [
            "/hello-v1",
            ".sig",
            "/referrers/",
            &hex,
            "/manifests/",
            "/blobs/",
        ];
        assert_eq!(requests.len(), expected.len(), "{requests:?}");
        for (line, part) in requests.iter().zip(expected) {
            assert!(line.contains(part), "{part}: {line}");
        }
        server
            .state
            .referrers
            .store(true, std::sync::atomic::Ordering::Relaxed);
        verify_twice(&us, &server).await;
        assert_eq!(server.requests().len(), 5);
    });
}

#[test]
fn a_token_is_fetched_once() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    let realm = format!("https://localhost:{}/token", server.address.port());
    wait(async {
        us.push_signature(&server, &digest, Format::V2, 1).await;
        server.hook(move |request| {
            let authorization = request.headers.get("authorization").map(String::as_str);
            if request.path.starts_with("/token") {
                let scope = request.path.contains("scope=repository%3Ateam%3Apull");
                let basic = authorization == Some("Basic QVdTOnNlY3JldA==");
                return Some(if scope && basic {
                    Reply::new(200, br#"{"token":"abc"}"#)
                } else {
                    Reply::new(401, "")
                });
            }
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
            (authorization != Some("Bearer abc"))
                .then(|| Reply::new(401, "").with("WWW-Authenticate", challenge))
        });
        verify_twice(&us, &server).await;
        assert_eq!(server.requests().len(), 7);
        let error = impatient(&server)
            .resolve(&image(&server, "hello-v1"))
            .await;
        assert!(matches!(error, Err(Error::Unauthorized(_))), "{error:?}");
    });
}

/// docker's identity token goes to the token service alone, in the body of a request.
#[test]
fn an_identity_token_is_exchanged() {
    let server = Server::start();
    put_image(&server, "hello-v1");
    let realm = format!("https://localhost:{}/token", server.address.port());
    server.hook(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.path == "/token" {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let is_complete = request.method == "POST"
                && authorization.is_none()
                && form.contains("grant_type=refresh_token")
                && form.contains("refresh_token=the+%2F+token")
                && form.contains("service=s")
                && form.contains("scope=repository%3Ateam%3Apull");
            return Some(match is_complete {
                true => Reply::new(200, br#"{"access_token":"abc"}"#),
                false => Reply::new(401, ""),
            });
        }
        let is_allowed = authorization == Some("Bearer abc");
        let is_first = authorization.is_none();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        match (is_allowed, is_first) {
            (true, _) => None,
            (_, true) => Some(Reply::new(401, "").with("WWW-Authenticate", challenge)),
            // The token itself, or anything else.
            _ => Some(Reply::new(500, "")),
        }
    });
    let credentials = Credentials {
        username: "<token>".into(),
        password: "the / token".into(),
    };
    let repository = server.repository().parse().unwrap();
    let ca_bundle = [server.ca_certificate.clone()];
    let registry = Registry::new(&repository, Some(credentials), &ca_bundle).unwrap();
    wait(async {
        registry.resolve(&image(&server, "hello-v1")).await.unwrap();
        // Uploads get a token of their own.
        registry.push_blob(b"blob".to_vec()).await.unwrap();
    });
}

#[test]
fn an_index_or_its_child_must_be_signed() {
    wait(async {
        for format in BOTH {
            let (server, us) = (Server::start(), team());
            let (index, child) = put_index(&server);
            let error = verify(&us, &server).await.unwrap_err();
            assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
            us.push_signature(&server, &child, format, 1).await;
            let (verified, cached) = verify_twice(&us, &server).await;
            assert_eq!(verified.digest, index);
            assert_eq!(cached.image().unwrap().digest, child);
            assert_eq!(cached.image_id().unwrap(), Digest::of(b"ours"));
            us.push_signature(&server, &index, format, 2).await;
            let (verified, cached) = verify_twice(&us, &server).await;
            assert_eq!(verified.annotations.release_number, 2);
            assert_eq!(cached.image_id().unwrap(), Digest::of(b"ours"));
        }
        let (server, us) = (Server::start(), team());
        let (index, _) = put_index(&server);
        us.push_signature(&server, &index, Format::V2, 1).await;
        let manifests = registry(&server)
            .resolve_all(&image(&server, "hello-v1"))
            .await;
        assert_eq!(manifests.unwrap().len(), 3);
        // The registry sends the signed image of another platform in place of this one's.
        let other = Digest::of(&image_manifest("other"));
        let path = format!("/manifests/{}", Digest::of(&image_manifest("ours")));
        server.hook(move |r| {
            (r.path.ends_with(&path)).then(|| Reply::new(200, image_manifest("other")))
        });
        us.push_signature(&server, &other, Format::V2, 1).await;
        let error = verify(&us, &server).await.unwrap_err().to_string();
        assert!(error.contains("other content"), "{error}");
    });
}

#[test]
fn attestations_are_copied_but_not_signed() {
    let server = Server::start();
    let entry = |name: &str, os: &str, architecture: &str| {
        let bytes = image_manifest(name);
        let digest = server.put_manifest(name, OCI, &bytes);
        json!({ "mediaType": OCI, "digest": digest, "size": bytes.len(),
            "platform": { "os": os, "architecture": architecture } })
    };
    let mut attestation = entry("provenance", "unknown", "unknown");
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [attestation, entry("ours", "linux", "arm64")] });
    let index = server.put_manifest("hello-v1", INDEX, index.to_string().as_bytes());
    wait(async {
        let (registry, name) = (registry(&server), image(&server, "hello-v1"));
        let digests = |manifests: Vec<edge_signature::Manifest>| {
            manifests.into_iter().map(|m| m.digest).collect::<Vec<_>>()
        };
        let of = |name| Digest::of(&image_manifest(name));
        let signed = digests(registry.resolve_all(&name).await.unwrap());
        assert_eq!(signed, [index.clone(), of("ours")]);
        let copied = digests(registry.resolve_complete(&name).await.unwrap());
        assert_eq!(copied, [index, of("ours"), of("provenance")]);
    });
}

/// Layers of another type, absent, huge, of a wrong size, and with signatures that are not Base64
/// or not DER.
fn malformed_layers(server: &Server) -> Vec<Value> {
    let blob = server.put_blob(b"there");
    let layers = [
        ("text/plain", blob.clone(), 5, "MA=="),
        (SIMPLE, Digest::of(b"absent"), 6, "MA=="),
        (SIMPLE, blob.clone(), 1_u64 << 40, "MA=="),
        (SIMPLE, blob.clone(), 2, "MA=="),
        (SIMPLE, blob.clone(), 5, "%%"),
        (SIMPLE, blob, 5, "MA==\n"),
    ];
    let layer = |(kind, digest, size, text)| {
        json!({ "mediaType": kind, "digest": digest, "size": size,
            "annotations": { "dev.cosignproject.cosign/signature": text } })
    };
    layers.map(layer).into()
}

#[test]
fn signatures_of_others_hide_no_trusted_one() {
    let (server, us, them) = (Server::start(), team(), team());
    let digest = put_image(&server, "hello-v1");
    let tag = format!("sha256-{}.sig", digest.hex());
    wait(async {
        for format in BOTH {
            them.push_signature(&server, &digest, format, 9).await;
        }
        let error = verify(&us, &server).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("no trusted signature: signed by a key that is not trusted (")
                && error.contains("; trusted: "),
            "{error}"
        );
        us.push_signature(&server, &digest, Format::V2, 1).await;
        us.push_signature(&server, &digest, Format::V2, 2).await;
        them.push_signature(&server, &digest, Format::V2, 9).await;
        let mut list: Value = serde_json::from_slice(&server.manifest(&tag).unwrap()).unwrap();
        let layers = list["layers"].as_array_mut().unwrap();
        layers.extend(malformed_layers(&server));
        server.put_manifest(&tag, OCI, list.to_string().as_bytes());
        assert_eq!(
            verify_twice(&us, &server)
                .await
                .0
                .annotations
                .release_number,
            2
        );
        assert_eq!(
            verify_twice(&them, &server)
                .await
                .0
                .annotations
                .release_number,
            9
        );
        let all = registry(&server).signatures(&digest).await.unwrap();
        assert_eq!(
            all.iter().filter(|s| s.format() == Format::V3).count(),
            1,
            "{all:?}"
        );
        // A malformed list does not hide the other format.
        server.put_manifest(&tag, OCI, b"nonsense");
        assert_eq!(
            verify_twice(&them, &server)
                .await
                .0
                .annotations
                .release_number,
            9
        );
        let error = verify(&us, &server).await.unwrap_err().to_string();
        assert!(error.contains("is neither an image manifest"), "{error}");
    });
}

#[test]
fn malformed_referrers_are_rejected() {
    let (server, us) = (Server::start(), team());
    let (digest, other) = (
        put_image(&server, "hello-v1"),
        put_image(&server, "hello-v2"),
    );
    let signed = us.sign(&server, &digest, Format::V3, 1);
    let bundle = signed.to_bundle(&us.keys).unwrap();
    let layer = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": server.put_blob(bytes), "size": bytes.len() });
    let valid = json!({
        "schemaVersion": 2, "mediaType": OCI, "artifactType": BUNDLE,
        "config": layer(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [layer(&bundle, BUNDLE)],
        "subject": { "mediaType": OCI, "digest": digest, "size": 1 },
    });
    let list = |manifest: &Value, kind: &str| {
        let bytes = manifest.to_string().into_bytes();
        let name = server.put_manifest("bundle", OCI, &bytes);
        let index = json!({ "schemaVersion": 2, "manifests": [
            { "mediaType": OCI, "artifactType": kind, "digest": name, "size": bytes.len() }] });
        let tag = format!("sha256-{}", digest.hex());
        server.put_manifest(&tag, INDEX, index.to_string().as_bytes());
    };
    wait(async {
        list(&valid, BUNDLE);
        verify_twice(&us, &server).await;
        // The manifest says what it is; registries fill in the list as they like.
        list(&valid, "application/vnd.dev.sigstore.bundle.v0.2+json");
        verify_twice(&us, &server).await;
        let cases = [
            ("/subject/digest", json!(other), "without a bundle for it"),
            ("/subject", json!(null), "without a bundle for it"),
            ("/layers", json!([]), "without a bundle for it"),
            (
                "/layers/0/mediaType",
                json!("text/plain"),
                "without a bundle for it",
            ),
            ("/layers/0/size", json!(1 << 30), "a signature of"),
            ("/layers/0", layer(b"{}", BUNDLE), "bundle: missing field"),
            (
                "/layers/0",
                layer(&[b'['; 100_000], BUNDLE),
                "bundle: invalid type",
            ),
        ];
        for (place, value, expected) in cases {
            let mut malformed = valid.clone();
            *malformed.pointer_mut(place).unwrap() = value;
            list(&malformed, BUNDLE);
            let error = verify(&us, &server).await.unwrap_err();
            assert!(matches!(error, Error::Untrusted(_)), "{place}: {error:?}");
            assert!(error.to_string().contains(expected), "{place}: {error}");
        }
    });
}

#[test]
fn concurrent_bundles_are_all_listed_by_a_registry_with_referrers() {
    let server = Server::start();
    let list = &server.state.referrers;
    list.store(true, std::sync::atomic::Ordering::Relaxed);
    let digest = put_image(&server, "hello-v1");
    let teams: Vec<_> = (0..2).map(|_| team()).collect();
    std::thread::scope(|scope| {
        for team in &teams {
            let (server, digest) = (&server, &digest);
            scope.spawn(move || wait(team.push_signature(server, digest, Format::V3, 1)));
        }
    });
    wait(async {
        for team in &teams {
            let registry = registry(&server);
            let found = registry
                .verify_digest(&team.keys, &digest, &[Format::V3], Select::Newest)
                .await;
            found.unwrap();
            let found = registry
                .verify_digest(&team.keys, &digest, &[Format::V2], Select::Newest)
                .await;
            assert!(matches!(found, Err(Error::Unsigned(_))), "{found:?}");
        }
    });
}

#[test]
fn an_overwritten_addition_is_repeated() {
    wait(async {
        for (format, tag) in [(Format::V2, ".sig"), (Format::V3, "")] {
            let (server, us) = (Server::start(), team());
            let digest = put_image(&server, "hello-v1");
            let tag = format!("sha256-{}{tag}", digest.hex());
            let overwritten = std::sync::atomic::AtomicUsize::new(0);
            server.hook(move |r| {
                let write = r.method == "PUT" && r.path.ends_with(&tag);
                let first =
                    write && overwritten.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
                first.then(|| Reply::new(201, ""))
            });
            us.push_signature(&server, &digest, format, 1).await;
            verify_twice(&us, &server).await;
        }
    });
}
