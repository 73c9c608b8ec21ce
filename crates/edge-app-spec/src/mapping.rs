//! `sync` of `app.yaml`: what of an app's directory goes where on a device.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::text::from_text;

from_text!(Mapping);

/// `LOCAL:BELOW`: a file or directory of the app, and where it goes below the app's
/// data directory of the device.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Below the app's directory.
    pub local: String,
    /// Below the data directory; empty for the directory itself.
    pub below: String,
}

impl TryFrom<String> for Mapping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some((local, below)) = text.split_once(':') else {
            return Err(format!("{text:?} is not LOCAL:BELOW"));
        };
        let clean = |path: &str| {
            let path = path.strip_prefix("./").unwrap_or(path);
            path.trim_end_matches('/').to_string()
        };
        let (local, below) = (clean(local), clean(below));
        let below = if below == "." { String::new() } else { below };
        let good = |path: &str| path.split('/').all(plain);
        if !good(&local) || !(below.is_empty() || good(&below)) || text.ends_with(':') {
            return Err(format!(
                "{text:?}: LOCAL is a file or directory of the app, BELOW one of its data, \
                 both NAME[/NAME] of A-Z a-z 0-9 . _ -"
            ));
        }
        Ok(Self { local, below })
    }
}

fn plain(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().any(|c| c != '.')
        && name.chars().all(letter)
}

impl Mapping {
    /// Where `path`, seen from the app's directory, goes; nothing if it is not
    /// mapped.
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

/// As it is written in `app.yaml`.
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
