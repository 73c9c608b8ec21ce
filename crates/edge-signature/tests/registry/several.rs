//! Several signatures of one manifest: for two apps, two versions, in two formats.

use edge_signature::{
    Annotations, CachedSignature, Digest, Draft, Error, Format, ImageRef, Manifest, Registry,
    Select, Verified,
};
use serde_json::json;

use crate::images::{OCI, image, image_manifest, put_index, registry, wait};
use crate::keys::{Team, team};
use crate::server::{Reply, Server};

/// App, version and release number of a signature.
type Version = (&'static str, &'static str, u64);

fn annotations((app, version, release_number): Version) -> Annotations {
    Annotations {
        app: app.into(),
        version: version.into(),
        release_number,
        grants: vec![format!("grant-{app}")],
        run: None,
    }
}

/// A registry with one manifest, and the team that signs it.
struct Signer {
    server: Server,
    team: Team,
    digest: Digest,
}

impl Signer {
    fn new() -> Self {
        let server = Server::start();
        let digest = server.put_manifest("any", OCI, &image_manifest("any"));
        Self {
            server,
            team: team(),
            digest,
        }
    }

    async fn push(&self, format: Format, annotations: &Annotations) {
        let tag = format!("{}-{}", annotations.app, annotations.version);
        self.push_as(&tag, format, annotations).await;
    }

    /// Signs the manifest with `tag` in the reference.
    async fn push_as(&self, tag: &str, format: Format, annotations: &Annotations) {
        let name = image(&self.server, tag);
        let draft = Draft::new(format, &name, &self.digest, annotations);
        let signed = self.team.complete(draft);
        let manifest = Manifest::new(self.server.manifest(self.digest.as_str()).unwrap());
        self.server.put_manifest(tag, OCI, &manifest.bytes);
        let pushed = registry(&self.server);
        let pushed = pushed.push_signature(&self.team.keys, &manifest, &signed);
        pushed.await.unwrap();
        self.server.requests();
    }

    async fn sign(&self, versions: &[Version]) {
        for version in versions {
            self.push(Format::V2, &annotations(*version)).await;
        }
    }

    fn name(&self, text: &str) -> ImageRef {
        let digest = format!("@{}", self.digest);
        let name = text.replace('@', &digest);
        format!("{}{name}", self.server.repository())
            .parse()
            .unwrap()
    }

    async fn verify(&self, text: &str) -> Result<(Verified, CachedSignature), Error> {
        let name = self.name(text);
        let (verified, cached) = registry(&self.server)
            .verify(&self.team.keys, &name)
            .await?;
        assert_eq!(self.cached(&cached, Select::of(&name))?, verified);
        Ok((verified, cached))
    }

    fn cached(&self, cached: &CachedSignature, select: Select) -> Result<Verified, Error> {
        let text = serde_json::to_vec(cached).unwrap();
        let read: CachedSignature = serde_json::from_slice(&text).unwrap();
        let repository = self.server.repository().parse().unwrap();
        read.verify_for(&self.team.keys, &repository, select)
    }

    async fn refused(&self, text: &str, expected: &[&str]) -> Error {
        let error = self.verify(text).await.unwrap_err();
        for part in expected {
            assert!(error.to_string().contains(part), "{text}: {part}: {error}");
        }
        error
    }
}

fn version(verified: &Verified) -> (&str, &str, u64) {
    let signed = &verified.annotations;
    (&signed.app, &signed.version, signed.release_number)
}

#[test]
fn the_typed_tag_chooses_among_versions_and_apps() {
    let one = Signer::new();
    let all = [("a", "v1", 1), ("a", "v3", 3), ("b", "v2", 2)];
    wait(async {
        one.sign(&all[..2]).await;
        let (newest, _) = one.verify("@").await.unwrap();
        assert_eq!(version(&newest), all[1]);
        one.sign(&all[2..]).await;
        let names = ["is ambiguous", "a v1, a v3, b v2", "APP-VERSION"];
        let error = one.refused("@", &names).await;
        assert!(matches!(error, Error::Ambiguous(_)), "{error:?}");
        for wanted in all {
            let (app, of, _) = wanted;
            for text in [format!(":{app}-{of}"), format!(":{app}-{of}@")] {
                let (verified, cached) = one.verify(&text).await.unwrap();
                assert_eq!(version(&verified), wanted);
                assert_eq!(verified.annotations.grants, [format!("grant-{app}")]);
                for (app, version, number) in all {
                    let by_label = one.cached(&cached, Select::Version { app, version });
                    assert_eq!(
                        by_label.unwrap().annotations,
                        annotations((app, version, number))
                    );
                }
                assert!(one.cached(&cached, Select::Newest).is_err());
                let (app, version) = ("a", "v2");
                let other = one.cached(&cached, Select::Version { app, version });
                assert!(matches!(other, Err(Error::NotSelected(_))), "{other:?}");
            }
        }
    });
}

