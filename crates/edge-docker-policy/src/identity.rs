//! Identity of a container: the app that a verified signature names, or a sandbox.

use edge_common::contract::path;
use edge_signature::{Digest, valid_app, valid_version};

/// Identity of an image and of its containers, which decides on the directory that they
/// may mount and on their grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Signed image: its app, version and grants are those of the verified signature.
    Signed {
        /// Name of the app, from the signed annotations.
        app: String,
        /// Version of the app, from the signed annotations.
        version: String,
        /// Names of the signed grants, for example `gpu` or `i2c:7`.
        grants: Vec<String>,
        /// Those of the grants that the signer accepts although they amount to root on
        /// the device, from the signed run specification.
        root: Vec<String>,
        /// Digest of the image manifest whose signature was verified.
        digest: Digest,
    },
    /// Unsigned image named `sandbox/APP`, which runs only where the policy of the device
    /// permits sandboxes.
    Sandbox {
        /// Name of the app, taken from the image name.
        app: String,
    },
}

impl Identity {
    /// Returns the app name of a signed or a sandbox image.
    pub fn app(&self) -> &str {
        match self {
            Self::Signed { app, .. } | Self::Sandbox { app } => app,
        }
    }

    /// Returns the only directory of app data that the containers may mount:
    /// `/data/apps/APP`, or `/data/sandbox/APP` for an unsigned image.
    pub fn directory(&self) -> String {
        // App names contain neither `/` nor `..` (`valid_app`), so the path cannot lead
        // elsewhere. Sandbox apps have a separate tree, because an unsigned image must
        // not reach the data of the signed app whose name it copies.
        match self {
            Self::Signed { app, .. } => format!("{}/{app}", path::APPS),
            Self::Sandbox { app } => format!("{}/{app}", path::SANDBOX),
        }
    }
}

/// Returns APP of an image reference `sandbox/APP[:TAG]`, `None` for every other form. A
/// digest (`@sha256:…`) is not accepted: an image that is built or loaded on a device has
/// no repository digest.
pub fn sandbox_app(image: &str) -> Option<&str> {
    let name = image.strip_prefix("sandbox/")?;
    // Docker's default tag, so that `sandbox/APP` and `sandbox/APP:latest` are treated
    // alike.
    let (app, tag) = name.split_once(':').unwrap_or((name, "latest"));
    (valid_app(app) && valid_version(tag)).then_some(app)
}
