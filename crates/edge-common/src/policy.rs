//! Policy of the device image, `policy.json`, which edge-docker and edge-vpn read.

use anyhow::{Context, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::contract::limit::ANCHOR_BYTES;
use crate::contract::path::POLICY;
use crate::level::{Level, RunMode};
use crate::{Root, file};

/// Highest threshold of signatures of a release set.
const MAX_THRESHOLD: usize = 16;

/// Contents of `policy.json`. Unknown keys are errors, so that a misspelt restriction
/// is noticed instead of ignored.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Permission to run unsigned container images named `sandbox/…`; by default
    /// `false`.
    #[serde(default)]
    pub sandbox: bool,
    /// Network interfaces over which sshd accepts logins; by default `any`.
    #[serde(default)]
    pub ssh: SshAccess,
    /// Origin of the settings of containers; by default the signature alone.
    #[serde(default)]
    pub run: RunMode,
    /// Commands that engineers may give; by default only those that look.
    #[serde(default)]
    pub engineer: Level,
    /// Time of the check of image layers; by default in the background.
    #[serde(default)]
    pub layers: LayerCheck,
    /// Limit of the data of an app that names none; by default 80 % of `/data`.
    #[serde(default)]
    pub storage: Storage,
    /// Signatures that a release set needs; by default by two different keys.
    #[serde(default)]
    pub sets: Sets,
}

/// Signatures that a release set needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sets {
    /// Number of different keys that must have signed a set, from 1 to 16.
    #[serde(deserialize_with = "threshold")]
    pub threshold: usize,
}

/// Two, so that neither the holder of one key nor the administrators of a KMS key choose
/// alone what a fleet runs.
impl Default for Sets {
    fn default() -> Self {
        Self { threshold: 2 }
    }
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let threshold = usize::deserialize(deserializer)?;
    match threshold {
        1..=MAX_THRESHOLD => Ok(threshold),
        _ => Err(D::Error::custom(format_args!(
            "threshold {threshold} is not 1 to {MAX_THRESHOLD}"
        ))),
    }
}

/// Limit of what an app stores on `/data`: a share such as `80%`, or a size such as `8g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Storage {
    /// Share of the file system, in percent: from 1 to 100.
    Percent(u8),
    /// Size in bytes.
    Bytes(u64),
}

impl Storage {
    /// Returns the limit on a file system of `size`, in the unit of `size`: bytes, or for
    /// a share also files.
    pub fn of(self, size: u64) -> u64 {
        match self {
            // Divided first: a product could overflow.
            Self::Percent(percent) => size / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// So large that an app which fills it was not written for the device, and so small that
/// engine, operating system and other apps go on.
impl Default for Storage {
    fn default() -> Self {
        Self::Percent(80)
    }
}

impl TryFrom<String> for Storage {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => number(percent)
                .filter(|percent| (1..=100).contains(percent))
                .and_then(|percent| Some(Self::Percent(percent.try_into().ok()?))),
            None => bytes(&text).filter(|bytes| *bytes > 0).map(Self::Bytes),
        };
        let error = || format!("storage {text:?} is neither a share like 80% nor a size like 8g");
        parsed.ok_or_else(error)
    }
}

fn bytes(text: &str) -> Option<u64> {
    let unit = text.chars().last().and_then(|unit| "kmgt".find(unit));
    let (digits, shift) = match unit {
        Some(power) => (&text[..text.len() - 1], 10 * (power + 1)),
        None => (text, 0),
    };
    number(digits)?.checked_mul(1 << shift)
}

/// Parses a number of digits alone: `parse` would also take a sign.
fn number(digits: &str) -> Option<u64> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

/// Time at which the layers of all images are checked in each boot: `background` or
/// `before-start`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerCheck {
    /// While the apps run already. This is the default, because the check takes seconds
    /// for each gigabyte.
    #[default]
    Background,
    /// Before the engine starts, so that no changed program ever runs.
    BeforeStart,
}

/// Network interfaces over which sshd accepts logins: `any` or `vpn`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SshAccess {
    /// All interfaces. This is the default, because a device whose image configures no
    /// VPN would otherwise be accessible only through its console.
    #[default]
    Any,
    /// Only the VPN; edge-vpn writes the matching configuration of sshd.
    Vpn,
}

