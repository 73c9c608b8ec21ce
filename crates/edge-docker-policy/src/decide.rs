//! Decision on a request, as a pure function: what a container may be, given the
//! identity of its image, the grants of its signer, and what the caller requests.

use anyhow::Result;
use edge_common::contract::label;

use crate::cli::request::Request;
use crate::create_body::{Create, Mount};
use crate::grants::Granted;
use crate::identity::Identity;
use crate::mounts::{self, RequestedMount, path_below};
use crate::refusal::refuse;

/// Plan that the policy permits. Mounts are cloned first, because the engine checks that
/// their sources exist; then the body is sent.
pub struct Plan {
    /// Create body.
    pub body: Create,
    /// Paths below the app's directory to clone, in the order of their numbers; empty
    /// is the directory itself.
    pub below: Vec<String>,
}

/// Compares requested with granted permissions and completes the create request: the
/// image by ID, mounts from the clones of `key`, labels of edge-docker.
///
/// # Errors
/// Refusal of a mount or a requested grant, with the reason.
pub fn decide(
    request: Request,
    identity: &Identity,
    granted: &Granted,
    image_id: &str,
    key: &str,
) -> Result<Plan> {
    // The body already holds all that needs no permission: its type has no field for the
    // rest. Only grants and mounts are left to judge.
    let mut body = request.body;
    granted.fulfil(request.grants, &mut body)?;
    let mut below: Vec<String> = Vec::new();
    for requested in request.mounts {
        let mount = match granted.host_mount(&requested)? {
            Some(mount) => mount,
            None => cloned(requested, identity, key, &mut below)?,
        };
        body.host_config.mounts.push(mount);
    }
    // By ID: a name could be given to another image between decision and start.
    body.image = image_id.into();
    // After the labels of the caller, whose prefix `edge.` the parser refuses: `exec`,
    // `start` and the boot audit rely on these.
    let mut add = |label: &str, value: &str| drop(body.labels.insert(label.into(), value.into()));
    match identity {
        Identity::Signed {
            app,
            version,
            digest,
            ..
        } => {
            add(label::APP, app);
            add(label::VERSION, version);
            add(label::DIGEST, digest.as_str());
        }
        Identity::Sandbox { app } => add(label::SANDBOX, app),
    }
    add(label::IMAGE, &request.image);
    if !below.is_empty() {
        add(label::MOUNTS, key);
    }
    Ok(Plan { body, below })
}

/// Returns the mount of the app's directory, or of a path below it, from its clone.
fn cloned(
    requested: RequestedMount,
    identity: &Identity,
    key: &str,
    below: &mut Vec<String>,
) -> Result<Mount> {
    let directory = identity.directory();
    let Some(path) = path_below(&directory, &requested.source) else {
        return Err(refuse(format_args!(
            "mounting {:?} is refused: this image may mount {directory} and what is below it",
            requested.source
        )));
    };
    // One clone for each path, also if the container has it at several places.
    let number = below.iter().position(|b| b == path).unwrap_or_else(|| {
        below.push(path.into());
        below.len() - 1
    });
    let source = mounts::clone_path(key, number);
    Ok(Mount::bind(source, requested.target, requested.read_only))
}
