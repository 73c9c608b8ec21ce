//! Signing keys of AWS KMS.

use anyhow::{Context, Result};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use openssl::pkey::PKey;

use super::{config, failed};
use crate::exit_code::SIGNATURE;

/// A signing key of KMS.
pub(crate) struct KmsKey {
    client: aws_sdk_kms::Client,
    id: String,
}

impl KmsKey {
    /// Names it; nothing is sent.
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

    /// Its public half, PEM.
    ///
    /// # Errors
    /// AWS refuses or does not answer.
    pub(crate) async fn public(&self) -> Result<Vec<u8>> {
        let answer = self.client.get_public_key().key_id(&self.id).send().await;
        let answer =
            answer.map_err(|e| failed(SIGNATURE, &format!("reading {} of KMS", self.id), e))?;
        let der = answer.public_key.context("KMS sent no key")?.into_inner();
        let key = PKey::public_key_from_der(&der).context("reading the key of KMS")?;
        Ok(key.public_key_to_pem()?)
    }

    /// The DER signature of `payload`, which is below KMS's limit of 4 KiB.
    ///
    /// # Errors
    /// AWS refuses or does not answer.
    pub(crate) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let request = self.client.sign().key_id(&self.id);
        let request = request
            .message(Blob::new(payload))
            .message_type(MessageType::Raw);
        let request = request.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let answer = request.send().await;
        let answer = answer
            .map_err(|e| failed(SIGNATURE, &format!("signing with {} of KMS", self.id), e))?;
        Ok(answer
            .signature
            .context("KMS sent no signature")?
            .into_inner())
    }
}
