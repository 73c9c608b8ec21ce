//! Parameters of AWS SSM, one of which can hold the repository name of a project.

use anyhow::{Context, Result};

use super::{config, failure};
use crate::exit_code::REGISTRY;

/// Reads the SSM parameter `name` and returns its value as text.
pub(crate) async fn parameter(name: &str) -> Result<String> {
    let client = aws_sdk_ssm::Client::new(&config().await);
    let response = client
        .get_parameter()
        .name(name)
        // Parameters of type SecureString need decryption; for other types SSM ignores
        // the flag.
        .with_decryption(true)
        .send()
        .await;
    let response =
        response.map_err(|e| failure(REGISTRY, &format!("reading SSM parameter {name}"), e))?;
    let value = response.parameter.and_then(|p| p.value);
    value.with_context(|| format!("SSM parameter {name} has no value"))
}
