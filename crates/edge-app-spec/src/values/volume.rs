//! `volumes` of `app.yaml`: directories of the app's data that are mounted into its
//! container.

use std::fmt;

use edge_docker_policy::run_spec::SpecVolume;

use super::path::is_plain_name;

/// Entry `SOURCE:TARGET[:ro]` of `volumes`: a directory of the app's data and its
/// path in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    source: String,
    target: String,
    read_only: bool,
}

impl TryFrom<String> for Volume {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            [source, target, "rw"] => (source, target, false),
            [_, _, mode] => {
                return Err(format!("{text:?}: the mode {mode:?} is not ro or rw"));
            }
            [target] if target.starts_with('/') => {
                return Err(format!(
                    "{text:?} names no directory of the app's data: write \"NAME:{target}\""
                ));
            }
            _ => return Err(format!("{text:?} is not SOURCE:TARGET[:ro]")),
        };
        if source.starts_with(['/', '~', '$']) {
            return Err(format!(
                "{text:?}: the source is a directory of the app's data on the device, `.` or \
                 NAME[/NAME]; other paths of the device come with a grant, a time zone with the \
                 variable TZ"
            ));
        }
        let source = source.strip_prefix("./").unwrap_or(source);
        let source = source.trim_end_matches('/');
        if source != "." && !source.is_empty() && !source.split('/').all(is_plain_name) {
            return Err(format!(
                "{text:?}: the source is a directory of the app's data, `.` or NAME[/NAME]"
            ));
        }
        let inside = target.strip_prefix('/').unwrap_or_default();
        if !inside.split('/').all(is_plain_name) {
            return Err(format!("{text:?}: the target is an absolute path"));
        }
        let source = if source == "." { "" } else { source };
        Ok(Self {
            source: source.into(),
            target: target.into(),
            read_only,
        })
    }
}

impl Volume {
    /// Returns the absolute path in the container.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Returns the volume in the form of a run specification.
    pub(crate) fn in_run_spec(&self) -> SpecVolume {
        SpecVolume {
            read_only: self.read_only,
            source: self.source.clone(),
            target: self.target.clone(),
        }
    }

    /// Returns the value for docker's `--volume`, with SOURCE below `data`, the
    /// data directory of the app.
    pub(crate) fn below(&self, data: &str) -> String {
        let slash = if self.source.is_empty() { "" } else { "/" };
        let end = if self.read_only { ":ro" } else { "" };
        format!("{data}{slash}{}:{}{end}", self.source, self.target)
    }
}

/// Writes the volume in the form of `app.yaml`: `./SOURCE:TARGET[:ro]`.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.below("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let volume = |text: &str| Volume::try_from(text.to_string());
        assert_eq!(volume(".:/data").unwrap().source, "");
        assert_eq!(volume("./logs/:/var/log").unwrap().source, "logs");
        assert!(volume("a/b:/x:ro").unwrap().read_only);
        for bad in [
            "",
            ":",
            "/etc:/x",
            "..:/x",
            "a/../b:/x",
            ".:x",
            ".:/",
            ".:/a/../b",
            "a b:/x",
            "a:/x:z",
            "a:/x:ro:ro",
            "$(id):/x",
            "-v:/x",
            "a\n:/x",
            "a:/x,b",
        ] {
            assert!(volume(bad).is_err(), "{bad:?}");
        }
    }
}
