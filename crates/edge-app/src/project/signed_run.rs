//! Run specification that was signed with a pushed version.

use anyhow::Result;
use edge_common::contract::annotation;
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::{Digest, Format, Registry, Signed};
use serde_json::Value;

use crate::exit_code::registry_error;

/// Returns the digest of the run specification that the newest signature of the manifest
/// `digest` states for `app` and `version`; `None` for a version that was signed without
/// one.
///
/// The signature is not verified here: the device verifies it, and edge-app only chooses
/// the command and shows differences.
pub(crate) async fn digest(
    registry: &Registry,
    digest: &Digest,
    app: &str,
    version: &str,
) -> Result<Option<Digest>> {
    let signatures = registry.signatures(digest).await.map_err(registry_error)?;
    let stated = signatures.iter().filter_map(|s| stated(s, app, version));
    Ok(stated
        .max_by_key(|(number, _)| *number)
        .and_then(|(_, run)| run))
}

/// Downloads the run specification with the given digest.
pub(crate) async fn download(registry: &Registry, digest: &Digest) -> Result<RunSpec> {
    let bytes = registry.run_spec(digest).await.map_err(registry_error)?;
    RunSpec::parse(&bytes)
}

/// Returns the release number and the run specification that a signature of this app and
/// version states.
fn stated(signed: &Signed, app: &str, version: &str) -> Option<(u64, Option<Digest>)> {
    let payload: Value = serde_json::from_slice(signed.payload()).ok()?;
    let stated = match signed.format() {
        Format::V2 => &payload["optional"],
        Format::V3 => &payload["subject"][0]["annotations"],
    };
    if stated[annotation::APP] != app || stated[annotation::VERSION] != version {
        return None;
    }
    let number = stated[annotation::RELEASE_NUMBER].as_str()?.parse().ok()?;
    let run = stated[annotation::RUN].as_str();
    Some((number, run.and_then(|run| run.parse().ok())))
}
