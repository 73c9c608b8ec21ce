//! Settings as a whole: read, checked, turned into keyfiles, and shown.

use anyhow::{Context, Result, bail};

use crate::types::Settings;
use crate::{MAX_SETTINGS_BYTES, check, keyfile};

/// Text in the place of a password that is not shown.
const HIDDEN: &str = "…";

impl Settings {
    /// Parses settings in JSON and checks them.
    ///
    /// # Errors
    /// Names what is wrong and what to write instead; never a password.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() as u64 > MAX_SETTINGS_BYTES {
            bail!("network settings have at most {MAX_SETTINGS_BYTES} bytes");
        }
        // An array would be read as the fields in their order.
        if json.trim_ascii_start().starts_with(b"[") {
            bail!("network settings are an object of the documented form, not a list");
        }
        let parsed = serde_json::from_slice::<Self>(json).map_err(|error| hide(&error));
        let settings = parsed.context("reading the network settings")?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks all values, and that they fit together.
    ///
    /// # Errors
    /// Names what is wrong and what to write instead; never a password.
    pub fn check(&self) -> Result<()> {
        check::check(self)
    }

    /// Returns name and content of the keyfiles of NetworkManager.
    pub fn keyfiles(&self) -> Vec<(String, String)> {
        self.interfaces.iter().map(keyfile::of).collect()
    }

    /// Returns the settings with a mark in the place of each password.
    #[must_use]
    pub fn without_passwords(&self) -> Self {
        let mut shown = self.clone();
        for wifi in shown.interfaces.iter_mut().filter_map(|i| i.wifi.as_mut()) {
            if wifi.password.is_some() {
                wifi.password = Some(HIDDEN.into());
            }
        }
        shown
    }
}

/// Returns an error of the parser without the text that it quotes, which may be a
/// password that was written under a wrong key.
fn hide(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    // The names of fields are ours; `unknown field` quotes the key that was read.
    let is_safe = [
        "unknown field",
        "missing field",
        "unknown variant",
        "duplicate field",
    ];
    let is_safe = is_safe.iter().any(|begin| text.starts_with(begin));
    match is_safe || error.is_syntax() || error.is_eof() {
        true => anyhow::anyhow!("{text}"),
        false => anyhow::anyhow!(
            "line {} column {}: not a value of the documented form",
            error.line(),
            error.column()
        ),
    }
}
