//! Servers that fail, flood, redirect and lie.

use std::time::{Duration, Instant};

use edge_signature::{Credentials, Error, Format, ImageRef, Registry};
use serde_json::json;

use crate::images::{OCI, image, image_manifest, impatient, put_image, registry, verify, wait};
use crate::keys::team;
use crate::server::{self, Delivery, Reply, Server};

#[test]
fn each_status_has_its_error() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    let (registry, name) = (registry(&server), image(&server, "hello-v1"));
    wait(async {
        us.push_signature(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/hello-v1", ".sig", "/blobs/"] {
            for status in [401, 403, 429, 400, 500, 502, 503, 504, 301, 307, 418] {
                server.hook(move |r| r.path.contains(place).then(|| Reply::new(status, "{")));
                let error = registry.verify(&us.keys, &name).await.unwrap_err();
                let as_expected = match status {
                    401 | 403 => matches!(error, Error::Unauthorized(_)),
                    _ => matches!(error, Error::Unverifiable(_)),
                };
                assert!(as_expected, "{place} {status}: {error:?}");
            }
        }
        server.hook(|r| r.path.contains("/hello-v1").then(|| Reply::new(404, "")));
        let error = registry.verify(&us.keys, &name).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        server.hook(|r| r.path.contains(".sig").then(|| Reply::new(404, "")));
        let error = registry.verify(&us.keys, &name).await.unwrap_err();
        assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
        let body = r#"{"errors":[{"code":"X","message":"a\u001b[2J\nb"}]}"#;
        server.hook(move |_| Some(Reply::new(500, body)));
        let error = registry
            .verify(&us.keys, &name)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("a [2J b"), "{error:?}");
        let without_ca = Registry::new(&server.repository().parse().unwrap(), None, &[]).unwrap();
        let error = without_ca
            .resolve(&image(&server, "hello-v1"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unverifiable(_)), "{error:?}");
    });
}

#[test]
fn slow_and_flooding_responses_end_at_their_limits() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    type Case = (fn() -> Reply, &'static str);
    let cases: [Case; 5] = [
        (|| Reply::delivered(Delivery::Silent), "timed out"),
        (|| Reply::delivered(Delivery::Drip), "timed out"),
        (|| Reply::delivered(Delivery::Endless), "larger than"),
        (|| Reply::delivered(Delivery::Cut), ""),
        (
            || Reply::new(200, "{}").with("Content-Length", "99999999999"),
            "larger than",
        ),
    ];
    wait(async {
        us.push_signature(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/hello-v1", ".sig", "/blobs/"] {
            for (reply, expected) in cases {
                server.hook(move |r| r.path.contains(place).then(reply));
                let start = Instant::now();
                let registry = impatient(&server);
                let verified = registry.verify(&us.keys, &image(&server, "hello-v1")).await;
                let error = verified.unwrap_err();
                assert!(!matches!(error, Error::Unsigned(_)), "{place}: {error:?}");
                assert!(error.to_string().contains(expected), "{place}: {error}");
                assert!(
                    start.elapsed() < Duration::from_secs(5),
                    "{place} {expected}"
                );
            }
        }
    });
}

#[test]
fn other_hosts_receive_no_credentials_and_serve_no_manifest() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    let (certificate, key) = server::certificate();
    let other_host = Server::with(&certificate, &key);
    let ca_bundle = [
        server.ca_certificate.clone(),
        other_host.ca_certificate.clone(),
    ];
    let credentials = Some(Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    });
    let repository = server.repository().parse().unwrap();
    let registry = Registry::new(&repository, credentials, &ca_bundle).unwrap();
    let other_url = format!("https://localhost:{}", other_host.address.port());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let recorded = std::sync::Arc::clone(&seen);
    other_host.hook(move |r| {
        recorded
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
        us.push_signature(&server, &digest, Format::V2, 1).await;
        let signed = us.sign(&server, &digest, Format::V2, 1);
        other_host.put_manifest("hello-v1", OCI, &image_manifest("hello-v1"));
        let name = image(&server, "hello-v1");
        let verify = || registry.verify(&us.keys, &name);
        for place in ["/manifests/hello-v1", ".sig"] {
            redirect(place, other_url.clone());
            let error = verify().await.unwrap_err();
            assert!(error.to_string().contains("not followed"), "{error}");
        }
        assert!(other_host.requests().is_empty());
        redirect("/blobs/", other_url.clone());
        let error = verify().await.unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)), "{error:?}");
        other_host.put_blob(signed.payload());
        verify().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [None, None]);
        for (to, expected) in [
            (other_url.replace("https", "http"), "not followed"),
            ("file://".into(), "not followed"),
            (String::new(), "too many redirects"),
        ] {
            redirect("/blobs/", to);
            let error = verify().await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
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
        assert!(error.contains("a list of more than"), "{error}");
        server.hook(|_| Some(Reply::new(401, "")));
        let denied = registry.login().await;
        assert!(matches!(denied, Err(Error::Unauthorized(_))), "{denied:?}");
    });
}

#[test]
fn content_with_another_digest_is_rejected() {
    let (server, us) = (Server::start(), team());
    let digest = put_image(&server, "hello-v1");
    let by_digest: ImageRef = format!("{}@{digest}", server.repository()).parse().unwrap();
    wait(async {
        us.push_signature(&server, &digest, Format::V2, 1).await;
        for place in ["/manifests/sha256:", "/blobs/"] {
            server.hook(move |r| {
                r.path
                    .contains(place)
                    .then(|| Reply::new(200, image_manifest("v9")))
            });
            let verified = registry(&server).verify(&us.keys, &by_digest).await;
            assert!(verified.is_err(), "{place}");
        }
        server.hook(|_| None);
        registry(&server)
            .verify(&us.keys, &by_digest)
            .await
            .unwrap();
        // The tag was moved: the new content is not signed.
        put_image(&server, "hello-v2");
        let moved = server.manifest("hello-v2").unwrap();
        server.put_manifest("hello-v1", OCI, &moved);
        let error = verify(&us, &server).await.unwrap_err();
        assert!(matches!(error, Error::Unsigned(_)), "{error:?}");
    });
}
