//! `Environment=` and `EnvironmentFile=` of a unit. The variables reach the container, as
//! options of `edge-docker run`: in edge-docker's own environment, which is root's,
//! `LD_PRELOAD` in a file that a container can write would be a program of root.

use crate::words::{self, Word};

/// Directories in which the files of `EnvironmentFile=` may be: edge-docker reads them
/// as root, and only there they are the app's own.
const FILE_DIRECTORIES: [&str; 2] = ["/data/apps/", "/data/sandbox/"];

/// Variables of one unit, in the order of its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Names and values of `Environment=`; specifiers such as `%i` are still in them.
    pub variables: Vec<(String, String)>,
    /// Files of `EnvironmentFile=`, with `-` before one that may be absent.
    pub files: Vec<String>,
}

impl Environment {
    /// Returns whether the unit sets no variable.
    pub(crate) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.files.is_empty()
    }

    /// Returns the value of the variable `name` of `Environment=`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| &**value)
    }

    /// Adds the value of an `Environment=` or `EnvironmentFile=`; an empty one resets
    /// what was set before.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "Environment" if value.is_empty() => self.variables.clear(),
            "Environment" => self.assign(value)?,
            _ if value.is_empty() => self.files.clear(),
            _ => {
                check_file(value)?;
                self.files.push(value.into());
            }
        }
        Ok(())
    }

    fn assign(&mut self, value: &str) -> Result<(), String> {
        for word in words::split(value).map_err(|e| format!("Environment=: {e}"))? {
            let Word { text, .. } = &word;
            if word.unknown_escape {
                return Err(format!(
                    "Environment=: {:?} has an unknown escape: write \\\\ for a backslash",
                    word.raw
                ));
            }
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if !is_name(name) || !text.contains('=') {
                return Err(format!(
                    "Environment=: {name:?} is not NAME=VALUE: quote a value with blanks as a whole, \
                     Environment=\"NAME=two words\""
                ));
            }
            self.variables.retain(|(other, _)| other != name);
            self.variables.push((name.into(), value.into()));
        }
        Ok(())
    }
}

/// Returns whether systemd takes `name` as the name of a variable.
pub(crate) fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(rest)
}

fn check_file(value: &str) -> Result<(), String> {
    let path = value.strip_prefix('-').unwrap_or(value);
    let inside = FILE_DIRECTORIES.iter().any(|d| path.starts_with(d));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,%".contains(c);
    if inside && path.chars().all(plain) && !path.split('/').any(|part| part == "..") {
        return Ok(());
    }
    let name = path.rsplit('/').next().filter(|n| n.chars().all(plain));
    let name = name.filter(|n| !n.is_empty()).unwrap_or("FILE");
    Err(format!(
        "EnvironmentFile={value} is not a file of the app: put it into the app's directory and write \
         EnvironmentFile=/data/apps/APP/{name}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_those_that_systemd_reads() {
        let mut environment = Environment::default();
        for value in [
            r#"A=1 "B=two words" 'C=x"y' D=a\x20b"#,
            "A=2",
            r#"E="in the middle" F="#,
        ] {
            environment.set("Environment", value).unwrap();
        }
        assert_eq!(environment.get("A"), Some("2"));
        assert_eq!(environment.get("B"), Some("two words"));
        assert_eq!(environment.get("C"), Some("x\"y"));
        assert_eq!(environment.get("D"), Some("a b"));
        assert_eq!(environment.get("E"), Some("in the middle"));
        assert_eq!(environment.get("F"), Some(""));
        environment.set("Environment", "").unwrap();
        assert!(environment.is_empty());
        for wrong in [
            "A", "1A=x", "A B=x", "\"A=x", "A-B=x", "=x", r"A=\q", r"A=\x00",
        ] {
            assert!(environment.set("Environment", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_the_app_s_own() {
        let mut environment = Environment::default();
        for good in [
            "/data/apps/x/x.env",
            "-/data/apps/x/%i.env",
            "/data/sandbox/x/.env",
        ] {
            environment.set("EnvironmentFile", good).unwrap();
        }
        assert_eq!(environment.files.len(), 3);
        for wrong in [
            "/etc/environment",
            "-/etc/default/app",
            "/data/config/recorder.env",
            "/data/apps/x/../../config/nordvpn/token",
            "/data/apps/x/*.env",
            "data/apps/x/a",
            "/data/apps/x/a b",
        ] {
            let reason = environment.set("EnvironmentFile", wrong).unwrap_err();
            assert!(
                reason.contains("EnvironmentFile=/data/apps/APP/"),
                "{reason}"
            );
        }
        environment.set("EnvironmentFile", "").unwrap();
        assert!(environment.is_empty());
    }
}
