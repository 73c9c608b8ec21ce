//! Signatures that are bound to a role: DSSE envelopes with a payload type for each role.
//!
//! DSSE signs the payload type together with the payload
//! (<https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>), so that a
//! signature of one role is invalid in every other, also if one key signs for several
//! roles. Container signatures use cosign's types, because cosign, podman and skopeo read
//! them. So do those of release sets, which their annotations distinguish.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::json;
use crate::keys::Keys;
use crate::limits::{MAX_BUNDLE_BYTES, MAX_PAYLOAD_BYTES};

/// Payload type of cosign's v3 container signatures, which other tools write, too.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Purpose of a signature. Each role has its own keys and its own payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Container image or release set, in cosign's v3 format. A v2 signature covers cosign's payload
    /// without an envelope, so that it is valid in no role of this type.
    Container,
    /// Break-glass ticket of an engineer.
    Ticket,
    /// Update of the operating system.
    Os,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Container, Self::Ticket, Self::Os];

    /// Returns the `payloadType` of the role's envelopes.
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Container => IN_TOTO,
            Self::Ticket => "application/vnd.edge-ai.ticket.v1+json",
            Self::Os => "application/vnd.edge-ai.os.v1+json",
        }
    }

    /// Returns the bytes that a signature of the role covers: DSSE's pre-authentication
    /// encoding (PAE), which contains type and length of the payload.
    pub fn to_sign(self, payload: &[u8]) -> Vec<u8> {
        let kind = self.payload_type();
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
        [head.as_bytes(), payload].concat()
    }

    /// Returns the envelope of a payload and its DER signature.
    pub fn seal(self, payload: &[u8], signature: &[u8]) -> Vec<u8> {
        let envelope = json!({
            "payload": STANDARD.encode(payload),
            "payloadType": self.payload_type(),
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        });
        envelope.to_string().into_bytes()
    }

    /// Verifies an envelope with the trusted keys of the role, and returns the payload and
    /// its signer.
    ///
    /// # Errors
    /// The envelope is malformed or too large, has another payload type or not exactly one
    /// signature, or no trusted key verifies the signature.
    pub fn verify(self, keys: &Keys, envelope: &[u8]) -> Result<Opened, Error> {
        if envelope.len() as u64 > MAX_BUNDLE_BYTES {
            return Err(malformed("too large"));
        }
        let envelope: Envelope = json::parse(envelope).map_err(|e| malformed(&e))?;
        let (payload, signature) = envelope.open(self)?;
        // Verified before the caller parses the payload.
        let signer = keys.signer(&self.to_sign(&payload), &signature);
        let signer = signer.ok_or_else(|| {
            let stranger = keys.stranger(&self.to_sign(&payload), &signature, None);
            let stranger = stranger.map_or(String::new(), |stranger| format!(" ({stranger})"));
            Error::Untrusted(format!(
                "signed by a key that is not trusted{stranger}, or for another role; {}",
                keys.described()
            ))
        })?;
        Ok(Opened {
            payload,
            signer: signer.hex().into(),
        })
    }
}

/// Payload of a verified envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Signed bytes.
    pub payload: Vec<u8>,
    /// SHA-256 of the signer's public key in DER, in hexadecimal.
    pub signer: String,
}

/// DSSE envelope as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

impl Envelope {
    /// Extracts payload and DER signature of an envelope of `role`, without verifying
    /// them.
    pub(crate) fn open(&self, role: Role) -> Result<(Vec<u8>, Vec<u8>), Error> {
        if self.payload_type != role.payload_type() {
            return Err(malformed("another payload type"));
        }
        // DSSE allows several signatures and lets the verifier decide how many must be
        // valid. Cosign and edge-app write exactly one.
        let [signature] = &self.signatures[..] else {
            return Err(malformed("not exactly one signature"));
        };
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed("not Base64"));
        let payload = decode(&self.payload)?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(malformed("the payload is too large"));
        }
        Ok((payload, decode(&signature.sig)?))
    }
}

fn malformed(reason: &str) -> Error {
    Error::Malformed(format!("signature envelope: {reason}"))
}
