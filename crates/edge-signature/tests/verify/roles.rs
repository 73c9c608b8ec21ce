//! Signatures of each role, presented to the verifier of every other one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_signature::dsse::Role;
use edge_signature::set::{ReleaseSet, SetKeys, SetProof, manifest};
use edge_signature::{
    Digest, Draft, Format, ImageRef, Keys, Manifest, Select, Signed, sign_with_pem, verify,
};
use serde_json::{Value, json};

use crate::edge::annotations;
use crate::keys::{Team, team};

/// Kind of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image(Format),
    Set(Format),
    Envelope(Role),
}

/// Kinds of signatures: images and release sets in cosign's two formats, and the envelopes.
const KINDS: [Kind; 6] = [
    Kind::Image(Format::V2),
    Kind::Image(Format::V3),
    Kind::Set(Format::V2),
    Kind::Set(Format::V3),
    Kind::Envelope(Role::Ticket),
    Kind::Envelope(Role::Os),
];

fn set() -> ReleaseSet {
    let mut set = ReleaseSet::new("hello", 7, 0, &["*"]);
    set.revoked = vec![Digest::of(b"revoked")];
    set
}

/// Returns the manifest that images and sets are signed for: that of a set.
fn signed_manifest() -> Manifest {
    manifest(&set().to_bytes().unwrap())
}

fn draft(kind: Kind) -> Draft {
    let image: ImageRef = "r.io/team:hello-v1".parse().unwrap();
    let digest = signed_manifest().digest;
    match kind {
        Kind::Image(format) => Draft::new(format, &image, &digest, &annotations(&[])),
        Kind::Set(format) => Draft::of_set(format, &image.repository, &digest, &set()),
        // The payload of an image, so that only the role can be the reason of a refusal.
        Kind::Envelope(_) => draft(Kind::Image(Format::V3)),
    }
}

/// Returns payload and signature of one kind.
fn sign(team: &Team, kind: Kind) -> (Vec<u8>, Vec<u8>) {
    let payload = draft(kind).signed(Vec::new()).payload().to_vec();
    let bytes = match kind {
        Kind::Envelope(role) => role.to_sign(&payload),
        _ => draft(kind).to_sign().into_owned(),
    };
    (payload, sign_with_pem(&team.private, &bytes).unwrap().0)
}

/// Returns whether the verifier of a kind accepts payload and signature.
fn accepts(team: &Team, kind: Kind, payload: &[u8], signature: &[u8]) -> bool {
    let signed = |format| {
        let (payload, signature) = (payload.to_vec(), signature.to_vec());
        match format {
            Format::V2 => Signed::new(payload, signature),
            Format::V3 => Signed::statement(payload, signature),
        }
    };
    let repository = "r.io/team".parse().unwrap();
    match kind {
        Kind::Envelope(role) => {
            let envelope = role.seal(payload, signature);
            role.verify(&team.keys, &envelope).is_ok()
        }
        Kind::Image(format) => {
            let digest = signed_manifest().digest;
            let signed = [signed(format)];
            verify(&team.keys, &repository, &digest, &signed, Select::Newest).is_ok()
        }
        Kind::Set(format) => {
            let document = set().to_bytes().unwrap();
            let proof = SetProof::new(&signed_manifest(), document, vec![signed(format)]);
            let keys = Keys::from_pems(&[&team.public]).unwrap();
            let trusted = SetKeys { keys, threshold: 1 };
            proof.unwrap().verify(&trusted, &repository).is_ok()
        }
    }
}

#[test]
fn a_signature_of_one_role_is_refused_in_every_other() {
    // One key for all roles: not the key but the role is the reason.
    let team = team();
    for signed in KINDS {
        let (payload, signature) = sign(&team, signed);
        for verifier in KINDS {
            let accepted = accepts(&team, verifier, &payload, &signature);
            assert_eq!(accepted, signed == verifier, "{signed:?} at {verifier:?}");
            // The signed bytes as a payload: the envelope of an envelope.
            let role = match signed {
                Kind::Envelope(role) => role,
                _ => Role::Container,
            };
            let bytes = role.to_sign(&payload);
            assert!(
                !accepts(&team, verifier, &bytes, &signature),
                "{signed:?} at {verifier:?}"
            );
        }
    }
}

#[test]
fn the_payload_type_is_compared_and_signed() {
    let team = team();
    for signed in Role::ALL {
        let payload = b"{\"v\":1}";
        let bytes = signed.to_sign(payload);
        let signature = sign_with_pem(&team.private, &bytes).unwrap().0;
        let envelope = signed.seal(payload, &signature);
        let opened = signed.verify(&team.keys, &envelope).unwrap();
        assert_eq!(
            (&opened.payload[..], opened.signer.len()),
            (&payload[..], 64)
        );
        for other in Role::ALL.into_iter().filter(|other| *other != signed) {
            let error = other.verify(&team.keys, &envelope).unwrap_err();
            assert!(
                error.to_string().contains("another payload type"),
                "{error}"
            );
            let renamed = other.seal(payload, &signature);
            let error = other.verify(&team.keys, &renamed).unwrap_err();
            assert!(error.to_string().contains("for another role"), "{error}");
        }
        assert!(signed.verify(&crate::keys::team().keys, &envelope).is_err());
    }
    let mut types: Vec<_> = Role::ALL.iter().map(|role| role.payload_type()).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), Role::ALL.len());
}

#[test]
fn malformed_envelopes_are_rejected() {
    let team = team();
    let payload = vec![b'x'; 65_536];
    let seal = |payload: &[u8]| {
        let bytes = Role::Ticket.to_sign(payload);
        Role::Ticket.seal(payload, &sign_with_pem(&team.private, &bytes).unwrap().0)
    };
    let valid: Value = serde_json::from_slice(&seal(&payload)).unwrap();
    let verify = |bytes: &[u8]| Role::Ticket.verify(&team.keys, bytes);
    verify(valid.to_string().as_bytes()).unwrap();
    let sig = &valid["signatures"][0];
    for (place, value) in [
        ("/payload", json!("%")),
        ("/payload", json!(STANDARD.encode(b"y"))),
        ("/payload", json!(null)),
        (
            "/payloadType",
            json!("application/vnd.edge-ai.Ticket.v1+json"),
        ),
        ("/payloadType", json!("")),
        ("/signatures", json!([])),
        ("/signatures", json!([sig, sig])),
        ("/signatures/0/sig", json!("MA==")),
        ("/signatures/0", json!({})),
    ] {
        let mut changed = valid.clone();
        *changed.pointer_mut(place).unwrap() = value.clone();
        assert!(
            verify(changed.to_string().as_bytes()).is_err(),
            "{place}: {value}"
        );
    }
    let text = valid.to_string();
    for bytes in [
        String::new(),
        text[..text.len() - 1].into(),
        format!("{text}{{}}"),
        text.replacen('{', "{\"payload\":\"\",", 1),
        text.replacen('{', "{\"x\":1,", 1),
        "[".repeat(100_000),
        " ".repeat(200_000) + &text,
    ] {
        assert!(verify(bytes.as_bytes()).is_err(), "{bytes:.60}");
    }
    assert!(verify(&seal(&[b'x'; 65_537])).is_err());
}
