//! Clients of AWS services: SSM for the repository name, KMS for signing keys, ECR for
//! login tokens, IoT for rollouts.

pub(crate) mod ecr;
pub(crate) mod iot;
pub(crate) mod kms;
pub(crate) mod ssm;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use edge_common::exit::Failure;

/// Returns the SDK's default HTTP connector, but with ring as its cryptography library: the
/// default, aws-lc, is C and assembler code that only this client would need, while ring is
/// already a dependency of the SDK's SSO login.
fn connector(
    settings: Option<&HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
) -> Connector {
    let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
    connector.set_connector_settings(settings.cloned());
    // Connection timeouts work only with a sleep implementation.
    if let Some(components) = components {
        connector.set_sleep_impl(components.sleep_impl());
    }
    connector.set_proxy_config(Some(ProxyConfig::from_env()));
    connector.build()
}

/// Loads the user's AWS configuration from the same sources as the AWS command line:
/// environment, profile and SSO.
async fn config() -> SdkConfig {
    let http_client = Builder::new().build_with_connector_fn(connector);
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .load()
        .await
}

/// Returns an error with `action` and the whole chain of causes on one line. The SDK's
/// own formatter would also append the whole response of the server.
fn failure(code: u8, action: &str, error: impl std::error::Error) -> anyhow::Error {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        message = format!("{message}: {cause}");
        next = cause.source();
    }
    Failure::error(code, format_args!("{action}: {message}"))
}
