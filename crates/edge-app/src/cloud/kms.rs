//! Signatures by keys in AWS KMS, which never releases a private key.

use anyhow::{Context, Result};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use openssl::pkey::PKey;

use super::{config, failure};
use crate::exit_code::SIGNATURE;

/// P-256 signing key in AWS KMS, identified by an alias or ARN.
pub(crate) struct KmsKey {
    client: aws_sdk_kms::Client,
    id: String,
}

impl KmsKey {
    /// Creates a client for the key `alias`: an ARN, or an alias with or without
    /// `alias/`. No request is sent to KMS yet.
    pub(crate) async fn new(alias: &str) -> Self {
        let id = if alias.starts_with("alias/") || alias.starts_with("arn:") {
            alias.to_string()
        } else {
            format!("alias/{alias}")
        };
        Self {
            client: aws_sdk_kms::Client::new(&config().await),
            id,
        }
    }

    /// Returns the alias or ARN of the key.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Fetches the public key from KMS and returns it as PEM.
    pub(crate) async fn public(&self) -> Result<Vec<u8>> {
        let response = self.client.get_public_key().key_id(&self.id).send().await;
        let response = response.map_err(|e| {
            failure(
                SIGNATURE,
                &format!("reading the public key of {} from KMS", self.id),
                e,
            )
        })?;
        let der = response
            .public_key
            .context("KMS returned no key")?
            .into_inner();
        let key = PKey::public_key_from_der(&der).context("reading the public key of KMS")?;
        Ok(key.public_key_to_pem()?)
    }

    /// Signs `payload` with ECDSA and SHA-256 and returns the DER signature. KMS accepts
    /// at most 4,096 bytes, more than any payload of edge-app has.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let request = self.client.sign().key_id(&self.id);
        let request = request
            .message(Blob::new(payload))
            // The message is sent instead of its digest: moto, the AWS server of the
            // tests, would hash a digest again.
            .message_type(MessageType::Raw);
        let request = request.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let response = request.send().await;
        let response = response
            .map_err(|e| failure(SIGNATURE, &format!("signing with {} in KMS", self.id), e))?;
        Ok(response
            .signature
            .context("KMS returned no signature")?
            .into_inner())
    }
}
