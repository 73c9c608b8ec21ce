//! AWS, through its SDK: a parameter, a key, a registry's token.

pub(crate) mod ecr;
pub(crate) mod kms;
pub(crate) mod ssm;

use aws_config::{BehaviorVersion, SdkConfig};
use edge_common::exit::Failure;

pub(super) async fn config() -> SdkConfig {
    aws_config::load_defaults(BehaviorVersion::latest()).await
}

/// The error with its causes; the SDK's own form appends the whole exchange.
pub(super) fn failed(code: u8, what: &str, error: impl std::error::Error) -> anyhow::Error {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    Failure::error(code, format_args!("{what}: {words}"))
}
