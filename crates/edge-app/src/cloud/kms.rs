//! AWS, through its SDK: a parameter, a key, a registry's token.

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use edge_common::exit::Failure;
use edge_signature::Credentials;
use openssl::pkey::PKey;

use crate::{REGISTRY, SIGNATURE};

async fn config() -> SdkConfig {
    aws_config::load_defaults(BehaviorVersion::latest()).await
}

/// The error with its causes; the SDK's own form appends the whole exchange.
fn failed(code: u8, what: &str, error: impl std::error::Error) -> anyhow::Error {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    Failure::error(code, format_args!("{what}: {words}"))
}

/// The value of an SSM parameter.
///
/// # Errors
/// AWS refuses or does not answer.
pub async fn parameter(name: &str) -> Result<String> {
    let client = aws_sdk_ssm::Client::new(&config().await);
    let answer = client
        .get_parameter()
        .name(name)
        .with_decryption(true)
        .send()
        .await;
    let answer =
        answer.map_err(|e| failed(REGISTRY, &format!("reading SSM parameter {name}"), e))?;
    let value = answer.parameter.and_then(|p| p.value);
    value.with_context(|| format!("SSM parameter {name} has no value"))
}

/// Is `host` one of ECR's registries?
pub fn is_ecr(host: &str) -> bool {
    host.contains(".dkr.ecr.")
        && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

/// A token for the account's registry, good for twelve hours.
///
/// # Errors
/// AWS refuses or does not answer.
pub async fn ecr_token() -> Result<Credentials> {
    let client = aws_sdk_ecr::Client::new(&config().await);
    let answer = client.get_authorization_token().send().await;
    let answer = answer.map_err(|e| failed(REGISTRY, "asking ECR for a token", e))?;
    let data = answer.authorization_data.unwrap_or_default();
    let token = data.first().and_then(|d| d.authorization_token.clone());
    let pair = token
        .and_then(|t| BASE64_STANDARD.decode(t).ok())
        .unwrap_or_default();
    let pair = String::from_utf8(pair).unwrap_or_default();
    let (username, password) = pair.split_once(':').context("ECR sent no token")?;
    Ok(Credentials {
        username: username.into(),
        password: password.into(),
    })
}

/// A signing key of KMS.
pub struct KmsKey {
    client: aws_sdk_kms::Client,
    id: String,
}

impl KmsKey {
    /// Names it; nothing is sent.
    pub async fn new(alias: &str) -> Self {
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
    pub async fn public(&self) -> Result<Vec<u8>> {
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
    pub async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
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
