//! `volumes` of `app.yaml`.

use std::fmt;

use crate::text::from_text;

from_text!(Volume);

/// A directory of the app's data and where the container sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Volume {
    /// Below the data directory; empty for the directory itself.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// May it only read?
    pub read_only: bool,
}

impl TryFrom<String> for Volume {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            [source, target, "rw"] => (source, target, false),
            _ => return Err(format!("{text:?} is not SOURCE:TARGET[:ro]")),
        };
        let source = source
            .strip_prefix("./")
            .unwrap_or(source)
            .trim_end_matches('/');
        let good = |p: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !p.is_empty() && p != "." && p != ".." && !p.starts_with('-') && p.chars().all(letter)
        };
        if source != "." && !source.is_empty() && !source.split('/').all(good) {
            return Err(format!(
                "{text:?}: the source is a directory of the app's data, `.` or NAME[/NAME]"
            ));
        }
        let inside = target.strip_prefix('/').unwrap_or_default();
        if !inside.split('/').all(good) {
            return Err(format!("{text:?}: the target is an absolute path"));
        }
        Ok(Self {
            source: if source == "." {
                String::new()
            } else {
                source.into()
            },
            target: target.into(),
            read_only,
        })
    }
}

impl Volume {
    /// As an option of docker, with the app's data in `data`.
    pub fn below(&self, data: &str) -> String {
        let slash = if self.source.is_empty() { "" } else { "/" };
        let end = if self.read_only { ":ro" } else { "" };
        format!("{data}{slash}{}:{}{end}", self.source, self.target)
    }
}

/// As it is written in `app.yaml`.
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
