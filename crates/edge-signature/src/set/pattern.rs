//! Patterns of thing names.

/// Returns whether `name` fits `pattern`, in which `*` stands for any characters, also none.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Positions after the last `*` and of the character up to which it reaches. Only the last
    // one is ever lengthened, which keeps hostile patterns from exponential time.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, n));
            }
            Some(c) if *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, reached)) => {
                    p = after;
                    n = reached + 1;
                    star = Some((after, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("edge-ai-*", "edge-ai-1"),
            ("edge-ai-*", "edge-ai-"),
            ("*", "edge-ai-1"),
            ("edge-ai-1", "edge-ai-1"),
            ("*-barn-*", "edge-ai-barn-2"),
            ("a*b*c", "abbcbc"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("edge-ai-*", "edge-a"),
            ("edge-ai-1", "edge-ai-10"),
            ("edge-ai-1", "xedge-ai-1"),
            ("a*b", "abc"),
            ("", "x"),
            ("A", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(64), &"b".repeat(128)));
    }
}
