//! Registries that fail, flood, redirect and lie.

use std::time::{Duration, Instant};

use edge_signature::{Credentials, Error, Format, ImageRef, Registry};
use serde_json::json;

use crate::keys::team;
use crate::server::{self, How, Reply, Server};
use crate::team::{OCI, hasty, image, image_manifest, prove, put_image, registry, wait};

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
    let ca_bundle = [server.authority.clone(), elsewhere.authority.clone()];
    let credentials = Some(Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    });
    let repository = server.repository().parse().unwrap();
    let registry = Registry::new(&repository, credentials, &ca_bundle).unwrap();
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
