//! Errors about signatures by keys that are not trusted: whose key it is, and which keys
//! are trusted.

use edge_signature::{
    Digest, Draft, Error, Format, ImageRef, Keys, Select, Signed, dsse::Role, sign_with_pem, verify,
};
use openssl::pkey::PKey;

use crate::edge::annotations;
use crate::keys::{Team, team};

fn public(team: &Team) -> Vec<u8> {
    let key = PKey::private_key_from_pem(&team.private).unwrap();
    key.public_key_to_pem().unwrap()
}

/// Returns the beginning of the fingerprint: the SHA-256 of the key in DER.
fn fingerprint(team: &Team) -> String {
    let key = PKey::private_key_from_pem(&team.private).unwrap();
    let der = key.public_key_to_der().unwrap();
    Digest::of(&der).hex()[..16].into()
}

fn signed(team: &Team, format: Format) -> Signed {
    let image: ImageRef = "r.io/team:hello-v1".parse().unwrap();
    let draft = Draft::new(format, &image, &Digest::of(b"manifest"), &annotations(&[]));
    let signature = sign_with_pem(&team.private, &draft.to_sign()).unwrap().0;
    let signed = draft.signed(signature);
    match format {
        Format::V2 => signed,
        // As it is read from a registry, with the statement of its key.
        Format::V3 => Signed::from_bundle(&signed.to_bundle(&team.keys).unwrap()).unwrap(),
    }
}

fn error(keys: &Keys, signatures: &[Signed]) -> String {
    let repository = "r.io/team".parse().unwrap();
    let digest = Digest::of(b"manifest");
    match verify(keys, &repository, &digest, signatures, Select::Newest) {
        Err(error @ Error::Untrusted(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_untrusted_key_and_the_trusted_ones_are_named() {
    let (us, them, engineer) = (team(), team(), team());
    let trusted = [("container-signing.pub".to_string(), public(&us))];
    let keys = || Keys::from_files(&trusted).unwrap();
    let tail = format!("; trusted: container-signing.pub ({})", fingerprint(&us));
    let start = "no trusted signature: signed by a key that is not trusted";
    let (v2, v3) = (signed(&them, Format::V2), signed(&them, Format::V3));
    // A v2 signature says nothing of its key.
    assert_eq!(
        error(&keys(), std::slice::from_ref(&v2)),
        format!("{start}{tail}")
    );
    let stated = format!(
        "{start} ({}, as the signature states){tail}",
        fingerprint(&them)
    );
    assert_eq!(error(&keys(), std::slice::from_ref(&v3)), stated);
    assert_eq!(error(&keys(), &[v2, v3]), stated);
    // A key of another purpose is found by its signature, in both formats.
    let other = [("engineer-signing.pub".to_string(), public(&engineer))];
    for format in [Format::V2, Format::V3] {
        assert_eq!(
            error(&keys().knowing(&other), &[signed(&engineer, format)]),
            format!(
                "{start} (engineer-signing.pub ({}), which has another purpose){tail}",
                fingerprint(&engineer)
            )
        );
    }
    // It is still not trusted, and a malformed one is ignored.
    let broken = [("broken.pub".to_string(), b"x".to_vec())];
    assert!(error(&keys().knowing(&broken), &[signed(&them, Format::V3)]).contains(&stated));
}

#[test]
fn many_signatures_of_others_do_not_hide_the_trusted_keys() {
    let (us, teams) = (team(), [team(), team(), team(), team(), team()]);
    let signatures: Vec<_> = teams.iter().map(|t| signed(t, Format::V3)).collect();
    let text = error(&us.keys, &signatures);
    assert!(
        text.ends_with(&format!("trusted: {}", fingerprint(&us))),
        "{text}"
    );
    let names = (0..).map(|n| format!("container-signing-{n}.pub"));
    let files: Vec<_> = names.zip(teams.iter().map(public)).collect();
    let text = error(
        &Keys::from_files(&files).unwrap(),
        &[signed(&us, Format::V2)],
    );
    assert!(
        text.contains("container-signing-3.pub") && text.ends_with(", 1 more"),
        "{text}"
    );
}

#[test]
fn a_false_statement_of_a_key_changes_nothing() {
    let (us, them) = (team(), team());
    let bundle = signed(&them, Format::V3).to_bundle(&them.keys).unwrap();
    let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    for hint in [
        serde_json::json!("not Base64"),
        serde_json::json!("QUJD"),
        serde_json::json!("A".repeat(100_000)),
        serde_json::json!({ "deep": [1] }),
        serde_json::Value::Null,
    ] {
        let mut changed = bundle.clone();
        changed["verificationMaterial"]["publicKey"]["hint"] = hint;
        let read = Signed::from_bundle(changed.to_string().as_bytes()).unwrap();
        let text = error(&us.keys, &[read]);
        assert!(
            text.contains("not trusted; trusted: ") && text.len() < 600,
            "{text}"
        );
    }
    for material in [
        serde_json::json!("x"),
        serde_json::json!([]),
        serde_json::json!({ "certificate": { "rawBytes": "QUJD" } }),
    ] {
        let mut changed = bundle.clone();
        changed["verificationMaterial"] = material;
        assert!(Signed::from_bundle(changed.to_string().as_bytes()).is_ok());
    }
}

#[test]
fn a_file_with_an_unusable_key_is_named() {
    let files = [("container-signing-2.pub".to_string(), b"x".to_vec())];
    let error = Keys::from_files(&files).err().unwrap().to_string();
    assert!(error.starts_with("container-signing-2.pub: "), "{error}");
}

#[test]
fn a_ticket_by_another_key_names_the_trusted_ones() {
    let (engineer, other) = (team(), team());
    let signature = sign_with_pem(&other.private, &Role::Ticket.to_sign(b"{}"));
    let envelope = Role::Ticket.seal(b"{}", &signature.unwrap().0);
    let files = [("engineer-signing.pub".to_string(), public(&engineer))];
    let keys = Keys::from_files(&files).unwrap();
    let known = [("container-signing.pub".to_string(), public(&other))];
    let error = Role::Ticket.verify(&keys.knowing(&known), &envelope);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("container-signing.pub (") && error.contains("trusted: engineer-signing"),
        "{error}"
    );
}
