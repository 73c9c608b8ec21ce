//! Credentials for registries of AWS ECR.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use edge_signature::Credentials;

use super::{config, failed};
use crate::exit_code::REGISTRY;

/// Is `host` one of ECR's registries?
pub(crate) fn is_registry(host: &str) -> bool {
    host.contains(".dkr.ecr.")
        && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

/// A token for the account's registry, good for twelve hours.
///
/// # Errors
/// AWS refuses or does not answer.
pub(crate) async fn token() -> Result<Credentials> {
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
