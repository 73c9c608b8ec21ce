//! v2 signatures by edge-app, verified with the `sigstore` crate.

use std::collections::BTreeMap;

use edge_signature::{Annotations, Digest, Draft, Format, Signed, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use sigstore::cosign::verification_constraint::{
    AnnotationVerifier, PublicKeyVerifier, VerificationConstraint,
};
use sigstore::cosign::{SignatureLayer, verify_constraints};

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn signed(key: &PKey<Private>, digest: &Digest) -> Signed {
    let annotations = Annotations {
        app: "hello".into(),
        version: "v1".into(),
        release_number: 7,
        grants: vec!["gpu".into()],
        run: None,
    };
    let image = "r.io/team:hello-v1".parse().unwrap();
    let draft = Draft::new(Format::V2, &image, digest, &annotations);
    let private = key.private_key_to_pem_pkcs8().unwrap();
    let signature = sign_with_pem(&private, &draft.to_sign()).unwrap().0;
    draft.signed(signature)
}

/// Returns the layer as the crate reads it from a registry.
fn layer(payload: &[u8], signature: &str) -> SignatureLayer {
    SignatureLayer {
        simple_signing: serde_json::from_slice(payload).unwrap(),
        oci_digest: Digest::of(payload).to_string(),
        certificate_signature: None,
        bundle: None,
        signature: Some(signature.into()),
        raw_data: payload.to_vec(),
    }
}

fn accepts(key: &PKey<Private>, layer: &SignatureLayer) -> bool {
    let annotations = BTreeMap::from([
        ("edge.app".into(), "hello".into()),
        ("edge.version".into(), "v1".into()),
        ("edge.serial".into(), "7".into()),
        ("edge.grants".into(), "gpu".into()),
    ]);
    let public = key.public_key_to_pem().unwrap();
    let constraints: [Box<dyn VerificationConstraint>; 2] = [
        Box::new(PublicKeyVerifier::try_from(&public).unwrap()),
        Box::new(AnnotationVerifier { annotations }),
    ];
    verify_constraints(std::slice::from_ref(layer), constraints.iter()).is_ok()
}

#[test]
fn the_sigstore_crate_accepts_the_v2_signatures() {
    let (us, them, digest) = (key(), key(), Digest::of(b"manifest"));
    let signed = signed(&us, &digest);
    let valid = layer(signed.payload(), &signed.text());
    assert!(accepts(&us, &valid));
    assert!(
        valid
            .simple_signing
            .satisfies_manifest_digest(digest.as_str())
    );
    let other = Digest::of(b"other");
    assert!(
        !valid
            .simple_signing
            .satisfies_manifest_digest(other.as_str())
    );
    // A verifier that accepted everything would pass until here.
    assert!(!accepts(&them, &valid));
    let text = String::from_utf8(signed.payload().to_vec()).unwrap();
    let changed = text.replace("gpu", "all");
    assert!(!accepts(&us, &layer(changed.as_bytes(), &signed.text())));
    let changed = text.replace(digest.as_str(), other.as_str());
    assert!(!accepts(&us, &layer(changed.as_bytes(), &signed.text())));
}
