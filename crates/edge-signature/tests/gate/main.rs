//! The gate before a registry: signed in every way, not signed, and hostile.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod server;

use std::time::{Duration, Instant};

use edge_signature::{
    Annotations, Credentials, Digest, Draft, Error, Format, ImageRef, Keys, Manifest, Proof,
    Registry, Signed, Verified, architecture, sign_with_pem,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};
use server::{How, Reply, Server};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const BOTH: [Format; 2] = [Format::V2, Format::V3];

struct Team {
    private: Vec<u8>,
    keys: Keys,
}

fn team() -> Team {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Team {
        private: key.private_key_to_pem_pkcs8().unwrap(),
        keys: Keys::from_pems(&[key.public_key_to_pem().unwrap()]).unwrap(),
    }
}

impl Team {
    fn sign(&self, server: &Server, digest: &Digest, format: Format, serial: u64) -> Signed {
        let annotations = Annotations {
            app: "hello".into(),
            version: "v1".into(),
            serial,
            grants: Vec::new(),
        };
        let draft = Draft::new(format, &image(server, "v1"), digest, &annotations);
        let signature = sign_with_pem(&self.private, &draft.to_sign()).unwrap().0;
        draft.signed(signature)
    }

    /// Signs what is on the server and puts the signature there.
    async fn attach(&self, server: &Server, digest: &Digest, format: Format, serial: u64) {
        let signed = self.sign(server, digest, format, serial);
        let manifest = Manifest::new(server.manifest(digest.as_str()).unwrap());
        let registry = registry(server);
        registry
            .attach(&self.keys, &manifest, &signed)
            .await
            .unwrap();
        server.asked();
    }
}

fn registry(server: &Server) -> Registry {
    let credentials = Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    };
    with(server, Some(credentials), Duration::from_secs(20))
}

/// One that does not wait long.
fn hasty(server: &Server) -> Registry {
    with(server, None, Duration::from_millis(400))
}

fn with(server: &Server, credentials: Option<Credentials>, patience: Duration) -> Registry {
    let repository = server.repository().parse().unwrap();
    let authorities = [server.authority.clone()];
    Registry::patient(&repository, credentials, &authorities, patience).unwrap()
}

fn image(server: &Server, tag: &str) -> ImageRef {
    format!("{}:{tag}", server.repository()).parse().unwrap()
}

fn image_manifest(name: &str) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": name.len(),
            "digest": Digest::of(name.as_bytes()) },
    });
    manifest.to_string().into_bytes()
}

fn put_image(server: &Server, tag: &str) -> Digest {
    server.put_manifest(tag, OCI, &image_manifest(tag))
}

/// An index of two images under `v1`; gives the digests of it and of ours.
fn put_index(server: &Server) -> (Digest, Digest) {
    let entry = |name: &str, architecture: &str| {
        let bytes = image_manifest(name);
        let digest = server.put_manifest(name, OCI, &bytes);
        json!({ "mediaType": OCI, "digest": digest, "size": bytes.len(),
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry("other", "s390x"), entry("ours", architecture())],
    });
    let index = server.put_manifest("v1", INDEX, index.to_string().as_bytes());
    (index, Digest::of(&image_manifest("ours")))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

async fn prove(team: &Team, server: &Server) -> Result<(Verified, Proof), Error> {
    registry(server)
        .prove(&team.keys, &image(server, "v1"))
        .await
}

/// Proves, and proves again without network from the bytes that are kept.
async fn proved(team: &Team, server: &Server) -> (Verified, Proof) {
    let (verified, proof) = prove(team, server).await.unwrap();
    let text = serde_json::to_vec(&proof).unwrap();
    let kept: Proof = serde_json::from_slice(&text).unwrap();
    let repository = server.repository().parse().unwrap();
    assert_eq!(kept.verify(&team.keys, &repository).unwrap(), verified);
    (verified, proof)
}

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
fn statuses_are_told_apart() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    let (registry, name) = (registry(&server), image(&server, "v1"));
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/v1", ".sig", "/blobs/"] {
            for status in [401, 403, 429, 400, 500, 502, 503, 504, 301, 307, 418] {
                server.hook(move |r| r.path.contains(place).then(|| Reply::new(status, "{")));
                let error = registry.prove(&us.keys, &name).await.unwrap_err();
                let good = match status {
                    401 | 403 => matches!(error, Error::Unauthorized(_)),
                    _ => matches!(error, Error::CannotTell(_)),
                };
                assert!(good, "{place} {status}: {error:?}");
            }
        }
        server.hook(|r| r.path.contains("/v1").then(|| Reply::new(404, "")));
        let error = registry.prove(&us.keys, &name).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        server.hook(|r| r.path.contains(".sig").then(|| Reply::new(404, "")));
        let error = registry.prove(&us.keys, &name).await.unwrap_err();
        assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
        let words = r#"{"errors":[{"code":"X","message":"a\u001b[2J\nb"}]}"#;
        server.hook(move |_| Some(Reply::new(500, words)));
        let error = registry
            .prove(&us.keys, &name)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("a [2J b"), "{error:?}");
        let stranger = Registry::new(&server.repository().parse().unwrap(), None, &[]).unwrap();
        let error = stranger.resolve(&image(&server, "v1")).await.unwrap_err();
        assert!(matches!(error, Error::CannotTell(_)), "{error:?}");
    });
}

