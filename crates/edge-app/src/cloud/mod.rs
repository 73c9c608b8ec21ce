//! AWS: parameters of SSM, keys of KMS, tokens of ECR, all with the SDK.

pub(crate) mod ecr;
pub(crate) mod kms;
pub(crate) mod ssm;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use edge_common::exit::Failure;

/// Loads the user's configuration of AWS as the AWS tools do: profile, SSO, environment.
async fn config() -> SdkConfig {
    // The SDK's default client with ring for its cryptography. aws-lc, the default, is
    // C and assembler that only this client would need; ring comes with SSO anyway.
    let http_client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.set_connector_settings(settings.cloned());
        // Without it a connection has no timeout.
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    });
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .load()
        .await
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
