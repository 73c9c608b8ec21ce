//! Parameters of AWS SSM.

use anyhow::{Context, Result};

use super::{config, failed};
use crate::exit_code::REGISTRY;

/// The value of an SSM parameter.
///
/// # Errors
/// AWS refuses or does not answer.
pub(crate) async fn parameter(name: &str) -> Result<String> {
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
