//! Choice among several trusted signatures of one manifest.
//!
//! The same manifest may be signed for several apps, and for several versions of one app:
//! with a build that changes nothing, or when only the run specification changes. Each of
//! these signatures is as valid as the others, so the caller says which one is meant.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::reference::{Digest, ImageRef};
use crate::verified::Verified;

/// Rule by which one of several trusted signatures of a manifest is chosen. Of those that
/// fit, the one with the highest release number is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select<'a> {
    /// Newest signature. It is an error if the manifest is signed for several apps.
    Newest,
    /// Signature of the app and version with this tag, `APP-VERSION`. A v2 signature that
    /// names another tag in its reference does not fit.
    Tag(&'a str),
    /// Newest signature of the app with this name.
    App(&'a str),
    /// Signature of this app and version, for example those of a container's labels.
    Version {
        /// Name of the app.
        app: &'a str,
        /// Version of the app.
        version: &'a str,
    },
}

impl<'a> Select<'a> {
    /// Returns the rule for an image reference: its tag if it has one, even beside a
    /// digest, else the newest signature.
    pub fn of(image: &'a ImageRef) -> Self {
        image.tag.as_deref().map_or(Self::Newest, Self::Tag)
    }

    /// Chooses among the trusted signatures of the manifest `digest`.
    pub(crate) fn choose(self, digest: &Digest, trusted: &[Verified]) -> Result<Verified, Error> {
        let fitting: Vec<_> = trusted.iter().filter(|v| self.fits(v)).collect();
        let number = |v: &&Verified| v.annotations.release_number;
        let highest = fitting.iter().map(number).max();
        let mut newest = fitting.iter().filter(|v| Some(number(v)) == highest);
        let apps: BTreeSet<_> = fitting.iter().map(|v| &v.annotations.app).collect();
        let versions: BTreeSet<_> = newest.clone().map(|v| &v.annotations.version).collect();
        if apps.len() > 1 || versions.len() > 1 {
            return Err(self.ambiguous(digest, &fitting));
        }
        // Equal in app, version and number: signers append, so the last one is the newest.
        let chosen = newest.next_back().map(|v| (*v).clone());
        chosen.ok_or_else(|| self.nothing(digest, trusted))
    }

    fn fits(self, verified: &Verified) -> bool {
        let signed = &verified.annotations;
        match self {
            Self::Newest => true,
            Self::Tag(tag) => {
                signed.tag() == tag && verified.tag.as_deref().is_none_or(|named| named == tag)
            }
            Self::App(app) => signed.app == app,
            Self::Version { app, version } => signed.app == app && signed.version == version,
        }
    }

    fn nothing(self, digest: &Digest, trusted: &[Verified]) -> Error {
        let signed = names(trusted);
        Error::NotSelected(match self {
            Self::Newest => format!("{digest}: no signature"),
            Self::Tag(tag) => format!(
                "tag {tag} is refused: the image is signed as {signed}, and a tag must be \
                 APP-VERSION of the signature"
            ),
            Self::App(app) => format!("{digest} is not signed as {app}, only as {signed}"),
            Self::Version { app, version } => {
                format!("{digest} is not signed as {app} {version}, only as {signed}")
            }
        })
    }

    fn ambiguous(self, digest: &Digest, fitting: &[&Verified]) -> Error {
        let signed = names(fitting.iter().copied());
        Error::Ambiguous(match self {
            Self::Tag(tag) => format!(
                "tag {tag} is ambiguous, because the image is signed as {signed}: sign it as \
                 another version"
            ),
            _ => format!(
                "{digest} is ambiguous, because the image is signed as {signed}: name it by its \
                 tag, APP-VERSION"
            ),
        })
    }
}

/// Returns the apps and versions for which an image is signed, for an error message.
fn names<'a>(trusted: impl IntoIterator<Item = &'a Verified>) -> String {
    let name = |verified: &Verified| {
        let (app, version) = (&verified.annotations.app, &verified.annotations.version);
        match &verified.tag {
            Some(tag) if *tag != verified.annotations.tag() => {
                format!("{app} {version} (with the tag {tag})")
            }
            _ => format!("{app} {version}"),
        }
    };
    let names: BTreeSet<_> = trusted.into_iter().map(name).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
