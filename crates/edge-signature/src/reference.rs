//! References to container images: repository, tag and digest.
//!
//! Docker completes a short name: `alpine` means `docker.io/library/alpine:latest`. This
//! parser requires a registry and a tag or digest, so that no default chooses the image.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "verify")]
use edge_common::hex;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Repository of a registry: `HOST[:PORT]/PATH` in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// Returns the host of the registry, with the port if one is given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the path of the repository below the host, for example `team/app`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || {
            Error::Malformed(format!(
                "{text:?} is not a repository: expected HOST[:PORT]/NAME in lower case"
            ))
        };
        let (host, path) = text.split_once('/').ok_or_else(malformed)?;
        if text.len() > 255 || !valid_host(host) || !path.split('/').all(valid_component) {
            return Err(malformed());
        }
        Ok(Self {
            host: host.into(),
            path: path.into(),
        })
    }
}

/// Returns whether `host` is a valid `NAME[:PORT]` that docker also reads as the host of
/// a registry.
fn valid_host(host: &str) -> bool {
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(n, p)| (n, Some(p)));
    let label = |l: &str| {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !l.is_empty() && l.chars().all(valid) && !l.starts_with('-') && !l.ends_with('-')
    };
    // Docker's rule that distinguishes a host from the first part of a path. With any
    // other rule the engine could pull from another registry than the one that was
    // verified.
    let is_host = name.contains('.') || port.is_some() || name == "localhost";
    let valid_port = port.is_none_or(|p| !p.starts_with(['0', '+']) && p.parse::<u16>().is_ok());
    is_host && valid_port && name.split('.').all(label)
}

fn valid_component(part: &str) -> bool {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    part.chars().all(valid)
        && edge(part.chars().next())
        && edge(part.chars().next_back())
        && !part.contains("..")
}

/// SHA-256 digest of content: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Computes the SHA-256 digest of `bytes`.
    #[cfg(feature = "verify")]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = openssl::sha::sha256(bytes);
        Self(format!("sha256:{}", hex::encode(hash)))
    }

    /// Returns the digest with its prefix `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the 64 hexadecimal digits without the prefix `sha256:`.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        // Upper case is rejected: digests are compared as text and become file names, so
        // each digest must have one spelling.
        let valid = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if hex.len() != 64 || !hex.chars().all(valid) {
            return Err(Error::Malformed(format!(
                "{text:?} is not a digest: expected sha256: and 64 hex digits"
            )));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Name of an image: `REPOSITORY[:TAG][@DIGEST]`, with a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    /// Repository that contains the image, with the host of the registry.
    pub repository: Repository,
    /// Tag, which the registry can move to another image.
    pub tag: Option<String>,
    /// Digest, which identifies exactly one manifest and takes precedence over the tag.
    pub digest: Option<Digest>,
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash separates host and port.
        let slash = name.rfind('/').unwrap_or(0);
        let (name, tag) = match name[slash..].find(':') {
            Some(colon) => (
                &name[..slash + colon],
                Some(name[slash + colon + 1..].to_string()),
            ),
            None => (name, None),
        };
        if tag.as_deref().is_some_and(|t| !valid_tag(t)) || (tag.is_none() && digest.is_none()) {
            return Err(Error::Malformed(format!(
                "{text:?} is not an image: expected REPOSITORY:TAG or REPOSITORY@DIGEST"
            )));
        }
        Ok(Self {
            repository: name.parse()?,
            tag,
            digest,
        })
    }
}

/// Returns whether `tag` matches `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn valid_tag(tag: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=128).contains(&tag.len()) && tag.chars().all(valid) && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_round_trip() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for name in [
            "r.io/a:v1".to_string(),
            format!("localhost:5000/a/b@{digest}"),
            format!("r.io/a:t@{digest}"),
        ] {
            assert_eq!(name.parse::<ImageRef>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn malformed_images_are_rejected() {
        for name in [
            "",
            "a",
            "alpine:3",
            "library/alpine:3",
            "r.io/a",
            "r.io/A:v",
            "r.io/a:",
            "r.io/a:-v",
            "r.io//a:v",
            "r.io/a/:v",
            "r.io/a@sha256:12",
            "r.io/a@sha512:00",
            "r.io:0/a:v",
            "r.io:99999/a:v",
            "r.io:+1/a:v",
            "u@r.io/a:v",
            "r.io/../a:v",
            "r.io/a:v w",
            "r.io/a:v\n",
            "-r.io/a:v",
            "r..io/a:v",
            "https://r.io/a:v",
            "r.io/a:v?x",
            "r.io/a:v@",
            "r.io/a:v%20",
        ] {
            assert!(name.parse::<ImageRef>().is_err(), "{name:?}");
        }
    }
}
