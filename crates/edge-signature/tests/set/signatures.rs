//! Signatures of release sets: role, threshold, name, number and repository.

use edge_signature::set::{Reason, ReleaseSet, SetApp, SetKeys, SetProof, SetRefusal, manifest};
use edge_signature::{
    Digest, Draft, Error, Format, Keys, Manifest, Repository, Select, Signed, sign_with_pem,
};
use serde_json::{Value, json};

use crate::keys::{Team, team};

const BOTH: [Format; 2] = [Format::V2, Format::V3];

fn repository() -> Repository {
    "r.io/team".parse().unwrap()
}

fn set() -> ReleaseSet {
    let mut set = ReleaseSet::new("barn", 7, 1_798_761_600, &["edge-ai-*"]);
    set.apps.push(SetApp {
        digest: Digest::of(b"image"),
        name: "hello".into(),
        run: Digest::of(b"run"),
        serial: 1,
        timeout: None,
        version: "v1".into(),
    });
    set
}

fn complete(team: &Team, draft: Draft) -> Signed {
    let signature = sign_with_pem(&team.private, &draft.to_sign()).unwrap().0;
    draft.signed(signature)
}

fn sign(team: &Team, format: Format, set: &ReleaseSet) -> Signed {
    let digest = manifest(&set.to_bytes().unwrap()).digest;
    complete(team, Draft::of_set(format, &repository(), &digest, set))
}

fn proof(set: &ReleaseSet, signatures: Vec<Signed>) -> SetProof {
    let bytes = set.to_bytes().unwrap();
    SetProof::new(&manifest(&bytes), bytes, signatures).unwrap()
}

fn trust(teams: &[&Team], threshold: usize) -> SetKeys {
    let pems: Vec<_> = teams.iter().map(|team| team.public.clone()).collect();
    let keys = Keys::from_pems(&pems).unwrap();
    SetKeys { keys, threshold }
}

#[test]
fn a_signed_set_is_verified_from_its_proof() {
    for format in BOTH {
        let us = team();
        let proof = proof(&set(), vec![sign(&us, format, &set())]);
        let proof = SetProof::parse(&proof.to_bytes()).unwrap();
        let verified = proof.verify(&trust(&[&us], 1), &repository()).unwrap();
        assert_eq!((&verified.set, &verified.digest), (&set(), &proof.digest()));
        assert_eq!(verified.signers.len(), 1);
        let error = proof
            .verify(&trust(&[&team()], 1), &repository())
            .unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)), "{error}");
        assert_eq!(SetRefusal::of(&error).unwrap().reason, Reason::Signature);
    }
    let error = proof(&set(), Vec::new())
        .verify(&trust(&[&team()], 1), &repository())
        .unwrap_err();
    assert!(matches!(error, Error::Unsigned(_)), "{error}");
}

#[test]
fn the_threshold_counts_different_keys() {
    let (a, b, other) = (team(), team(), team());
    let [v2, v3] = BOTH;
    let by = |team: &Team, format| sign(team, format, &set());
    let keys = [&a, &b, &a];
    let cases: [(Vec<Signed>, usize); 6] = [
        (vec![by(&a, v2)], 1),
        // The same key again, in the other format, and listed twice.
        (vec![by(&a, v2), by(&a, v3), by(&a, v2)], 1),
        (vec![by(&a, v2), by(&other, v2), by(&other, v3)], 1),
        (vec![by(&a, v2), by(&b, v3)], 2),
        (vec![by(&other, v2), by(&b, v2), by(&a, v2)], 2),
        (vec![by(&other, v2)], 0),
    ];
    for (signatures, count) in cases {
        let proof = proof(&set(), signatures);
        for threshold in 0..4 {
            let result = proof.verify(&trust(&keys, threshold), &repository());
            assert_eq!(
                result.is_ok(),
                count >= threshold.max(1),
                "{count} of {threshold}"
            );
            if let (Err(error), true) = (result, count > 0) {
                let part = format!("signed by {count} of {threshold} different keys");
                assert!(error.to_string().contains(&part), "{error}");
            }
        }
        let trimmed = proof.trimmed(&trust(&keys, 1), &repository());
        assert_eq!(trimmed.signatures().len(), count);
    }
}

