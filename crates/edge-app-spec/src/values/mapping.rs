//! Entries of `sync` in `app.yaml`: files of the app and their targets on the
//! device.

use std::fmt;
use std::path::{Path, PathBuf};

use super::path::is_plain_name;

/// Entry `LOCAL:BELOW` of `sync`: a file or directory of the app, and its target
/// below the app's data directory on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Path of the file or directory in the project, relative to the app's
    /// directory.
    pub local: String,
    /// Target path relative to the app's data directory; empty for the data
    /// directory itself.
    pub below: String,
}

impl TryFrom<String> for Mapping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some((local, below)) = text.split_once(':') else {
            return Err(format!("{text:?} is not LOCAL:BELOW"));
        };
        let normalized = |path: &str| {
            let path = path.strip_prefix("./").unwrap_or(path);
            path.trim_end_matches('/').to_string()
        };
        let (local, below) = (normalized(local), normalized(below));
        let below = if below == "." { String::new() } else { below };
        let allowed = |path: &str| path.split('/').all(is_plain_name);
        if !allowed(&local) || !(below.is_empty() || allowed(&below)) || text.ends_with(':') {
            return Err(format!(
                "{text:?}: LOCAL is a file or directory of the app, BELOW one of its data, \
                 both NAME[/NAME] of A-Z a-z 0-9 . _ -"
            ));
        }
        Ok(Self { local, below })
    }
}

impl Mapping {
    /// Maps `path`, relative to the app's directory, to its target relative to the
    /// data directory. Returns `None` if the mapping does not cover `path`.
    pub fn target(&self, path: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.local).ok()?;
        let below = Path::new(&self.below);
        Some(match (rest.as_os_str().is_empty(), self.below.is_empty()) {
            (true, true) => Path::new(path.file_name()?).to_path_buf(),
            (true, false) => below.to_path_buf(),
            _ => below.join(rest),
        })
    }
}

/// Writes the mapping in the form of `app.yaml`: `LOCAL:BELOW`.
impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let below = if self.below.is_empty() {
            "."
        } else {
            &self.below
        };
        write!(f, "{}:{below}", self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let mapping = |text: &str| Mapping::try_from(text.to_string());
        let web = mapping("./web/:www").unwrap();
        let target = |path: &str| web.target(Path::new(path));
        assert_eq!(target("web/a/b.html"), Some("www/a/b.html".into()));
        assert_eq!(target("web"), Some("www".into()));
        assert_eq!(target("website/x"), None);
        let whole = mapping("conf:.").unwrap();
        assert_eq!(whole.target(Path::new("conf/x")), Some("x".into()));
        let file = mapping("main.py:code/main.py").unwrap();
        assert_eq!(
            file.target(Path::new("main.py")),
            Some("code/main.py".into())
        );
        for bad in [
            "", "a", ":", "a:", ":b", "/a:b", "a:/b", "../a:b", "a:../b", "a:b/../c", ".:b",
            "..:b", "a b:c", "a:b:c", "-a:b", "a:$(id)", "a:b\n", "a:'b'", "a;b:c", "a//b:c",
        ] {
            assert!(mapping(bad).is_err(), "{bad:?}");
        }
    }
}
