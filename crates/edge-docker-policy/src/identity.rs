//! Identity of a container: the app that a verified signature names, or a sandbox.

use edge_common::contract::path;
use edge_signature::{Digest, valid_app, valid_version};

/// Identity of an image, and of the containers that are created from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// App that the verified signature names.
    Signed {
        /// Name of the app.
        app: String,
        /// Version of the app.
        version: String,
        /// Signed grants.
        grants: Vec<String>,
        /// Digest of the verified manifest.
        digest: Digest,
    },
    /// Unsigned image named `sandbox/APP`.
    Sandbox {
        /// Name of the app, from the name of the image.
        app: String,
    },
}

impl Identity {
    /// Returns the name of the app.
    pub fn app(&self) -> &str {
        match self {
            Self::Signed { app, .. } | Self::Sandbox { app } => app,
        }
    }

    /// Returns the one directory of `/data` that its containers may mount.
    pub fn directory(&self) -> String {
        // `valid_app` permits neither `/` nor `..`, so that a name cannot lead elsewhere.
        // The trees are apart: an unsigned image must not reach the data of the signed
        // app whose name it copies.
        match self {
            Self::Signed { app, .. } => format!("{}/{app}", path::APPS),
            Self::Sandbox { app } => format!("{}/{app}", path::SANDBOX),
        }
    }
}

/// Returns the app of `sandbox/APP[:TAG]`. A digest is not accepted: an image that is
/// built or loaded on a device has none.
pub fn sandbox_app(image: &str) -> Option<&str> {
    let name = image.strip_prefix("sandbox/")?;
    // Docker's default tag, so that all spellings of one image are judged alike.
    let (app, tag) = name.split_once(':').unwrap_or((name, "latest"));
    (valid_app(app) && valid_version(tag)).then_some(app)
}
