//! Files that docker does not send to a build, by `.dockerignore`: a change of one of them
//! needs no build.

use std::path::{Component, Path};

use edge_common::file;

/// Size limit of `.dockerignore`, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Files that are read although `.dockerignore` may name them: by docker, and by edge-app.
const ALWAYS_READ: [&str; 4] = [
    "Dockerfile",
    ".dockerignore",
    "Dockerfile.dockerignore",
    "app.yaml",
];

/// Rules of a `.dockerignore` file.
#[derive(Default)]
pub(super) struct Ignored(Vec<Rule>);

/// Rule with the parts of its path. A rule that begins with `!` makes exceptions.
struct Rule {
    exception: bool,
    parts: Vec<String>,
}

impl Ignored {
    /// Reads the rules for an app's directory. A file that is absent or cannot be read has
    /// no rules: the build reports the error.
    pub(super) fn load(directory: &Path) -> Self {
        // A file beside the Dockerfile that is named after it has precedence.
        let files = ["Dockerfile.dockerignore", ".dockerignore"];
        let mut texts = files
            .iter()
            .filter_map(|name| file::read_text(&directory.join(name), MAX_FILE_BYTES).ok());
        texts.next().map_or_else(Self::default, |t| Self::parse(&t))
    }

    /// Parses the text of a `.dockerignore` file.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self(text.lines().filter_map(Rule::parse).collect())
    }

    /// Returns whether docker omits a path, which is relative to the app's directory.
    pub(super) fn contains(&self, path: &Path) -> bool {
        if ALWAYS_READ.iter().any(|name| path == Path::new(name)) {
            return false;
        }
        let parts = path.components().map(|c| c.as_os_str().to_string_lossy());
        let parts: Vec<_> = parts.collect();
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        // A rule for a directory applies to everything in it, and the last rule counts.
        let applies = |rule: &&Rule| (1..=parts.len()).any(|end| rule.matches(&parts[..end]));
        let last = self.0.iter().rev().find(applies);
        last.is_some_and(|rule| !rule.exception)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let line = line.trim();
        let (exception, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<String> = Vec::new();
        for component in Path::new(pattern.trim_start_matches('/')).components() {
            match component {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => drop(parts.pop()),
                _ => {}
            }
        }
        (!parts.is_empty()).then_some(Self { exception, parts })
    }

    fn matches(&self, path: &[&str]) -> bool {
        let parts: Vec<_> = self.parts.iter().map(String::as_str).collect();
        matches_path(&parts, path)
    }
}

/// Compares a path with the parts of a rule, among which `**` stands for any number of
/// directories.
fn matches_path(rule: &[&str], path: &[&str]) -> bool {
    // reachable[n]: the rule's parts so far match the first n parts of the path.
    let mut reachable = vec![false; path.len() + 1];
    reachable[0] = true;
    for part in rule {
        let mut next = vec![false; path.len() + 1];
        for n in 0..=path.len() {
            if *part == "**" {
                next[n] = reachable[..=n].contains(&true);
            } else if n > 0 && reachable[n - 1] {
                next[n] = matches_name(part, path[n - 1]);
            }
        }
        reachable = next;
    }
    reachable[path.len()]
}

/// Compares a name with a pattern of `*`, `?`, `[…]` and `\\`, in time that is
/// proportional to the product of both lengths.
fn matches_name(pattern: &str, name: &str) -> bool {
    let name: Vec<_> = name.chars().collect();
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    let mut pattern = pattern.chars();
    while let Some(c) = pattern.next() {
        if c == '*' {
            let first = reachable.iter().position(|r| *r).unwrap_or(reachable.len());
            reachable[first..].fill(true);
            continue;
        }
        let class = match c {
            '?' => Class::Any,
            '[' => match Class::parse(&mut pattern) {
                Some(class) => class,
                None => return false,
            },
            '\\' => Class::Ranges(false, vec![single(pattern.next().unwrap_or('\\'))]),
            c => Class::Ranges(false, vec![single(c)]),
        };
        for n in (0..name.len()).rev() {
            reachable[n + 1] = reachable[n] && class.contains(name[n]);
        }
        reachable[0] = false;
    }
    reachable[name.len()]
}

/// Characters for which one place of a pattern stands.
enum Class {
    Any,
    /// Ranges, and whether the class is of all other characters.
    Ranges(bool, Vec<(char, char)>),
}

fn single(c: char) -> (char, char) {
    (c, c)
}

impl Class {
    /// Parses the rest of `[…]`; `None` if it is malformed, as docker then refuses.
    fn parse(pattern: &mut std::str::Chars) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut next = pattern.next()?;
        let negated = next == '^';
        if negated {
            next = pattern.next()?;
        }
        while next != ']' || ranges.is_empty() {
            let low = if next == '\\' { pattern.next()? } else { next };
            next = pattern.next()?;
            let mut high = low;
            if next == '-' {
                high = pattern.next()?;
                if high == '\\' {
                    high = pattern.next()?;
                }
                next = pattern.next()?;
            }
            ranges.push((low, high));
        }
        Some(Self::Ranges(negated, ranges))
    }

    fn contains(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Ranges(negated, ranges) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(rules: &str, path: &str) -> bool {
        Ignored::parse(rules).contains(Path::new(path))
    }

    #[test]
    fn rules_of_docker() {
        for (rules, path, expected) in [
            ("build", "build/a/b", true),
            ("/build/", "build/a", true),
            ("build", "src/build", false),
            ("**/build", "src/build/x", true),
            ("**/build", "build", true),
            ("*.log", "a.log", true),
            ("*.log", "logs/a.log", false),
            ("**/*.log", "logs/x/a.log", true),
            ("*/temp*", "a/temporary.txt", true),
            ("*/*/temp*", "a/temporary.txt", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*\n!README.md", "README.md", false),
            ("*\n!src", "src/main.rs", false),
            ("!src\n*", "src/main.rs", true),
            ("docs\n!docs/a\ndocs/a/b", "docs/a/b", true),
            ("# comment\n\n  spaces  ", "spaces", true),
            ("\u{feff}first", "first", true),
            ("a/../b", "b", true),
            ("**", "any/thing", true),
            ("*", "Dockerfile", false),
            ("*", "app.yaml", false),
            ("*", ".dockerignore", false),
            ("*", "sub/Dockerfile", true),
            ("[", "[", false),
            ("", "a", false),
        ] {
            assert_eq!(ignores(rules, path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let name = "a".repeat(200);
        assert!(!ignores(&format!("{}b", "a*".repeat(2000)), &name));
        let path = "a/".repeat(200);
        assert!(!ignores(&format!("{}b", "**/a/".repeat(500)), &path));
    }
}
