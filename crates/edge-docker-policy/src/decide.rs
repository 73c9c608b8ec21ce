//! Decision on a create request, as a pure function of the request, the identity of the
//! image and the grants of its signer.

use std::collections::BTreeSet;

use anyhow::Result;
use edge_common::contract::label;

use crate::bounds;
use crate::cli::request::Request;
use crate::create_body::{Create, HostConfig, Mount};
use crate::grants::Granted;
use crate::identity::Identity;
use crate::limits::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES};
use crate::mounts::{self, RequestedMount, path_below};
use crate::refusal::refuse;

/// Create request that the policy permits. The caller clones the mounts before it sends
/// the body, because the engine checks that the sources of mounts exist.
pub struct Plan {
    /// Body of `POST /containers/create`.
    pub body: Create,
    /// Paths to clone, relative to the app's directory. The index of a path is the number
    /// of its clone; an empty path is the directory itself.
    pub below: Vec<String>,
}

/// Compares the requested permissions with the granted ones and completes the create
/// body: sets the image ID, the mounts (from the clones of `key`) and the labels of
/// edge-docker.
///
/// # Errors
/// A mount or a requested grant is refused; the text names the reason.
pub fn decide(
    request: Request,
    identity: &Identity,
    granted: &Granted,
    image_id: &str,
    key: &str,
) -> Result<Plan> {
    // Options that need no permission are already in the body, and its type has no field
    // for options that are always refused. Only requested grants and mounts are judged
    // here.
    let mut body = request.body;
    granted.fulfil(request.grants, &mut body)?;
    narrow_capabilities(&mut body.host_config);
    let mut below: Vec<String> = Vec::new();
    for requested in request.mounts {
        let mount = match granted.host_mount(&requested)? {
            Some(mount) => mount,
            None => cloned(requested, identity, key, &mut below)?,
        };
        body.host_config.mounts.push(mount);
    }
    let mounts = body.host_config.mounts.len() + body.host_config.tmpfs.len();
    let labels = body.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    bounds::check(mounts, labels).map_err(refuse)?;
    // Image ID instead of the name, which could be moved to another image before the
    // container starts.
    body.image = image_id.into();
    // `exec`, `start` and the boot audit rely on these labels. They are added last, and
    // the option parser refuses `--label` with the prefix `edge.`, so that the caller
    // cannot set them. Labels that do not apply are empty instead of absent: the engine
    // would add a label of the image in their place.
    let mut add = |label: &str, value: &str| drop(body.labels.insert(label.into(), value.into()));
    for name in label::ALL {
        add(name, "");
    }
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

/// Writes the capabilities of the container as a list: all are dropped, and those that
/// remain are added. What the engine's own default holds then does not matter.
fn narrow_capabilities(host: &mut HostConfig) {
    let added: BTreeSet<String> = std::mem::take(&mut host.cap_add).into_iter().collect();
    let dropped = std::mem::take(&mut host.cap_drop);
    let drops = |name: &str| dropped.iter().any(|d| d == name || d == ALL_CAPABILITIES);
    let kept = DEFAULT_CAPABILITIES.into_iter().filter(|name| !drops(name));
    // As in docker, a capability that is both dropped and added is added.
    let all: BTreeSet<String> = kept.map(String::from).chain(added).collect();
    host.cap_add = all.into_iter().collect();
    host.cap_drop = vec![ALL_CAPABILITIES.into()];
}

/// Returns the bind mount of a clone of the requested source and adds a new source to
/// `below`; refuses a source outside the app's directory.
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
    // A path that is mounted at several targets is cloned only once.
    let number = below.iter().position(|b| b == path).unwrap_or_else(|| {
        below.push(path.into());
        below.len() - 1
    });
    let source = mounts::clone_path(key, number);
    Ok(Mount::bind(source, requested.target, requested.read_only))
}
