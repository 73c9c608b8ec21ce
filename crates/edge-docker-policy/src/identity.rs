//! Identity of a container: the app that a verified signature names, or a sandbox.

use edge_common::contract::path;
use edge_signature::{Digest, valid_app, valid_version};

/// Whose container it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The app that the signature names.
    Signed {
        /// `edge.app`.
        app: String,
        /// `edge.version`.
        version: String,
        /// `edge.grants`.
        grants: Vec<String>,
        /// The manifest that was verified.
        digest: Digest,
    },
    /// An unsigned image called `sandbox/<app>`.
    Sandbox {
        /// From the image's name.
        app: String,
    },
}

impl Identity {
    /// The one directory that it may mount, with what is below.
    pub fn directory(&self) -> String {
        match self {
            Self::Signed { app, .. } => format!("{}/{app}", path::APPS),
            Self::Sandbox { app } => format!("{}/{app}", path::SANDBOX),
        }
    }
}

/// Returns the app of `sandbox/APP[:TAG]`.
pub fn sandbox_app(image: &str) -> Option<&str> {
    let name = image.strip_prefix("sandbox/")?;
    let (app, tag) = name.split_once(':').unwrap_or((name, "latest"));
    (valid_app(app) && valid_version(tag)).then_some(app)
}
