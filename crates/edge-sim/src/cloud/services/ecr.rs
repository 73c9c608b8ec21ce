//! API of ECR in front of the registry: the password of the registry in exchange for a signature
//! by issued keys.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge_common::file;
use serde_json::{Value, json};

use crate::cloud::aws::REGION;
use crate::cloud::http::Request;
use crate::cloud::sigv4::{self, Scope};
use crate::cloud::{HOST, USER};

use super::Answer;
use super::credentials::Keys;

const SCOPE: Scope = Scope {
    region: REGION,
    service: "ecr",
};
/// Prefix of all operations in the header `x-amz-target`.
const API: &str = "AmazonEC2ContainerRegistry_V20150921.";
/// Validity of a token in seconds.
const TOKEN_LIFE: u64 = 12 * 3600;
/// Policy of the role behind the role alias, as Terraform deploys it.
const ROLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../infra/iot/policies/pull-role.json.tftpl"
));

/// Answers an operation of ECR. Errors have status 400, as in every API with JSON 1.1.
pub(super) fn answer(dir: &Path, request: &Request, keys: &Keys, now: u64) -> Result<Answer> {
    let refused = |error: &'static str, message: &str| Ok(Answer::refused(400, error, message));
    let operation = (request.header("x-amz-target")).and_then(|target| target.strip_prefix(API));
    let (true, true, Some(operation)) = (request.method == "POST", request.path == "/", operation)
    else {
        return refused("UnknownOperationException", "");
    };
    if request.header("content-type") != Some("application/x-amz-json-1.1") {
        return refused("UnknownOperationException", "");
    }
    let secret = |id: &str| keys.get(id).cloned();
    if let Err((error, message)) = sigv4::verify(request, &SCOPE, now, secret) {
        return refused(error, &message);
    }
    let action = format!("ecr:{operation}");
    if !granted()?.contains(&action) {
        let message = format!("the role is not authorized to perform: {action}");
        return refused("AccessDeniedException", &message);
    }
    if operation != "GetAuthorizationToken" {
        return refused("UnknownOperationException", "");
    }
    let body: Option<Value> = serde_json::from_slice(&request.body).ok();
    let fields = body.as_ref().and_then(Value::as_object);
    if fields.is_none_or(|fields| fields.keys().any(|name| name != "registryIds")) {
        return refused("SerializationException", "the request body is no request");
    }
    Ok(Answer::accepted(token(dir, now)?))
}

/// Returns the actions that the policy of the role allows.
fn granted() -> Result<BTreeSet<String>> {
    let policy: Value = serde_json::from_str(ROLE).context("reading the policy of the role")?;
    let statements = policy["Statement"].as_array().into_iter().flatten();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    });
    Ok(actions
        .filter_map(|action| action.as_str().map(String::from))
        .collect())
}

fn token(dir: &Path, now: u64) -> Result<Value> {
    let password = file::read_text(&dir.join("registry.password"), 1024)?;
    let ports: Value = serde_json::from_slice(&file::read(&dir.join("responder.json"), 4096)?)?;
    Ok(json!({ "authorizationData": [{
        "authorizationToken": STANDARD.encode(format!("{USER}:{}", password.trim())),
        "expiresAt": now + TOKEN_LIFE,
        "proxyEndpoint": format!("https://{HOST}:{}", ports["registry"]),
    }]}))
}
