//! Signatures of each role, presented to the verifier of every other one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_signature::dsse::Role;
use edge_signature::{Digest, Draft, Format, ImageRef, Select, Signed, sign_with_pem, verify};
use serde_json::{Value, json};

use crate::edge::annotations;
use crate::keys::{Team, team};

/// Kinds of signatures: the two formats of container signatures, and the envelopes.
const KINDS: [(Role, Format); 5] = [
    (Role::Container, Format::V2),
    (Role::Container, Format::V3),
    (Role::Ticket, Format::V3),
    (Role::ReleaseSet, Format::V3),
    (Role::Os, Format::V3),
];

fn image() -> (ImageRef, Digest) {
    (
        "r.io/team:hello-v1".parse().unwrap(),
        Digest::of(b"manifest"),
    )
}

/// Returns payload and signature of one kind. The payload is that of a container signature
/// in each case, so that only the role can be the reason of a refusal.
fn sign(team: &Team, (role, format): (Role, Format)) -> (Vec<u8>, Vec<u8>) {
    let (image, digest) = image();
    let draft = Draft::new(format, &image, &digest, &annotations(&[]));
    let bytes = match role {
        Role::Container => draft.to_sign().into_owned(),
        role => role.to_sign(&payload(format)),
    };
    (
        payload(format),
        sign_with_pem(&team.private, &bytes).unwrap().0,
    )
}

fn payload(format: Format) -> Vec<u8> {
    let (image, digest) = image();
    let draft = Draft::new(format, &image, &digest, &annotations(&[]));
    draft.signed(Vec::new()).payload().to_vec()
}

/// Returns whether the verifier of a kind accepts payload and signature.
fn accepts(team: &Team, (role, format): (Role, Format), payload: &[u8], signature: &[u8]) -> bool {
    let (image, digest) = image();
    if role != Role::Container {
        return role
            .verify(&team.keys, &role.seal(payload, signature))
            .is_ok();
    }
    let (payload, signature) = (payload.to_vec(), signature.to_vec());
    let signed = match format {
        Format::V2 => Signed::new(payload, signature),
        Format::V3 => Signed::statement(payload, signature),
    };
    verify(
        &team.keys,
        &image.repository,
        &digest,
        &[signed],
        Select::Newest,
    )
    .is_ok()
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
            let bytes = signed.0.to_sign(&payload);
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
