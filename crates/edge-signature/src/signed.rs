//! What was signed, with its signature, in either of cosign's forms.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Annotations, Digest, Error, ImageRef, Keys, bundle, payload, proof::base64_bytes};

/// How a signature is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Cosign's v2: a payload under the tag `sha256-….sig`.
    #[default]
    V2,
    /// Cosign's v3: a bundle that refers to the image.
    V3,
}

/// A payload and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    #[serde(default)]
    format: Format,
    #[serde(with = "base64_bytes")]
    payload: Vec<u8>,
    #[serde(with = "base64_bytes")]
    signature: Vec<u8>,
}

impl Signed {
    /// A v2 payload and its DER signature.
    pub fn new(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        let format = Format::V2;
        Self {
            format,
            payload,
            signature,
        }
    }

    /// A v3 statement and the DER signature of its envelope.
    pub fn statement(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        let format = Format::V3;
        Self {
            format,
            payload,
            signature,
        }
    }

    /// From a v2 payload and the base64 text of cosign's annotation, which may
    /// be broken into lines. Nothing if it is not base64.
    pub fn from_text(payload: Vec<u8>, text: &str) -> Option<Self> {
        let text: String = text.split_ascii_whitespace().collect();
        let signature = STANDARD.decode(text).ok()?;
        Some(Self::new(payload, signature))
    }

    /// From a v3 bundle.
    ///
    /// # Errors
    /// Not a bundle of cosign's form.
    pub fn from_bundle(bytes: &[u8]) -> Result<Self, Error> {
        bundle::open(bytes)
    }

    /// The v3 bundle that holds it; for a signature by one of `keys`.
    ///
    /// # Errors
    /// A v2 signature, or one by another key.
    pub fn to_bundle(&self, keys: &Keys) -> Result<Vec<u8>, Error> {
        match self.format {
            Format::V3 => bundle::close(self, keys),
            Format::V2 => Err(Error::Malformed("a v2 signature in a bundle".into())),
        }
    }

    /// Its form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature in base64, as both forms hold it.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.signature)
    }

    /// The key that made it, of those that count. Nothing of the payload is
    /// parsed for that.
    pub(crate) fn signer(&self, keys: &Keys) -> Option<Digest> {
        keys.signer(&to_sign(self.format, &self.payload), &self.signature)
    }
}

/// A signature that is yet to be made: hand [`Draft::to_sign`] to who has the
/// key, and what comes back to [`Draft::signed`].
pub struct Draft {
    format: Format,
    payload: Vec<u8>,
}

impl Draft {
    /// That the image `digest`, called `image`, is what `annotations` say.
    pub fn new(
        format: Format,
        image: &ImageRef,
        digest: &Digest,
        annotations: &Annotations,
    ) -> Self {
        let payload = match format {
            Format::V2 => payload(image, digest, annotations),
            Format::V3 => bundle::statement(digest, annotations),
        };
        Self { format, payload }
    }

    /// States something more, such as `edge.git`. Who verifies passes over what
    /// it does not know.
    #[must_use]
    pub fn stating(mut self, key: &str, value: &str) -> Self {
        if let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&self.payload) {
            let place = match self.format {
                Format::V2 => &mut document["optional"],
                Format::V3 => &mut document["subject"][0]["annotations"],
            };
            place[key] = value.into();
            self.payload = document.to_string().into_bytes();
        }
        self
    }

    /// The bytes to sign: ECDSA on P-256 over SHA-256.
    pub fn to_sign(&self) -> Cow<'_, [u8]> {
        to_sign(self.format, &self.payload)
    }

    /// With the DER signature.
    pub fn signed(self, signature: Vec<u8>) -> Signed {
        Signed {
            format: self.format,
            payload: self.payload,
            signature,
        }
    }
}

fn to_sign(format: Format, payload: &[u8]) -> Cow<'_, [u8]> {
    match format {
        Format::V2 => Cow::Borrowed(payload),
        Format::V3 => Cow::Owned(bundle::pre_authentication(payload)),
    }
}
