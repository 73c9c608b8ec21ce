//! AWS: parameters of SSM, keys of KMS, tokens of ECR, all with the SDK.

pub(crate) mod ecr;
pub(crate) mod kms;
pub(crate) mod ssm;

use aws_config::{BehaviorVersion, SdkConfig};
use edge_common::exit::Failure;

/// Loads the user's configuration of AWS as the AWS tools do: profile, SSO, environment.
async fn config() -> SdkConfig {
    aws_config::load_defaults(BehaviorVersion::latest()).await
}

/// Returns an error with its causes in one line. The SDK's own form has them too, but
/// appends the whole response of the server.
fn failure(code: u8, action: &str, error: impl std::error::Error) -> anyhow::Error {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        message = format!("{message}: {cause}");
        next = cause.source();
    }
    Failure::error(code, format_args!("{action}: {message}"))
}
