//! Making signatures.

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::json;

use crate::verify::PAYLOAD_TYPE;
use crate::{Annotations, Digest, Error, ImageRef};

/// The payload that states `annotations` of the image `digest`, called
/// `reference`. Keys are sorted, as cosign does.
pub fn payload(reference: &ImageRef, digest: &Digest, annotations: &Annotations) -> Vec<u8> {
    let name = ImageRef {
        digest: None,
        ..reference.clone()
    };
    let document = json!({
        "critical": {
            "identity": { "docker-reference": name.to_string() },
            "image": { "docker-manifest-digest": digest.as_str() },
            "type": PAYLOAD_TYPE,
        },
        "optional": annotations.to_map(),
    });
    document.to_string().into_bytes()
}

/// Signs `payload` with a PKCS#8 PEM key; gives the DER signature and the PEM
/// public key to check it with.
///
/// # Errors
/// A key that OpenSSL cannot read, cosign's encrypted ones among them.
pub fn sign_with_pem(pem: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let bad = |_| Error::Malformed("signing".into());
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| {
        Error::Malformed(
            "the signing key is not an unencrypted PKCS#8 PEM key; make one with \
             `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
                .into(),
        )
    })?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).map_err(bad)?;
    let signature = signer.sign_oneshot_to_vec(payload).map_err(bad)?;
    let public = key.public_key_to_pem().map_err(bad)?;
    Ok((signature, public))
}
