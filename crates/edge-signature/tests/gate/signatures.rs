//! What is signed, by whom, and where that is found.

use edge_signature::{Digest, Error, Format};
use serde_json::{Value, json};

use crate::keys::team;
use crate::server::{Reply, Server};
use crate::team::{
    BOTH, BUNDLE, INDEX, OCI, SIMPLE, hasty, image, image_manifest, prove, proved, put_image,
    put_index, registry, wait,
};

#[test]
fn one_round_trip_for_each_manifest_and_signature() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    let hex = digest.hex().to_string();
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
        let (verified, proof) = proved(&us, &server).await;
        assert_eq!(verified.digest, digest);
        assert_eq!(proof.image_id().unwrap(), Digest::of(b"v1"));
        let asked = server.asked();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert_eq!(asked[0], "GET /v2/team/manifests/v1");
        assert_eq!(asked[1], format!("GET /v2/team/manifests/sha256-{hex}.sig"));
        assert!(asked[2].starts_with("GET /v2/team/blobs/sha256:"));

        server.drop_manifest(&format!("sha256-{hex}.sig"));
        us.attach(&server, &digest, Format::V3, 1).await;
        proved(&us, &server).await;
        let asked = server.asked();
        let wanted = ["/v1", ".sig", "/referrers/", &hex, "/manifests/", "/blobs/"];
        assert_eq!(asked.len(), wanted.len(), "{asked:?}");
        for (line, part) in asked.iter().zip(wanted) {
            assert!(line.contains(part), "{part}: {line}");
        }
        server
            .state
            .referrers
            .store(true, std::sync::atomic::Ordering::Relaxed);
        proved(&us, &server).await;
        assert_eq!(server.asked().len(), 5);
    });
}

#[test]
fn a_token_is_fetched_once() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    let realm = format!("https://localhost:{}/token", server.address.port());
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
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
        proved(&us, &server).await;
        assert_eq!(server.asked().len(), 5);
        let error = hasty(&server).resolve(&image(&server, "v1")).await;
        assert!(matches!(error, Err(Error::Unauthorized(_))), "{error:?}");
    });
}

#[test]
fn an_index_or_its_child_must_be_signed() {
    wait(async {
        for format in BOTH {
            let (server, us) = (Server::start(), team());
            let (index, child) = put_index(&server);
            let error = prove(&us, &server).await.unwrap_err();
            assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
            us.attach(&server, &child, format, 1).await;
            let (verified, proof) = proved(&us, &server).await;
            assert_eq!(verified.digest, index);
            assert_eq!(proof.image().unwrap().digest, child);
            assert_eq!(proof.image_id().unwrap(), Digest::of(b"ours"));
            us.attach(&server, &index, format, 2).await;
            let (verified, proof) = proved(&us, &server).await;
            assert_eq!(verified.annotations.serial, 2);
            assert_eq!(proof.image_id().unwrap(), Digest::of(b"ours"));
        }
        let (server, us) = (Server::start(), team());
        let (index, _) = put_index(&server);
        us.attach(&server, &index, Format::V2, 1).await;
        let family = registry(&server).family(&image(&server, "v1")).await;
        assert_eq!(family.unwrap().len(), 3);
        // A signed child of another platform is not ours to run.
        let other = Digest::of(&image_manifest("other"));
        let evil = format!("/manifests/{}", Digest::of(&image_manifest("ours")));
        server.hook(move |r| {
            (r.path.ends_with(&evil)).then(|| Reply::new(200, image_manifest("other")))
        });
        us.attach(&server, &other, Format::V2, 1).await;
        let error = prove(&us, &server).await.unwrap_err().to_string();
        assert!(error.contains("other content"), "{error}");
    });
}

