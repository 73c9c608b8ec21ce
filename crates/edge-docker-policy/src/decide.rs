//! The rule, as a pure function: what a container may be, given who its image
//! is, what its signer grants and what the words ask for.

use anyhow::Result;
use edge_common::contract::label;

use crate::cli::request::Request;
use crate::create_body::{Create, Mount};
use crate::grants::Granted;
use crate::identity::Identity;
use crate::mounts::{self, RequestedMount, path_below};
use crate::refusal::refuse;

/// What is to be done: pins first, then the body is sent.
pub struct Plan {
    /// The create body.
    pub body: Create,
    /// Paths below the subject's directory to pin, in the order of their numbers;
    /// empty is the directory itself.
    pub below: Vec<String>,
}

/// The body that is sent: mounts judged and drawn from the pins of `key`,
/// wishes held against the grants, image by Id, our labels.
///
/// # Errors
/// The mount or wish that is refused, and why.
pub fn apply(
    request: Request,
    subject: &Identity,
    granted: &Granted,
    image_id: &str,
    key: &str,
) -> Result<Plan> {
    let mut body = request.body;
    granted.fulfil(request.wishes, &mut body)?;
    let mut below: Vec<String> = Vec::new();
    for asked in request.mounts {
        let mount = match granted.host_mount(&asked)? {
            Some(mount) => mount,
            None => pinned(asked, subject, key, &mut below)?,
        };
        body.host_config.mounts.push(mount);
    }
    body.image = image_id.into();
    let mut add = |label: &str, value: &str| drop(body.labels.insert(label.into(), value.into()));
    match subject {
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

/// A mount of the subject's directory or of something below it, by its pin.
fn pinned(
    asked: RequestedMount,
    subject: &Identity,
    key: &str,
    below: &mut Vec<String>,
) -> Result<Mount> {
    let directory = subject.directory();
    let Some(path) = path_below(&directory, &asked.source) else {
        return Err(refuse(format_args!(
            "mounting {:?} is refused: this image may mount {directory} and what is below it",
            asked.source
        )));
    };
    let number = below.iter().position(|b| b == path).unwrap_or_else(|| {
        below.push(path.into());
        below.len() - 1
    });
    let source = mounts::clone_path(key, number);
    Ok(Mount::bind(source, asked.target, asked.read_only))
}