#[test]
fn a_tag_of_another_version_or_app_is_refused() {
    let one = Signer::new();
    wait(async {
        one.sign(&[("hello", "v1", 1)]).await;
        for tag in [
            "hello-v2",
            "other-v1",
            "hello",
            "v1",
            "hello-v1-",
            "Hello-v1",
            "hello-v10",
        ] {
            one.server.put_manifest(tag, OCI, &image_manifest("any"));
            for text in [format!(":{tag}"), format!(":{tag}@")] {
                let named = format!("tag {tag} is refused");
                let error = one.refused(&text, &[&named, "signed as hello v1"]).await;
                assert!(matches!(error, Error::NotSelected(_)), "{error:?}");
            }
        }
        one.verify("@").await.unwrap();
        // The reference of a v2 payload names another tag than its annotations.
        one.push_as("hello-v9", Format::V2, &annotations(("hello", "v2", 2)))
            .await;
        for tag in ["hello-v2", "hello-v9"] {
            let text = format!(":{tag}");
            one.refused(&text, &["hello v2 (with the tag hello-v9)"])
                .await;
        }
        assert_eq!(
            version(&one.verify("@").await.unwrap().0),
            ("hello", "v2", 2)
        );
        one.push(Format::V3, &annotations(("hello", "v2", 2))).await;
        assert_eq!(
            version(&one.verify(":hello-v2").await.unwrap().0),
            ("hello", "v2", 2)
        );
    });
}

#[test]
fn the_signature_decides_whose_tag_it_is() {
    wait(async {
        for signed in [("a", "b-1", 1), ("a-b", "1", 1)] {
            let one = Signer::new();
            one.sign(&[signed]).await;
            let (verified, _) = one.verify(":a-b-1").await.unwrap();
            assert_eq!(version(&verified), signed);
        }
        let one = Signer::new();
        one.sign(&[("a", "b-1", 1), ("a-b", "1", 2)]).await;
        let error = one
            .refused(":a-b-1", &["tag a-b-1 is ambiguous", "a b-1, a-b 1"])
            .await;
        assert!(matches!(error, Error::Ambiguous(_)), "{error:?}");
    });
}

#[test]
fn the_highest_release_number_of_either_format_is_taken() {
    wait(async {
        for formats in [[Format::V2, Format::V3], [Format::V3, Format::V2]] {
            let one = Signer::new();
            one.push(formats[0], &annotations(("a", "v1", 1))).await;
            one.push(formats[1], &annotations(("a", "v1", 2))).await;
            // A list in another order is no way back.
            one.push(formats[1], &annotations(("a", "v1", 1))).await;
            for text in ["@", ":a-v1"] {
                let (verified, cached) = one.verify(text).await.unwrap();
                assert_eq!(version(&verified), ("a", "v1", 2));
                let kept = serde_json::to_value(&cached).unwrap();
                assert_eq!(kept["signed"].as_array().unwrap().len(), 1);
            }
        }
        let one = Signer::new();
        one.sign(&[("a", "v1", 7), ("a", "v2", 7)]).await;
        one.refused("@", &["is ambiguous", "a v1, a v2"]).await;
    });
}

#[test]
fn a_list_of_referrers_that_is_forbidden_hides_no_v2_signature() {
    let one = Signer::new();
    wait(async {
        let forbid = || {
            let forbidden = |r: &crate::server::Request| r.path.contains("/referrers/");
            one.server
                .hook(move |r| forbidden(r).then(|| Reply::new(403, "")));
        };
        forbid();
        assert!(matches!(one.verify("@").await, Err(Error::Unauthorized(_))));
        one.server.hook(|_| None);
        one.sign(&[("a", "v1", 1)]).await;
        forbid();
        assert_eq!(version(&one.verify("@").await.unwrap().0), ("a", "v1", 1));
        one.server
            .hook(|r| r.path.contains("/referrers/").then(|| Reply::new(500, "")));
        assert!(matches!(one.verify("@").await, Err(Error::Unverifiable(_))));
    });
}

