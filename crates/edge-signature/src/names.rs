//! Names that become container names, directories and tags.

/// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
pub fn valid_app(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(good)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}`, so that `<app>-<version>` is a tag.
pub fn valid_version(version: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=48).contains(&version.len())
        && version.chars().all(good)
        && !version.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "hello", "a-b-1"] {
            assert!(valid_app(good), "{good}");
        }
        for bad in [
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
        ] {
            assert!(!valid_app(bad), "{bad}");
        }
        assert!(
            valid_version("v1.0_rc-2")
                && !valid_version("-v")
                && !valid_version("a:b")
                && !valid_version("")
        );
    }
}
