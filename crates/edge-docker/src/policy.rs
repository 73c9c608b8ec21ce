//! The rule, as a pure function: what an image may mount.

use anyhow::Result;

use crate::body::{Create, Mount};
use crate::options::{Asked, Request};
use crate::refuse;

/// Whose container it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The app that the signature names, in that version.
    Signed {
        /// `edge.app`.
        app: String,
        /// `edge.version`.
        version: String,
    },
    /// An unsigned image called `sandbox/<app>`.
    Sandbox {
        /// From the image's name.
        app: String,
    },
}

impl Subject {
    /// The one folder that it may mount.
    pub fn folder(&self) -> String {
        match self {
            Self::Signed { app, .. } => format!("/data/apps/{app}"),
            Self::Sandbox { app } => format!("/data/sandbox/{app}"),
        }
    }
}

/// The body that is sent: mounts judged, image by Id, our labels.
///
/// # Errors
/// The mount that is refused.
pub fn apply(request: Request, subject: &Subject, image_id: &str) -> Result<Create> {
    let mut body = request.body;
    for asked in request.mounts {
        body.host_config.mounts.push(mount(asked, subject)?);
    }
    body.image = image_id.into();
    let mut label = |key: &str, value: &str| body.labels.insert(key.into(), value.into());
    match subject {
        Subject::Signed { app, version } => {
            label("edge.app", app);
            label("edge.version", version);
        }
        Subject::Sandbox { app } => drop(label("edge.sandbox", app)),
    }
    label("edge.image", &request.image);
    Ok(body)
}

fn mount(asked: Asked, subject: &Subject) -> Result<Mount> {
    let folder = subject.folder();
    if asked.source != folder {
        return Err(refuse(format_args!(
            "mounting {:?} is refused: this image may mount exactly {folder}",
            asked.source
        )));
    }
    Ok(Mount::bind(asked.source, asked.target, asked.read_only))
}