#[test]
fn an_image_of_an_index_answers_for_the_tag_that_the_index_does_not_have() {
    let server = Server::start();
    let (index, child) = put_index(&server);
    let one = Signer {
        server,
        team: team(),
        digest: child,
    };
    let bytes = one.server.manifest(index.as_str()).unwrap();
    let kind = "application/vnd.oci.image.index.v1+json";
    wait(async {
        one.sign(&[("a", "v1", 1), ("b", "v9", 9)]).await;
        let one = Signer {
            digest: index,
            ..one
        };
        one.sign(&[("a", "v3", 3)]).await;
        for tag in ["a-v1", "a-v3", "b-v9", "c-v1"] {
            one.server.put_manifest(tag, kind, &bytes);
        }
        for (text, wanted) in [
            (":a-v1", ("a", "v1", 1)),
            (":a-v3", ("a", "v3", 3)),
            (":b-v9", ("b", "v9", 9)),
            ("@", ("a", "v3", 3)),
        ] {
            let (verified, _) = one.verify(text).await.unwrap();
            assert_eq!(
                (version(&verified), &verified.digest),
                (wanted, &one.digest)
            );
        }
        one.refused(":c-v1", &["tag c-v1 is refused", "signed as a v3"])
            .await;
    });
}

#[test]
fn the_specification_of_another_app_may_be_missing() {
    let one = Signer::new();
    let spec = b"{\"v\":1}";
    wait(async {
        let registry = registry(&one.server);
        let mut of_a = annotations(("a", "v1", 1));
        of_a.run = Some(registry.push_run_spec(spec.to_vec()).await.unwrap());
        let mut of_b = annotations(("b", "v1", 1));
        of_b.run = Some(Digest::of(b"absent"));
        one.push(Format::V2, &of_a).await;
        one.push(Format::V2, &of_b).await;
        let (verified, cached) = one.verify(":a-v1").await.unwrap();
        assert_eq!(verified.run.as_deref(), Some(&spec[..]));
        one.refused(
            ":b-v1",
            &["run specification sha256:", "not found in the registry"],
        )
        .await;
        let (app, version) = ("b", "v1");
        let error = one
            .cached(&cached, Select::Version { app, version })
            .unwrap_err();
        assert!(error.to_string().contains("of b v1 is missing"), "{error}");
    });
}

#[test]
fn an_earlier_cached_signature_is_kept_beside_the_new_one() {
    let one = Signer::new();
    wait(async {
        let registry: Registry = registry(&one.server);
        let mut of_a = annotations(("a", "v1", 1));
        of_a.run = Some(registry.push_run_spec(b"{}".to_vec()).await.unwrap());
        one.push(Format::V2, &of_a).await;
        let (_, older) = one.verify(":a-v1").await.unwrap();
        let mut later = serde_json::to_value(&older).unwrap();
        later["later"] = json!(7);
        let older: CachedSignature = serde_json::from_value(later).unwrap();
        // The registry shows only the signature of the other app.
        one.server
            .drop_manifest(&format!("sha256-{}.sig", one.digest.hex()));
        one.sign(&[("b", "v1", 2)]).await;
        let (of_b, newer) = one.verify(":b-v1").await.unwrap();
        let repository = one.server.repository().parse().unwrap();
        let merge = |newer: &CachedSignature, older: &CachedSignature, team: &Team| {
            newer
                .clone()
                .merged(Some(older), &team.keys, &repository, &of_b.annotations)
        };
        let merged = merge(&newer, &older, &one.team);
        for app in ["a", "b"] {
            let select = Select::Version { app, version: "v1" };
            let verified = one.cached(&merged, select).unwrap();
            assert_eq!(verified.run.is_some(), app == "a");
        }
        assert_eq!(serde_json::to_value(&merged).unwrap()["later"], 7);
        assert_eq!(merge(&merged, &older, &one.team), merged);
        // An entry of another manifest, or without a trusted signature, adds nothing.
        let them = team();
        assert!(
            one.cached(&merge(&merged, &older, &them), Select::Newest)
                .is_err()
        );
        let other = CachedSignature::new(&Manifest::new(image_manifest("x")), Vec::new());
        assert_eq!(merge(&newer, &other, &one.team), newer);
    });
}

#[test]
fn the_kept_signatures_are_limited() {
    let one = Signer::new();
    let manifest = Manifest::new(image_manifest("any"));
    let sign = |number: u64| {
        let annotations = Annotations {
            version: format!("v{number}"),
            ..annotations(("a", "v", number))
        };
        let name = image(&one.server, &format!("a-v{number}"));
        let draft = Draft::new(Format::V2, &name, &one.digest, &annotations);
        (one.team.complete(draft), annotations)
    };
    let (signed, all): (Vec<_>, Vec<_>) = (1..=70).map(sign).unzip();
    let repository = one.server.repository().parse().unwrap();
    let cached = CachedSignature::new(&manifest, signed);
    let kept = cached.merged(None, &one.team.keys, &repository, &all[0]);
    let kept = kept.trusted(&one.team.keys, &repository).unwrap();
    let mut numbers: Vec<_> = kept.iter().map(|v| v.annotations.release_number).collect();
    numbers.sort_unstable();
    let wanted: Vec<_> = std::iter::once(1).chain(8..=70).collect();
    assert_eq!(numbers, wanted);
}
