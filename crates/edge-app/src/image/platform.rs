//! Platform of an image, compared with `platform` of `edge-app.yaml` before the image is
//! used: without the buildx plugin docker builds for this machine's own processor, and an
//! image of another processor would be signed and would start on no device.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_docker_policy::strict_json;
use edge_signature::Manifest;
use serde_json::Value;

use crate::exit_code::{CONFIGURATION, registry_error};
use crate::project::config::Platform;

/// Operating system, architecture and variant that an image or an index states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    os: String,
    architecture: String,
    variant: String,
}

impl Stated {
    /// Reads the platform from the configuration of an image, from an entry of an index,
    /// or from the output of `docker image inspect`, which has other letters.
    pub(super) fn of(value: &Value) -> Self {
        let text = |names: [&str; 2]| {
            let value = names.iter().find_map(|name| value[*name].as_str());
            value.unwrap_or_default().to_string()
        };
        Self {
            os: text(["os", "Os"]),
            architecture: text(["architecture", "Architecture"]),
            variant: text(["variant", "Variant"]),
        }
    }

    fn is(&self, wanted: &Platform) -> bool {
        // An image for a newer variant (`arm64/v9`, `amd64/v3`) may use instructions that
        // the board does not have.
        let variant = match self.architecture.as_str() {
            "arm64" => ["", "v8"].contains(&self.variant.as_str()),
            _ => self.variant.is_empty(),
        };
        variant && format!("{}/{}", self.os, self.architecture) == wanted.0
    }
}

impl std::fmt::Display for Stated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.os.is_empty() && self.architecture.is_empty() {
            return f.write_str("no platform");
        }
        let variant = match self.variant.as_str() {
            "" => String::new(),
            variant => format!("/{variant}"),
        };
        let text = format!("{}/{}{variant}", self.os, self.architecture);
        f.write_str(&printable(&text))
    }
}

/// Refuses an image of another platform than `wanted`.
pub(super) fn require(image: &str, stated: &Stated, wanted: &Platform) -> Result<()> {
    if stated.is(wanted) {
        return Ok(());
    }
    Err(mismatch(image, &stated.to_string(), wanted))
}

/// Refuses an image of another platform by its configuration.
pub(super) fn require_config(image: &str, config: &[u8], wanted: &Platform) -> Result<()> {
    require(image, &Stated::of(&strict_json::parse(config)?), wanted)
}

/// Refuses what a registry has under a digest: `manifests` with their configurations, the
/// first one at the top, which may be an index. One image for `wanted` must be in it, and
/// each entry that claims to be one must be.
pub(super) fn require_all(
    image: &str,
    manifests: &[(Manifest, Option<Vec<u8>>)],
    wanted: &Platform,
) -> Result<()> {
    let mut found = Vec::new();
    let mut matches = false;
    for (manifest, config) in manifests {
        let Some(config) = config else { continue };
        let stated = Stated::of(&strict_json::parse(config)?);
        for entry in entries(manifests, manifest)? {
            // The engine chooses by the entry, and runs what the configuration states.
            if entry.as_ref().is_some_and(|entry| entry.is(wanted)) {
                require(image, &stated, wanted)?;
            }
            let counts = entry.as_ref().is_none_or(|entry| entry.is(wanted));
            matches |= counts && stated.is(wanted);
            found.push(entry.unwrap_or_else(|| stated.clone()).to_string());
        }
    }
    found.retain(|stated| stated != "unknown/unknown");
    found.dedup();
    match matches {
        true => Ok(()),
        false => Err(mismatch(image, &found.join(", "), wanted)),
    }
}

/// Returns the platforms under which the indexes list a manifest; `None` for one that is
/// listed without a platform, or in no index.
fn entries(
    manifests: &[(Manifest, Option<Vec<u8>>)],
    manifest: &Manifest,
) -> Result<Vec<Option<Stated>>> {
    let mut found = Vec::new();
    for (index, _) in manifests {
        if !index.is_index().map_err(registry_error)? {
            continue;
        }
        let index = strict_json::parse(&index.bytes)?;
        let entries = index["manifests"].as_array().into_iter().flatten();
        let same = entries.filter(|entry| entry["digest"] == manifest.digest.as_str());
        found.extend(same.map(|entry| {
            let platform = entry.get("platform").filter(|p| p.is_object());
            platform.map(Stated::of)
        }));
    }
    if found.is_empty() {
        found.push(None);
    }
    Ok(found)
}

fn mismatch(image: &str, stated: &str, wanted: &Platform) -> anyhow::Error {
    let wanted = &wanted.0;
    let architecture = wanted.rsplit('/').next().unwrap_or_default();
    Failure::error(
        CONFIGURATION,
        format_args!(
            "{image} is for {stated}, and edge-app.yaml has platform {wanted}: build it for \
             {wanted} with the docker-buildx plugin and, on another processor, with binfmt (docker \
             run --privileged --rm tonistiigi/binfmt --install {architecture}), from a base image \
             that has {wanted}; or change `platform` if the devices are another board"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn platforms() {
        let arm = Platform("linux/arm64".into());
        let is = |value: Value| Stated::of(&value).is(&arm);
        assert!(is(json!({ "os": "linux", "architecture": "arm64" })));
        assert!(is(
            json!({ "Os": "linux", "Architecture": "arm64", "Variant": "v8" })
        ));
        for other in [
            json!({ "os": "linux", "architecture": "amd64" }),
            json!({ "os": "linux", "architecture": "arm64", "variant": "v9" }),
            json!({ "os": "linux", "architecture": "arm", "variant": "v8" }),
            json!({ "os": "windows", "architecture": "arm64" }),
            json!({ "architecture": "arm64" }),
            json!({ "os": ["linux"], "architecture": 1 }),
            json!([]),
        ] {
            assert!(!is(other.clone()), "{other}");
        }
        let amd = Platform("linux/amd64".into());
        let v3 = json!({ "os": "linux", "architecture": "amd64", "variant": "v3" });
        assert!(!Stated::of(&v3).is(&amd));
        let hostile = Stated::of(&json!({ "os": "\u{1b}[2J", "architecture": "x" }));
        assert!(!hostile.to_string().contains('\u{1b}'));
        assert_eq!(Stated::of(&json!(null)).to_string(), "no platform");
    }
}
