//! Parameters of AWS SSM.

use anyhow::{Context, Result};

use super::{config, failure};
use crate::exit_code::REGISTRY;

/// Returns the value of a parameter.
pub(crate) async fn parameter(name: &str) -> Result<String> {
    let client = aws_sdk_ssm::Client::new(&config().await);
    let response = client
        .get_parameter()
        .name(name)
        // Needed for a SecureString, ignored for others.
        .with_decryption(true)
        .send()
        .await;
    let response =
        response.map_err(|e| failure(REGISTRY, &format!("reading SSM parameter {name}"), e))?;
    let value = response.parameter.and_then(|p| p.value);
    value.with_context(|| format!("SSM parameter {name} has no value"))
}