#[test]
fn what_is_signed_is_what_the_document_says() {
    let us = team();
    let digest = proof(&set(), Vec::new()).digest();
    let verify = |repository: &Repository, signed: Signed| {
        proof(&set(), vec![signed]).verify(&trust(&[&us], 1), repository)
    };
    for format in BOTH {
        let mut number = set();
        number.serial = 8;
        let mut name = set();
        name.name = "stable".into();
        for other in [number, name] {
            let draft = Draft::of_set(format, &repository(), &digest, &other);
            let error = verify(&repository(), complete(&us, draft)).unwrap_err();
            assert!(
                error.to_string().contains("another name or number"),
                "{error}"
            );
        }
        let other = Digest::of(b"other");
        let draft = Draft::of_set(format, &repository(), &other, &set());
        let error = verify(&repository(), complete(&us, draft)).unwrap_err();
        assert!(error.to_string().contains("another digest"), "{error}");
    }
    let elsewhere: Repository = "r.io/other".parse().unwrap();
    let draft = Draft::of_set(Format::V2, &elsewhere, &digest, &set());
    let error = verify(&repository(), complete(&us, draft)).unwrap_err();
    assert!(error.to_string().contains("another repository"), "{error}");
}

#[test]
fn annotations_of_a_set_are_its_name_and_number_alone() {
    let us = team();
    for format in BOTH {
        let digest = proof(&set(), Vec::new()).digest();
        for (key, value, counts) in [
            ("edge.git", "0123", true),
            ("edge.app", "hello", false),
            ("edge.version", "v1", false),
            ("edge.grants", "gpu", false),
            ("edge.run", digest.as_str(), false),
            ("edge.serial", "07", false),
            ("edge.serial", "+7", false),
            ("edge.serial", "", false),
            ("edge.set", "", false),
            ("edge.set", "Barn", false),
        ] {
            let draft = Draft::of_set(format, &repository(), &digest, &set());
            let signed = complete(&us, draft.with_annotation(key, value));
            let result = proof(&set(), vec![signed]).verify(&trust(&[&us], 1), &repository());
            assert_eq!(result.is_ok(), counts, "{key}={value}");
        }
    }
}

#[test]
fn a_changed_proof_is_refused() {
    let us = team();
    let valid = proof(&set(), vec![sign(&us, Format::V2, &set())]).to_bytes();
    let value: Value = serde_json::from_slice(&valid).unwrap();
    let verify = |bytes: &[u8]| {
        SetProof::parse(bytes).and_then(|proof| proof.verify(&trust(&[&us], 1), &repository()))
    };
    verify(&valid).unwrap();
    let mut wider = set();
    wider.things = vec!["*".into()];
    let other = serde_json::to_value(proof(&wider, Vec::new())).unwrap();
    let mut later = value.clone();
    later["later"] = json!({"kept": true});
    verify(later.to_string().as_bytes()).unwrap();
    for (field, changed) in [
        ("document", other["document"].clone()),
        ("manifest", other["manifest"].clone()),
        ("document", json!("")),
        ("document", json!("%")),
        ("manifest", json!("e30=")),
        ("signed", json!([])),
        ("signed", json!([{}])),
        ("signed", json!(null)),
        ("v", json!("1")),
    ] {
        let mut damaged = value.clone();
        damaged[field] = changed;
        assert!(verify(damaged.to_string().as_bytes()).is_err(), "{field}");
    }
    let mut both = value.clone();
    both["document"] = other["document"].clone();
    both["manifest"] = other["manifest"].clone();
    let error = verify(both.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, Error::Untrusted(_)), "{error}");
    for end in 0..valid.len() {
        assert!(verify(&valid[..end]).is_err(), "{end}");
    }
}

