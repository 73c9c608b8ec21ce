//! Payloads with their signatures, in either of cosign's formats.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::annotations::{Annotations, SetAnnotations};
use crate::dsse::Role;
use crate::error::Error;
use crate::keys::Keys;
use crate::reference::{Digest, ImageRef, Repository};
use crate::set::ReleaseSet;
use crate::{bundle, encoding, simple_signing};

/// Format of a signature. Both are needed: podman and skopeo cannot read v3, and cosign
/// ignores the v2 signatures of an image that has a v3 bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Simple-signing payload, a layer of the manifest with the tag `sha256-HEX.sig`.
    #[default]
    V2,
    /// Sigstore bundle in a manifest that refers to the image.
    V3,
}

/// Payload and its signature. The payload is kept as bytes, because the signature covers
/// the bytes and not the parsed values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    #[serde(default)]
    format: Format,
    #[serde(with = "encoding")]
    payload: Vec<u8>,
    #[serde(with = "encoding")]
    signature: Vec<u8>,
    /// Fingerprint that a bundle states for its key. Nobody has signed it, so it serves
    /// messages only, and is not cached.
    #[serde(skip)]
    stated_key: Option<Digest>,
    /// Fields of a later version in a cached signature, which are kept.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Signed {
    /// Creates a v2 signature from a payload and a DER signature.
    pub fn new(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        Self {
            format: Format::V2,
            payload,
            signature,
            stated_key: None,
            unknown: Map::new(),
        }
    }

    /// Creates a v3 signature from a statement and the DER signature of its envelope.
    pub fn statement(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        Self {
            format: Format::V3,
            payload,
            signature,
            stated_key: None,
            unknown: Map::new(),
        }
    }

    /// Creates a v2 signature from a payload and the text of cosign's annotation; `None`
    /// if the text is not Base64.
    pub fn from_text(payload: Vec<u8>, text: &str) -> Option<Self> {
        // Cosign's annotation may contain line breaks.
        let text: String = text.split_ascii_whitespace().collect();
        let signature = STANDARD.decode(text).ok()?;
        Some(Self::new(payload, signature))
    }

    /// Extracts payload and signature from a v3 bundle, without verifying them.
    ///
    /// # Errors
    /// The bytes are not a bundle in cosign's form.
    pub fn from_bundle(bytes: &[u8]) -> Result<Self, Error> {
        let opened = bundle::open(bytes)?;
        Ok(Self {
            stated_key: opened.stated_key,
            ..Self::statement(opened.payload, opened.signature)
        })
    }

    /// Builds the v3 bundle of a signature that one of `keys` verifies; the bundle names
    /// this key.
    ///
    /// # Errors
    /// The signature has the v2 format, or none of `keys` verifies it.
    pub fn to_bundle(&self, keys: &Keys) -> Result<Vec<u8>, Error> {
        if self.format == Format::V2 {
            return Err(Error::Malformed(
                "a v2 signature does not fit in a bundle".into(),
            ));
        }
        let signer = self
            .signer(keys)
            .ok_or_else(|| Error::Malformed("the signature is by another key".into()))?;
        Ok(bundle::close(&self.payload, &self.text(), &signer))
    }

    /// Returns the format of the signature: v2 or v3.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the payload, which is not trusted before the signature is verified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the signature in Base64, the form in both formats.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.signature)
    }

    /// Returns the SHA-256 of the key in `keys` that verifies the signature; `None` if no
    /// key does. Does not parse the payload.
    pub(crate) fn signer(&self, keys: &Keys) -> Option<Digest> {
        keys.signer(&signed_bytes(self.format, &self.payload), &self.signature)
    }

    /// Describes the key of a signature that none of `keys` verifies, as far as anything
    /// is known of it.
    pub(crate) fn stranger(&self, keys: &Keys) -> Option<String> {
        let bytes = signed_bytes(self.format, &self.payload);
        keys.stranger(&bytes, &self.signature, self.stated_key.as_ref())
    }
}

/// Payload before it is signed: the holder of the key signs the bytes of
/// [`Draft::to_sign`], and [`Draft::signed`] adds the signature.
pub struct Draft {
    format: Format,
    payload: Vec<u8>,
}

impl Draft {
    /// Creates the payload that binds `annotations` to the manifest `digest`. A v2
    /// payload also contains the name `image`.
    pub fn new(
        format: Format,
        image: &ImageRef,
        digest: &Digest,
        annotations: &Annotations,
    ) -> Self {
        let payload = match format {
            Format::V2 => simple_signing::payload(image, digest, annotations),
            Format::V3 => bundle::statement(digest, annotations.to_map()),
        };
        Self { format, payload }
    }

    /// Creates the payload of a release set in `repository` with the manifest `digest`.
    pub fn of_set(
        format: Format,
        repository: &Repository,
        digest: &Digest,
        set: &ReleaseSet,
    ) -> Self {
        let reference = ImageRef {
            repository: repository.clone(),
            tag: Some(set.tag()),
            digest: None,
        };
        let annotations = SetAnnotations {
            name: set.name.clone(),
            number: set.serial,
            tag: None,
        };
        let annotations = annotations.to_map();
        let payload = match format {
            Format::V2 => simple_signing::payload_with(&reference, digest, annotations),
            Format::V3 => bundle::statement(digest, annotations),
        };
        Self { format, payload }
    }

    /// Adds an annotation, for example the git commit. Verification ignores unknown
    /// annotations.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        if let Ok(mut document) = serde_json::from_slice::<Value>(&self.payload) {
            let annotations = match self.format {
                Format::V2 => &mut document["optional"],
                Format::V3 => &mut document["subject"][0]["annotations"],
            };
            annotations[key] = value.into();
            self.payload = document.to_string().into_bytes();
        }
        self
    }

    /// Returns the bytes to sign with ECDSA on P-256 over SHA-256.
    pub fn to_sign(&self) -> Cow<'_, [u8]> {
        signed_bytes(self.format, &self.payload)
    }

    /// Completes the payload with its DER signature.
    pub fn signed(self, signature: Vec<u8>) -> Signed {
        Signed {
            format: self.format,
            payload: self.payload,
            signature,
            stated_key: None,
            unknown: Map::new(),
        }
    }
}

fn signed_bytes(format: Format, payload: &[u8]) -> Cow<'_, [u8]> {
    match format {
        Format::V2 => Cow::Borrowed(payload),
        Format::V3 => Cow::Owned(Role::Container.to_sign(payload)),
    }
}
