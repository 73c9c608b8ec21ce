//! Signed annotations of an image: name, version, release number and grants of an app.

use std::collections::BTreeMap;
use std::fmt;

use edge_common::contract::annotation;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::names::{reserved_suffix, valid_app, valid_version};
use crate::reference::Digest;

/// Keys of the annotations that are read. The first four are required for an image.
const KNOWN: [&str; 6] = [
    annotation::APP,
    annotation::VERSION,
    annotation::RELEASE_NUMBER,
    annotation::GRANTS,
    annotation::RUN,
    annotation::SET,
];

/// Signed annotations of an image: the app, version, release number, grants and run
/// specification that the signer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotations {
    /// Name of the app, which is also the name of its container and of its directory.
    pub app: String,
    /// Version of the app, for example `v1.2`; at most 48 characters.
    pub version: String,
    /// Release number, which increases with each signature of the app. A device refuses a
    /// number below the highest that it has accepted, because the signature of an old
    /// image stays valid for ever.
    pub release_number: u64,
    /// Names of the grants: permissions beyond those that every app has.
    pub grants: Vec<String>,
    /// Digest of the run specification. It is absent in signatures that are older than
    /// run specifications.
    pub run: Option<Digest>,
}

impl Annotations {
    /// Returns the tag under which the image is in the repository: `APP-VERSION`.
    pub fn tag(&self) -> String {
        format!("{}-{}", self.app, self.version)
    }

    /// Returns the annotations as a JSON object of strings, the form in which cosign
    /// writes those of its option `-a`.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let run = self.run.as_ref().map(|d| (annotation::RUN, d.to_string()));
        [
            (annotation::APP, self.app.clone()),
            (annotation::VERSION, self.version.clone()),
            (annotation::RELEASE_NUMBER, self.release_number.to_string()),
            (annotation::GRANTS, self.grants.join(",")),
        ]
        .into_iter()
        .chain(run)
        .map(|(key, value)| (key.into(), json!(value)))
        .collect()
    }
}

/// Signed annotations of a release set, which repeat what its document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAnnotations {
    /// Name of the set.
    pub(crate) name: String,
    /// Number of the set.
    pub(crate) number: u64,
    /// Tag in the reference of a v2 payload.
    pub(crate) tag: Option<String>,
}

impl SetAnnotations {
    /// Returns the annotations in the form of [`Annotations::to_map`].
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert(annotation::SET.into(), json!(self.name));
        map.insert(
            annotation::RELEASE_NUMBER.into(),
            json!(self.number.to_string()),
        );
        map
    }
}

/// Annotations in a payload before they are validated. Unknown keys are ignored, so that
/// a newer edge-app can add an annotation and older devices still accept the signature.
#[derive(Default)]
pub(crate) struct Stated(BTreeMap<&'static str, Option<String>>);

impl Stated {
    /// Returns the app's name, if it ends in a reserved suffix.
    pub(crate) fn reserved_app(&self) -> Option<String> {
        let app = self.0.get(annotation::APP)?.clone()?;
        reserved_suffix(&app).is_some().then_some(app)
    }

    /// Converts the annotations to their types; returns `None` if one is absent or
    /// invalid.
    pub(crate) fn validate(mut self) -> Option<Annotations> {
        if self.0.contains_key(annotation::SET) {
            return None;
        }
        // An absent digest is valid, but `null` or a malformed one is not: the image would
        // run without the specification that the signer meant.
        let run = match self.0.remove(annotation::RUN) {
            None => None,
            Some(digest) => Some(digest?.parse().ok()?),
        };
        let release_number = self.release_number()?;
        let mut take = |key| self.0.remove(key).flatten();
        let grants = take(annotation::GRANTS)?;
        let annotations = Annotations {
            app: take(annotation::APP)?,
            version: take(annotation::VERSION)?,
            release_number,
            grants: grants
                .split(',')
                .filter(|g| !g.is_empty())
                .map(String::from)
                .collect(),
            run,
        };
        // The app's name becomes the name of a directory and a container, so `../other`
        // is invalid even if it is signed.
        let valid = valid_app(&annotations.app) && valid_version(&annotations.version);
        valid.then_some(annotations)
    }

    /// Converts the annotations of a release set, whose payload names `tag` or none; returns
    /// `None` if they also state one of an image. A signature is that of an image or of a
    /// set, never both.
    pub(crate) fn validate_set(mut self, tag: Option<String>) -> Option<SetAnnotations> {
        let number = self.release_number()?;
        let name = self.0.remove(annotation::SET).flatten()?;
        let annotations = SetAnnotations { name, number, tag };
        self.0.is_empty().then_some(annotations)
    }

    fn release_number(&mut self) -> Option<u64> {
        let text = self.0.remove(annotation::RELEASE_NUMBER).flatten()?;
        // Only the canonical spelling is valid: `parse` alone also accepts `+7` and `007`.
        text.parse().ok().filter(|n: &u64| n.to_string() == text)
    }
}

impl<'de> Deserialize<'de> for Stated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StatedVisitor)
    }
}

struct StatedVisitor;

impl<'de> Visitor<'de> for StatedVisitor {
    type Value = Stated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stated, A::Error> {
        let mut stated = Stated::default();
        while let Some(key) = map.next_key::<String>()? {
            let Some(known) = KNOWN.into_iter().find(|known| *known == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // A duplicate key is an error: another parser of the same payload could keep
            // the other value and run the image as a different app.
            if stated.0.insert(known, map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(known));
            }
        }
        Ok(stated)
    }
}
