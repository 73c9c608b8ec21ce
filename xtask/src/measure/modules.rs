//! Imports between the modules of a crate, and import cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Path of a module inside its crate, for example `["image", "cache"]`; empty for the
/// root.
pub(super) type Module = Vec<String>;

/// Map from each module to the modules that it imports.
pub(super) type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Returns the module path of a source file, whose path is relative to `src`.
pub(super) fn module(file: &Path) -> Module {
    let parts = file.with_extension("");
    let mut parts: Vec<_> = parts
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|p| ["mod", "lib", "main"].contains(&p.as_str()))
    {
        parts.pop();
    }
    parts
}

/// Returns the modules that the code of `me` imports, by `use` or by a path in an
/// expression. The crate's root is ignored, since every root declares and calls its
/// modules.
pub(super) fn imports(me: &Module, code: &str, all: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    if me.is_empty() {
        return found;
    }
    for path in paths(me, code) {
        let is_module = |length: &usize| all.contains(&path[..*length]);
        let length = (1..=path.len()).rev().find(is_module);
        found.extend(length.map(|l| path[..l].to_vec()).filter(|m| m != me));
    }
    found
}

/// Returns the absolute paths that begin with `crate::` or `super::` in the code.
fn paths(me: &Module, code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for keyword in ["crate", "super"] {
        for (at, _) in code.match_indices(&format!("{keyword}::")) {
            // In `$crate::` and `super::super::`, the keyword belongs to the text before
            // it.
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
                continue;
            }
            let mut base = if keyword == "crate" {
                Module::new()
            } else {
                me.clone()
            };
            let mut rest = &code[at..];
            while let Some(behind) = rest.strip_prefix("super::") {
                base.pop();
                rest = behind;
            }
            tree(rest.trim_start_matches("crate::"), &base, &mut paths);
        }
    }
    paths
}

/// Parses a tree of imports such as `a::b::{c, d::e}` into `paths` and returns the code
/// after it.
fn tree<'a>(mut rest: &'a str, base: &Module, paths: &mut Vec<Module>) -> &'a str {
    let mut path = base.clone();
    loop {
        rest = rest.trim_start();
        if let Some(mut inside) = rest.strip_prefix('{') {
            while !inside.starts_with('}') && !inside.is_empty() {
                let behind = tree(inside, &path, paths).trim_start();
                let behind = behind.strip_prefix(',').unwrap_or(behind).trim_start();
                // Without progress, the next character cannot be part of an import list,
                // so the list ends.
                inside = if behind.len() == inside.len() {
                    ""
                } else {
                    behind
                };
            }
            return inside.strip_prefix('}').unwrap_or(inside);
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if !name.is_empty() && name != "self" {
            path.push(name.to_string());
        }
        let Some(behind) = behind.strip_prefix("::") else {
            paths.push(path);
            return behind.strip_prefix('*').unwrap_or(behind);
        };
        rest = behind;
    }
}

/// Returns the groups of modules that import each other, directly or through others.
pub(super) fn cycles(imports: &Imports) -> Vec<Vec<Module>> {
    let reach: BTreeMap<_, _> = imports.keys().map(|m| (m, reached(m, imports))).collect();
    let mut cycles = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, targets) in &reach {
        if !targets.contains(module) || !seen.insert(*module) {
            continue;
        }
        let back = |other: &&&Module| reach.get(*other).is_some_and(|r| r.contains(module));
        let cycle: Vec<Module> = targets.iter().filter(back).map(|m| (*m).clone()).collect();
        seen.extend(imports.keys().filter(|m| cycle.contains(m)));
        cycles.push(cycle);
    }
    cycles
}

fn reached<'a>(from: &Module, imports: &'a Imports) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = imports.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if reached.insert(module) {
            open.extend(imports.get(module).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split("::").map(String::from).collect()
    }

    #[test]
    fn finds_imports_in_use_trees_and_expressions() {
        let all = ["a", "a::b", "a::c", "d", "e"].map(module).into();
        let code = "use crate::{a::{b, Kind}, d};\nuse super::c::{self, X};\nfn f() { crate::e::run::<u8>(super::super::d::Y) }";
        let found = imports(&module("a::b"), code, &all);
        assert_eq!(found, ["a", "a::c", "d", "e"].map(module).into());
        assert!(imports(&module("e"), "$crate::d::x; std::crate::d", &all).is_empty());
    }

    #[test]
    fn finds_cycles_of_any_length() {
        let graph = |edges: &[(&str, &str)]| {
            let mut imports = Imports::new();
            for (from, to) in edges {
                imports.entry(module(from)).or_default().insert(module(to));
            }
            imports
        };
        assert!(cycles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
        let two = cycles(&graph(&[
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("d", "e"),
            ("e", "d"),
            ("x", "a"),
        ]));
        assert_eq!(two.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    }
}
