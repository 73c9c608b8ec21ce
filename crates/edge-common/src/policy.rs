//! Policy of the device image, `policy.json`, which edge-docker and edge-vpn read.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::contract::limit::ANCHOR_BYTES;
use crate::contract::path::POLICY;
use crate::level::{Level, RunMode};
use crate::{Root, file};

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
        ] {
            assert!(load(text).is_err(), "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(Policy::load(&Root::at(directory.path())).is_err());
    }
}
