//! Release sets: the apps that a group of devices should run, and revoked image digests.
//!
//! A release set is a canonical JSON document in an OCI artifact. It is signed as container
//! images are, in either of cosign's formats, by keys of a role of its own
//! (`set-signing*.pub`): the signed annotations state `edge.set` and never `edge.app`, so
//! that a set is no image and an image no set, even if one key serves both roles. A set
//! names digests only, and each image needs its own signature: a set cannot bring in other
//! code or wider grants. See `docs/decisions/0056-release-sets.md`.

mod check;
mod manifest;
mod pattern;
mod proof;
mod refusal;
mod text;
mod verify;

use edge_common::contract::set::{FORMAT, tag};
use serde::{Deserialize, Serialize};

use crate::reference::Digest;

pub use manifest::{MEDIA_TYPE, manifest};
pub use pattern::matches;
pub use proof::SetProof;
pub use refusal::{Reason, SetRefusal};
pub use verify::{SetKeys, VerifiedSet};

pub(crate) use manifest::document_of;

/// Release set, its fields in the order of the canonical form. An empty optional field is
/// absent there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSet {
    /// Apps, sorted by name. Empty in a revocation list.
    pub apps: Vec<SetApp>,
    /// Version of the format.
    pub edge: u32,
    /// Latest time at which a device takes the set, in seconds of Unix time. A set that was
    /// taken is carried out and runs beyond it.
    pub expires: u64,
    /// Patterns of the thing names that the set is for, sorted; `*` stands for any
    /// characters.
    #[serde(rename = "for")]
    pub things: Vec<String>,
    /// Name of the set, usually that of the group of devices.
    pub name: String,
    /// Apps that are switched first, in this order. All others follow by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// Apps of earlier sets of the name that are stopped and removed, sorted. Their data
    /// stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Conditions that a device has to meet.
    #[serde(default, skip_serializing_if = "Requires::is_empty")]
    pub requires: Requires,
    /// Digests that are no longer revoked, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<Digest>,
    /// Digests of image manifests that may not start, sorted. They add to those of all
    /// other sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Digest>,
    /// Number of the set, which increases with each signed set of a team, whatever its
    /// name. A device commits none below the highest that it has committed.
    pub serial: u64,
    /// Time for which all apps have to be healthy before the set is committed, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settle: u32,
    /// Time of the week at which apps may be switched; at any time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// App of a release set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetApp {
    /// Digest of the image's manifest, or of the index of its images.
    pub digest: Digest,
    /// Name of the app.
    pub name: String,
    /// Digest of the run specification, which the image's own signature states too.
    pub run: Digest,
    /// Release number of the app, as in the image's own signature.
    pub serial: u64,
    /// Time within which the app has to become healthy, in seconds. If absent, that of
    /// `edge-docker replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Version of the app, as in the image's own signature.
    pub version: String,
}

/// Conditions of a release set, each of which is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Architecture of the device, as in image manifests: `arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Free space on `/data`, in MB of 10^6 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u64>,
    /// Lowest version of the device image: numbers with dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Maintenance window, in the time zone of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Day of the week, 0 for Sunday; each day if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u32>,
    /// Length in minutes.
    pub minutes: u32,
    /// Begin, in minutes after midnight.
    pub start: u32,
}

impl ReleaseSet {
    /// Returns a set without any app or optional field.
    pub fn new(name: &str, serial: u64, expires: u64, things: &[&str]) -> Self {
        Self {
            apps: Vec::new(),
            edge: FORMAT,
            expires,
            things: things.iter().map(ToString::to_string).collect(),
            name: name.into(),
            order: Vec::new(),
            remove: Vec::new(),
            requires: Requires::default(),
            restored: Vec::new(),
            revoked: Vec::new(),
            serial,
            settle: 0,
            window: None,
        }
    }

    /// Returns the tag under which the set is in the repository: `set.NAME.NUMBER`. The tag
    /// of an image never has a dot before its first hyphen.
    pub fn tag(&self) -> String {
        tag(&self.name, self.serial)
    }

    /// Returns whether this is a revocation list: a set that revokes or restores digests
    /// and says nothing about apps. It is applied when it is taken, and never carried out.
    pub fn is_revocation_list(&self) -> bool {
        self.apps.is_empty() && self.remove.is_empty()
    }

    /// Returns the app with a name.
    pub fn app(&self, name: &str) -> Option<&SetApp> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// Returns the apps in the order in which they are switched.
    pub fn ordered(&self) -> Vec<&SetApp> {
        let first = self.order.iter().filter_map(|name| self.app(name));
        let others = self.apps.iter().filter(|a| !self.order.contains(&a.name));
        first.chain(others).collect()
    }

    /// Returns whether the set is for the device with this thing name.
    pub fn is_for(&self, thing: &str) -> bool {
        self.things.iter().any(|pattern| matches(pattern, thing))
    }
}

impl SetApp {
    /// Returns the tag of the app's image: `APP-VERSION`.
    pub fn tag(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

impl Requires {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the condition that a device does not meet, for a message. `free_bytes` is the
    /// free space on `/data`, `image` the version of the device image.
    pub fn unmet(&self, arch: &str, free_bytes: u64, image: &str) -> Option<String> {
        if let Some(wanted) = self.arch.as_deref().filter(|a| *a != arch) {
            return Some(format!("the set is for {wanted}, this device is {arch}"));
        }
        let free = free_bytes / 1_000_000;
        if let Some(wanted) = self.disk_mb.filter(|wanted| *wanted > free) {
            return Some(format!(
                "the set needs {wanted} MB on /data, {free} are free"
            ));
        }
        let wanted = self.image.as_deref()?;
        (numbers(image) < numbers(wanted))
            .then(|| format!("the set needs device image {wanted}, this one is {image:?}"))
    }
}

/// Returns the numbers of a version. Text ends the list, so that `2026.11-rc1` is `2026.11`,
/// and a version without numbers is below every other.
fn numbers(version: &str) -> Vec<u64> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.');
    let version = &version[..end.unwrap_or(version.len())];
    version.split('.').map_while(|n| n.parse().ok()).collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde requires"
)]
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}
