//! Signing keys of AWS KMS.

use anyhow::{Context, Result};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use openssl::pkey::PKey;

use super::{config, failure};
use crate::exit_code::SIGNATURE;

/// Signing key in KMS.
pub(crate) struct KmsKey {
    client: aws_sdk_kms::Client,
    id: String,
}

impl KmsKey {
    /// Returns the key with an alias or ARN. No request is sent.
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

    /// Returns the public key as PEM.
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

    /// Returns the DER signature of `payload`, which is below KMS's limit of 4,096 bytes.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let request = self.client.sign().key_id(&self.id);
        let request = request
            .message(Blob::new(payload))
            // KMS hashes by itself. With a digest, moto in our tests would hash it again.
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
