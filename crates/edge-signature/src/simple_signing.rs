//! Payload of cosign's v2 format: "simple signing", as containers/image defined it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::annotations::{Annotations, Stated};
use crate::json;
use crate::reference::{Digest, ImageRef, Repository};

/// Required value of `critical.type` in a payload.
const TYPE: &str = "cosign container image signature";

// Unknown fields are errors. `critical` means that a verifier which does not understand a
// field must not accept the signature.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<Stated>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// Returns the v2 payload that binds `annotations` to the manifest `digest` and to the
/// repository and tag of `reference`.
pub fn payload(reference: &ImageRef, digest: &Digest, annotations: &Annotations) -> Vec<u8> {
    payload_with(reference, digest, annotations.to_map())
}

/// Returns the payload as [`payload`] does, with annotations in their JSON form.
pub(crate) fn payload_with(
    reference: &ImageRef,
    digest: &Digest,
    annotations: Map<String, Value>,
) -> Vec<u8> {
    // The default policy of containers/image requires the tag in the identity; cosign and
    // edge-docker accept a tag.
    let name = ImageRef {
        digest: None,
        ..reference.clone()
    };
    let document = json!({
        "critical": {
            "identity": { "docker-reference": name.to_string() },
            "image": { "docker-manifest-digest": digest.as_str() },
            "type": TYPE,
        },
        "optional": annotations,
    });
    document.to_string().into_bytes()
}

/// Parses a payload and checks that it is for `digest` in `repository`; returns its
/// annotations, and the tag in its reference if there is one.
pub(crate) fn parse(
    repository: &Repository,
    digest: &Digest,
    bytes: &[u8],
) -> Result<(Option<Stated>, Option<String>), &'static str> {
    let payload: Payload =
        json::parse(bytes).map_err(|_| "the payload does not have cosign's form")?;
    // The key may also sign payloads of other types, for example containers/image's own
    // "atomic container signature". A signature is valid only for the type that it
    // states.
    if payload.critical.kind != TYPE {
        return Err("the payload does not have cosign's type");
    }
    if payload.critical.image.digest != *digest {
        return Err("signed for another digest");
    }
    // Cosign writes only the repository; edge-app and containers/image add the tag.
    let reference = payload.critical.identity.reference;
    let tag = match reference.parse::<ImageRef>() {
        Ok(image) if image.repository == *repository => image.tag,
        Err(_) if reference == repository.to_string() => None,
        _ => return Err("signed for another repository"),
    };
    Ok((payload.optional, tag))
}
