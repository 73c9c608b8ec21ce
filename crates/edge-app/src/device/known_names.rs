//! Names of devices in `edge-app.yaml`, for a name that is not among them and that ssh
//! cannot connect to: it may be mistyped.

use std::collections::BTreeMap;

/// Number of names in a message.
const MAX_NAMES: usize = 8;
/// Number of changed letters up to which a name is suggested.
const MAX_DISTANCE: usize = 2;

/// Returns the known names, and the one that is meant, for a message about `name`; `None`
/// for a known name.
pub(super) fn hint<T>(name: &str, known: &BTreeMap<String, T>) -> Option<String> {
    if known.contains_key(name) {
        return None;
    }
    let nearest = known.keys().min_by_key(|other| distance(name, other));
    let nearest = nearest.filter(|other| distance(name, other) <= MAX_DISTANCE);
    let mut names: Vec<_> = known.keys().take(MAX_NAMES).map(String::as_str).collect();
    if known.len() > MAX_NAMES {
        names.push("…");
    }
    Some(match (nearest, &names[..]) {
        (_, []) => "edge-app.yaml names no device".into(),
        (Some(nearest), _) => format!("edge-app.yaml has no {name}: did you mean {nearest}?"),
        (None, names) => format!("edge-app.yaml has no {name}, but {}", names.join(", ")),
    })
}

/// Returns the number of letters to insert, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_get_a_suggestion() {
        let known: BTreeMap<_, _> = ["jetson-1", "jetson-2", "barn"]
            .map(|n| (n.into(), ()))
            .into();
        let hint = |name| hint(name, &known);
        assert_eq!(hint("barn"), None);
        assert!(hint("bran").unwrap().ends_with("did you mean barn?"));
        assert!(hint("jetsn-2").unwrap().ends_with("did you mean jetson-2?"));
        let all = hint("kitchen").unwrap();
        assert!(all.ends_with("but barn, jetson-1, jetson-2"), "{all}");
        let many = (0..99).map(|n| (format!("d{n}"), ())).collect();
        assert!(super::hint("kitchen", &many).unwrap().len() < 99);
        assert!(super::hint("x", &BTreeMap::<_, ()>::new()).is_some());
    }
}