#[test]
fn signatures_of_others_hide_nothing() {
    let (server, us, them) = (Server::start(), team(), team());
    let digest = put_image(&server, "v1");
    let tag = format!("sha256-{}.sig", digest.hex());
    wait(async {
        for format in BOTH {
            them.attach(&server, &digest, format, 9).await;
        }
        let error = prove(&us, &server).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no signature that counts: signed by a key that is not trusted"
        );
        us.attach(&server, &digest, Format::V2, 1).await;
        us.attach(&server, &digest, Format::V2, 2).await;
        them.attach(&server, &digest, Format::V2, 9).await;
        // Layers that are something else, absent, huge, broken, or no base64.
        let mut list: Value = serde_json::from_slice(&server.manifest(&tag).unwrap()).unwrap();
        let layers = list["layers"].as_array_mut().unwrap();
        let there = server.put_blob(b"there");
        for (kind, digest, size, text) in [
            ("text/plain", there.clone(), 5, "MA=="),
            (SIMPLE, Digest::of(b"absent"), 6, "MA=="),
            (SIMPLE, there.clone(), 1_u64 << 40, "MA=="),
            (SIMPLE, there.clone(), 2, "MA=="),
            (SIMPLE, there.clone(), 5, "%%"),
            (SIMPLE, there, 5, "MA==\n"),
        ] {
            layers.push(json!({ "mediaType": kind, "digest": digest, "size": size,
                "annotations": { "dev.cosignproject.cosign/signature": text } }));
        }
        server.put_manifest(&tag, OCI, list.to_string().as_bytes());
        assert_eq!(proved(&us, &server).await.0.annotations.serial, 2);
        assert_eq!(proved(&them, &server).await.0.annotations.serial, 9);
        let all = registry(&server).signatures(&digest).await.unwrap();
        assert_eq!(
            all.iter().filter(|s| s.format() == Format::V3).count(),
            1,
            "{all:?}"
        );
        // A list that makes no sense does not hide the other form.
        server.put_manifest(&tag, OCI, b"nonsense");
        assert_eq!(proved(&them, &server).await.0.annotations.serial, 9);
        let error = prove(&us, &server).await.unwrap_err().to_string();
        assert!(error.contains("is neither an image manifest"), "{error}");
    });
}

#[test]
fn referrers_that_are_something_else() {
    let (server, us) = (Server::start(), team());
    let (digest, other) = (put_image(&server, "v1"), put_image(&server, "v2"));
    let signed = us.sign(&server, &digest, Format::V3, 1);
    let bundle = signed.to_bundle(&us.keys).unwrap();
    let layer = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": server.put_blob(bytes), "size": bytes.len() });
    let good = json!({
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
        list(&good, BUNDLE);
        proved(&us, &server).await;
        list(&good, "application/vnd.dev.sigstore.bundle.v0.2+json");
        let error = prove(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
        let cases = [
            ("/subject/digest", json!(other), "no bundle for it"),
            ("/subject", json!(null), "no bundle for it"),
            ("/layers", json!([]), "no bundle for it"),
            (
                "/layers/0/mediaType",
                json!("text/plain"),
                "no bundle for it",
            ),
            ("/layers/0/size", json!(1 << 30), "a signature of"),
            ("/layers/0", layer(b"{}", BUNDLE), "bundle: missing field"),
            (
                "/layers/0",
                layer(&[b'['; 100_000], BUNDLE),
                "bundle: invalid type",
            ),
        ];
        for (place, value, wanted) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            list(&bad, BUNDLE);
            let error = prove(&us, &server).await.unwrap_err();
            assert!(matches!(error, Error::Untrusted(_)), "{place}: {error:?}");
            assert!(error.to_string().contains(wanted), "{place}: {error}");
        }
    });
}

/// Whether it is signed cannot be told: never "unsigned".
#[test]
fn bundles_made_at_once_are_all_there_where_the_registry_keeps_the_list() {
    let server = Server::start();
    let list = &server.state.referrers;
    list.store(true, std::sync::atomic::Ordering::Relaxed);
    let digest = put_image(&server, "v1");
    let teams: Vec<_> = (0..2).map(|_| team()).collect();
    std::thread::scope(|scope| {
        for team in &teams {
            let (server, digest) = (&server, &digest);
            scope.spawn(move || wait(team.attach(server, digest, Format::V3, 1)));
        }
    });
    wait(async {
        for team in &teams {
            let registry = registry(&server);
            let found = registry.verified(&team.keys, &digest, &[Format::V3]).await;
            found.unwrap();
            let found = registry.verified(&team.keys, &digest, &[Format::V2]).await;
            assert!(matches!(found, Err(Error::Unsigned(_))), "{found:?}");
        }
    });
}

#[test]
fn an_addition_that_is_overwritten_is_made_again() {
    wait(async {
        for (format, tag) in [(Format::V2, ".sig"), (Format::V3, "")] {
            let (server, us) = (Server::start(), team());
            let digest = put_image(&server, "v1");
            let tag = format!("sha256-{}{tag}", digest.hex());
            let lost = std::sync::atomic::AtomicUsize::new(0);
            server.hook(move |r| {
                let write = r.method == "PUT" && r.path.ends_with(&tag);
                let first = write && lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
                first.then(|| Reply::new(201, ""))
            });
            us.attach(&server, &digest, format, 1).await;
            proved(&us, &server).await;
        }
    });
}
