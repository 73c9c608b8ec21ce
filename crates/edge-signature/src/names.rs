//! Checks of app names and versions, which become names of containers, directories and
//! tags.

use edge_common::contract::suffix;

/// Returns the suffix of `name` that is reserved for the containers of a deployment, if it
/// has one: the container of such an app would be taken for another app's.
pub fn reserved_suffix(name: &str) -> Option<&'static str> {
    suffix::RESERVED.into_iter().find(|s| name.ends_with(s))
}

/// Returns whether `name` matches `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?` and ends in no
/// reserved suffix.
pub fn valid_app(name: &str) -> bool {
    // The form of a DNS label, because the name is also that of a host in the app's
    // network and of a directory, where a dot or a slash could lead to another directory.
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(valid)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && reserved_suffix(name).is_none()
}

/// Returns whether `version` matches `[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}`.
pub fn valid_version(version: &str) -> bool {
    // A tag consists of name, hyphen and version: 63 + 1 + 48 characters stay below its
    // limit of 128.
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=48).contains(&version.len())
        && version.chars().all(valid)
        && !version.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names() {
        for name in ["a", "hello", "a-b-1", "next", "a-next-1"] {
            assert!(valid_app(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a/b",
            "a b",
            "..",
            "a\n",
            "é",
            &"a".repeat(64),
            "a-next",
            "a-previous",
            "a-older",
            "a-moving",
        ] {
            assert!(!valid_app(name), "{name}");
        }
    }

    #[test]
    fn versions() {
        assert!(valid_version("v1.0_rc-2"));
        for version in ["-v", "a:b", ""] {
            assert!(!valid_version(version), "{version}");
        }
    }
}