impl Policy {
    /// Reads `policy.json`. There is no default for a policy that cannot be read.
    ///
    /// # Errors
    /// The file is absent, oversized or malformed.
    pub fn load(root: &Root) -> Result<Self> {
        let text = file::read(&root.path(POLICY), ANCHOR_BYTES)?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {POLICY}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Policy> {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let path = root.path(POLICY);
        file::create_directory(path.parent().unwrap(), 0o755).unwrap();
        file::write(&path, text.as_bytes(), 0o644).unwrap();
        Policy::load(&root)
    }

    #[test]
    fn absent_keys_have_defaults() {
        assert_eq!(load("{}").unwrap(), Policy::default());
        assert!(!Policy::default().sandbox);
        let strict = (Policy::default().run, Policy::default().engineer);
        assert_eq!(strict, (RunMode::Signed, Level::Look));
        let policy = load(r#"{"sandbox":true,"ssh":"vpn"}"#).unwrap();
        assert!(policy.sandbox && policy.ssh == SshAccess::Vpn);
        let policy = load(r#"{"run":"any","engineer":"operate"}"#).unwrap();
        assert_eq!(
            (policy.run, policy.engineer),
            (RunMode::Any, Level::Operate)
        );
        assert_eq!(policy.layers, LayerCheck::Background);
        let policy = load(r#"{"layers":"before-start"}"#).unwrap();
        assert_eq!(policy.layers, LayerCheck::BeforeStart);
        assert_eq!(policy.storage, Storage::Percent(80));
        for (text, storage) in [
            ("1%", Storage::Percent(1)),
            ("100%", Storage::Percent(100)),
            ("8g", Storage::Bytes(8 << 30)),
            ("512m", Storage::Bytes(512 << 20)),
            ("65536", Storage::Bytes(65536)),
        ] {
            let policy = load(&format!(r#"{{"storage":"{text}"}}"#)).unwrap();
            assert_eq!(policy.storage, storage);
        }
        assert_eq!(policy.sets.threshold, 2);
        for threshold in [1, 2, 16] {
            let policy = load(&format!(r#"{{"sets":{{"threshold":{threshold}}}}}"#)).unwrap();
            assert_eq!(policy.sets.threshold, threshold);
        }
        assert_eq!(Storage::default().of(1000), 800);
        assert_eq!(Storage::Percent(100).of(u64::MAX), u64::MAX / 100 * 100);
        assert_eq!(Storage::Bytes(7).of(1000), 7);
        assert!(Level::Look < Level::Operate && Level::Operate < Level::Debug);
    }

    #[test]
    fn anything_unknown_is_an_error() {
        for text in [
            "",
            "true",
            r#"{"sandbox":1}"#,
            r#"{"sandbox":true,"x":1}"#,
            r#"{"ssh":"lan"}"#,
            r#"{"ssh":null}"#,
            r#"{"run":"unsigned"}"#,
            r#"{"run":true}"#,
            r#"{"engineer":"root"}"#,
            r#"{"engineer":"Debug"}"#,
            r#"{"layers":"never"}"#,
            r#"{"layers":"beforestart"}"#,
            r#"{"layers":null}"#,
            r#"{"sets":{}}"#,
            r#"{"sets":null}"#,
            r#"{"sets":2}"#,
            r#"{"sets":{"threshold":0}}"#,
            r#"{"sets":{"threshold":17}}"#,
            r#"{"sets":{"threshold":-1}}"#,
            r#"{"sets":{"threshold":"2"}}"#,
            r#"{"sets":{"threshold":null}}"#,
            r#"{"sets":{"threshold":2,"x":1}}"#,
            r#"{"storage":8}"#,
            r#"{"storage":""}"#,
            r#"{"storage":"0"}"#,
            r#"{"storage":"0%"}"#,
            r#"{"storage":"101%"}"#,
            r#"{"storage":"-1g"}"#,
            r#"{"storage":"+1g"}"#,
            r#"{"storage":"1.5g"}"#,
            r#"{"storage":"8gb"}"#,
            r#"{"storage":"g"}"#,
            r#"{"storage":"8 g"}"#,
            r#"{"storage":"99999999999t"}"#,
            r#"{"storage":"8\u00e4"}"#,
        ] {
            assert!(load(text).is_err(), "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(Policy::load(&Root::at(directory.path())).is_err());
    }
}