#[test]
fn another_artifact_is_no_set() {
    let bytes = set().to_bytes().unwrap();
    let valid: Value = serde_json::from_slice(&manifest(&bytes).bytes).unwrap();
    let new = |value: &Value, bytes: &[u8]| {
        let manifest = Manifest::new(value.to_string().into_bytes());
        SetProof::new(&manifest, bytes.to_vec(), Vec::new())
    };
    new(&valid, &bytes).unwrap();
    let layer = &valid["layers"][0];
    for (place, value) in [
        (
            "/artifactType",
            json!("application/vnd.edge-ai.run.v1+json"),
        ),
        ("/artifactType", json!(null)),
        (
            "/mediaType",
            json!("application/vnd.docker.distribution.manifest.v2+json"),
        ),
        ("/schemaVersion", json!(1)),
        ("/config/digest", json!(Digest::of(b"x"))),
        ("/layers", json!([])),
        ("/layers", json!([layer, layer])),
        ("/layers/0/mediaType", json!("application/json")),
        ("/layers/0/size", json!(bytes.len() + 1)),
        ("/layers/0/size", json!(1_u64 << 40)),
        ("/layers/0/digest", json!(Digest::of(b"x"))),
    ] {
        let mut changed = valid.clone();
        *changed.pointer_mut(place).unwrap() = value;
        let error = new(&changed, &bytes).unwrap_err();
        assert_eq!(
            SetRefusal::of(&error).unwrap().reason,
            Reason::Form,
            "{place}"
        );
    }
    let mut large = valid.clone();
    large["annotations"] = json!({ "x": "x".repeat(70_000) });
    assert!(
        new(&large, &bytes)
            .unwrap_err()
            .to_string()
            .contains("too large")
    );
    assert!(new(&valid, b"{}").is_err());
}

#[test]
fn a_signed_text_that_is_no_set_is_refused() {
    let us = team();
    let bytes = br#"{"apps":[],"edge":1}"#;
    let manifest = manifest(bytes);
    let draft = Draft::of_set(Format::V2, &repository(), &manifest.digest, &set());
    let proof = SetProof::new(&manifest, bytes.to_vec(), vec![complete(&us, draft)]).unwrap();
    let error = proof.verify(&trust(&[&us], 1), &repository()).unwrap_err();
    assert_eq!(SetRefusal::of(&error).unwrap().reason, Reason::Form);
    assert!(error.to_string().contains("missing field"), "{error}");
}

#[test]
fn a_set_is_taken_in_time_and_by_its_devices() {
    let us = team();
    let proof = proof(&set(), vec![sign(&us, Format::V2, &set())]);
    let verified = proof.verify(&trust(&[&us], 1), &repository()).unwrap();
    let end = set().expires;
    let may = |now, thing| {
        verified
            .may_take(now, thing)
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(may(0, "edge-ai-1"), Ok(()));
    assert_eq!(may(end, "edge-ai-1"), Ok(()));
    assert_eq!(may(end + 1, "edge-ai-1"), Err(Reason::Expired));
    assert_eq!(may(u64::MAX, "edge-ai-1"), Err(Reason::Expired));
    for other in ["", "edge-a", "other-edge-ai-1"] {
        assert_eq!(may(0, other), Err(Reason::NotFor), "{other}");
    }
}

#[test]
fn a_set_is_no_image_and_an_image_no_set() {
    // One key for both roles: not the key but the annotations are the reason.
    let us = team();
    let manifest = manifest(&set().to_bytes().unwrap());
    let annotations = edge_signature::Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: 7,
        grants: Vec::new(),
        run: None,
    };
    let image = "r.io/team:set.barn.7".parse().unwrap();
    for format in BOTH {
        let as_image = |signed| {
            let (keys, digest) = (&us.keys, &manifest.digest);
            edge_signature::verify(keys, &repository(), digest, &[signed], Select::Newest)
        };
        let of_image = || Draft::new(format, &image, &manifest.digest, &annotations);
        as_image(complete(&us, of_image())).unwrap();
        assert!(as_image(sign(&us, format, &set())).is_err());
        let both = complete(&us, of_image().with_annotation("edge.set", "barn"));
        assert!(as_image(both.clone()).is_err());
        for signed in [both, complete(&us, of_image())] {
            let proof = proof(&set(), vec![signed]);
            assert!(proof.verify(&trust(&[&us], 1), &repository()).is_err());
        }
    }
}
