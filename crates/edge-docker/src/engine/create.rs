//! Create request of a container, in a version of the API that knows its fields.

use anyhow::{Context, Result};
use edge_common::{Root, log};
use hyper::Method;

use super::client;

/// First minor version of the API with the start interval of a health check. The engine
/// ignores the field in requests of older versions.
const START_INTERVAL_MINOR: u32 = 44;

/// Sends a create request and returns the ID of the container. An empty `name` lets the
/// engine choose one. With `has_start_interval`, the body has that field.
pub(crate) async fn container(
    root: &Root,
    name: &str,
    body: &[u8],
    has_start_interval: bool,
) -> Result<String> {
    let version = match has_start_interval {
        true => start_interval_version(root).await?,
        false => String::new(),
    };
    let path = match name {
        "" => format!("{version}/containers/create"),
        // The parser refuses a name with a character that would end the query parameter.
        name => format!("{version}/containers/create?name={name}"),
    };
    let response = client::request(root, Method::POST, &path, Some(body)).await?;
    let id = response["Id"].as_str();
    Ok(id.context("the engine's response has no ID")?.into())
}

/// Returns the beginning of the path with the version that knows the start interval. It is
/// empty for an older engine, which is reported: the container runs all the same.
async fn start_interval_version(root: &Root) -> Result<String> {
    let found = client::request(root, Method::GET, "/version", None).await?;
    let version = found["ApiVersion"].as_str().unwrap_or_default();
    let minor = version.strip_prefix("1.").and_then(|m| m.parse().ok());
    if minor.is_some_and(|minor: u32| minor >= START_INTERVAL_MINOR) {
        return Ok(format!("/v1.{START_INTERVAL_MINOR}"));
    }
    log::warn(format_args!(
        "the start interval of the health check has no effect: it needs version \
         1.{START_INTERVAL_MINOR} of the engine's API, and this engine has {}; the interval holds \
         from the start",
        log::printable(version)
    ));
    Ok(String::new())
}
