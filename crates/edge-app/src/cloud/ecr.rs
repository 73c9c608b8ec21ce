//! Login to registries of AWS ECR, with temporary tokens that the AWS API returns.

use anyhow::{Context, Result};
use edge_signature::Credentials;

use super::{config, failure};
use crate::exit_code::REGISTRY;

/// Returns whether `host` is an ECR registry, in any AWS partition (`.amazonaws.com.cn`
/// is the one of China).
pub(crate) fn is_registry(host: &str) -> bool {
    host.contains(".dkr.ecr.")
        && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

/// Requests an ECR token for the account's registry and returns it as user name and
/// password. The token is valid for twelve hours but never stored, since a new token
/// costs only one request.
pub(crate) async fn token() -> Result<Credentials> {
    let client = aws_sdk_ecr::Client::new(&config().await);
    let response = client.get_authorization_token().send().await;
    let response = response.map_err(|e| failure(REGISTRY, "requesting a token of ECR", e))?;
    let data = response.authorization_data.unwrap_or_default();
    let token = data.first().and_then(|d| d.authorization_token.clone());
    token
        .and_then(|t| Credentials::from_base64(&t))
        .context("ECR returned no token")
}
