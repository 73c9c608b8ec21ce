//! The rule, as a pure function: what a container may be, given who its image
//! is, what its signer grants and what the words ask for.

use anyhow::Result;
use edge_signature::Digest;

use crate::body::{Create, Mount};
use crate::grants::Granted;
use crate::options::{Asked, Request};
use crate::{pins, refuse};

/// Whose container it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
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

impl Subject {
    /// The one directory that it may mount, with what is below.
    pub fn directory(&self) -> String {
        match self {
            Self::Signed { app, .. } => format!("/data/apps/{app}"),
            Self::Sandbox { app } => format!("/data/sandbox/{app}"),
        }
    }
}

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
    subject: &Subject,
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
    let mut label = |key: &str, value: &str| body.labels.insert(key.into(), value.into());
    match subject {
        Subject::Signed {
            app,
            version,
            digest,
            ..
        } => {
            label("edge.app", app);
            label("edge.version", version);
            label("edge.digest", digest.as_str());
        }
        Subject::Sandbox { app } => drop(label("edge.sandbox", app)),
    }
    label("edge.image", &request.image);
    if !below.is_empty() {
        label("edge.pins", key);
    }
    Ok(Plan { body, below })
}

/// A mount of the subject's directory or of something below it, by its pin.
fn pinned(asked: Asked, subject: &Subject, key: &str, below: &mut Vec<String>) -> Result<Mount> {
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
    let source = pins::path(key, number);
    Ok(Mount::bind(source, asked.target, asked.read_only))
}

/// What of `source` lies below `directory`: empty for the directory itself, nothing
/// if it lies elsewhere or is not written plainly.
pub fn path_below<'a>(directory: &str, source: &'a str) -> Option<&'a str> {
    let rest = source.strip_prefix(directory)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let path = rest.strip_prefix('/')?;
    if path.is_empty() {
        return Some(path);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    pins::plain(path).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directory_and_what_is_below() {
        let below = |source| path_below("/data/apps/foo", source);
        assert_eq!(below("/data/apps/foo"), Some(""));
        assert_eq!(below("/data/apps/foo/"), Some(""));
        assert_eq!(below("/data/apps/foo/a/b"), Some("a/b"));
        assert_eq!(below("/data/apps/foo/a/"), Some("a"));
        for source in [
            "",
            "/",
            "/data/apps",
            "/data/apps/foobar",
            "/data/apps/foo-evil",
            "/data/apps/foo/..",
            "/data/apps/foo/../bar",
            "/data/apps/foo/a/../../bar",
            "/data/apps/foo//a",
            "/data/apps/foo/./a",
            "/data/apps/foo/a\n",
            "data/apps/foo",
            "//data/apps/foo",
            "/data/apps/foo/a//",
            "/data/apps/FOO",
            "foo",
        ] {
            assert_eq!(below(source), None, "{source:?}");
        }
    }
}