#[test]
fn a_registry_that_takes_its_time_or_floods() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    type Case = (fn() -> Reply, &'static str);
    let how: [Case; 5] = [
        (|| Reply::how(How::Silent), "timed out"),
        (|| Reply::how(How::Drip), "timed out"),
        (|| Reply::how(How::Endless), "larger than"),
        (|| Reply::how(How::Cut), ""),
        (
            || Reply::new(200, "{}").with("Content-Length", "99999999999"),
            "larger than",
        ),
    ];
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/v1", ".sig", "/blobs/"] {
            for (reply, wanted) in how {
                server.hook(move |r| r.path.contains(place).then(reply));
                let start = Instant::now();
                let registry = hasty(&server);
                let proved = registry.prove(&us.keys, &image(&server, "v1")).await;
                let error = proved.unwrap_err();
                assert!(!matches!(error, Error::Unsigned(_)), "{place}: {error:?}");
                assert!(error.to_string().contains(wanted), "{place}: {error}");
                assert!(start.elapsed() < Duration::from_secs(5), "{place} {wanted}");
            }
        }
    });
}

#[test]
fn redirects_lead_no_secret_and_no_manifest_elsewhere() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    let (certificate, key) = server::certificate();
    let elsewhere = Server::with(&certificate, &key);
    let authorities = [server.authority.clone(), elsewhere.authority.clone()];
    let credentials = Some(Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    });
    let repository = server.repository().parse().unwrap();
    let registry = Registry::new(&repository, credentials, &authorities).unwrap();
    let away = format!("https://localhost:{}", elsewhere.address.port());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = std::sync::Arc::clone(&seen);
    elsewhere.hook(move |r| {
        noted
            .lock()
            .unwrap()
            .push(r.headers.get("authorization").cloned());
        None
    });
    let redirect = |place: &'static str, to: String| {
        server.hook(move |r| {
            let to = format!("{to}{}", r.path);
            (r.path.contains(place)).then(|| Reply::new(307, "").with("Location", to))
        });
    };
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
        let signed = us.sign(&server, &digest, Format::V2, 1);
        elsewhere.put_manifest("v1", OCI, &image_manifest("v1"));
        let name = image(&server, "v1");
        let prove = || registry.prove(&us.keys, &name);
        for place in ["/manifests/v1", ".sig"] {
            redirect(place, away.clone());
            let error = prove().await.unwrap_err();
            assert!(error.to_string().contains("not followed"), "{error}");
        }
        assert!(elsewhere.asked().is_empty());
        redirect("/blobs/", away.clone());
        let error = prove().await.unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)), "{error:?}");
        elsewhere.put_blob(signed.payload());
        prove().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [None, None]);
        for (to, wanted) in [
            (away.replace("https", "http"), "not followed"),
            ("file://".into(), "not followed"),
            (String::new(), "place to place"),
        ] {
            redirect("/blobs/", to);
            let error = prove().await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    });
}

#[test]
fn lists_come_in_pages_from_the_same_host() {
    let server = Server::start();
    let page = |tag: &str, next: &str| {
        let reply = Reply::new(200, json!({ "tags": [tag] }).to_string());
        reply.with("Link", format!("<{next}>; rel=\"next\""))
    };
    wait(async {
        let registry = registry(&server);
        server.hook(move |r| {
            let first = !r.path.contains("last");
            first.then(|| page("v0", "/v2/team/tags/list?last=v0"))
        });
        assert_eq!(registry.tags().await.unwrap(), ["v0", "v1"]);
        registry.login().await.unwrap();
        server.hook(move |_| Some(page("v0", "https://evil.test/v2/team/tags/list")));
        let error = registry.tags().await.unwrap_err().to_string();
        assert!(error.contains("not followed"), "{error}");
        server.hook(move |r| Some(page("v0", &r.path)));
        let error = registry.tags().await.unwrap_err().to_string();
        assert!(error.contains("without end"), "{error}");
        server.hook(|_| Some(Reply::new(401, "")));
        let refused = registry.login().await;
        assert!(
            matches!(refused, Err(Error::Unauthorized(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn other_content_than_its_digest_says() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "v1");
    let pinned: ImageRef = format!("{}@{digest}", server.repository()).parse().unwrap();
    wait(async {
        us.attach(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/sha256:", "/blobs/"] {
            server.hook(move |r| {
                r.path
                    .contains(place)
                    .then(|| Reply::new(200, image_manifest("v9")))
            });
            let proved = registry(&server).prove(&us.keys, &pinned).await;
            assert!(proved.is_err(), "{place}");
        }
        server.hook(|_| None);
        registry(&server).prove(&us.keys, &pinned).await.unwrap();
        // A tag that names other content now: that content is unsigned.
        put_image(&server, "v2");
        let moved = server.manifest("v2").unwrap();
        server.put_manifest("v1", OCI, &moved);
        let error = prove(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
    });
}

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
