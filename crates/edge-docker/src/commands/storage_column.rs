//! Column of `ps` with what each app stores and its limit, on devices that limit storage.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::path;
use edge_signature::valid_app;

use crate::image::unused::megabytes;
use crate::storage::Usage;

/// Columns of docker's `ps`, in its words, without the size.
const COLUMNS: [&str; 7] = [
    "CONTAINER ID",
    "IMAGE",
    "COMMAND",
    "CREATED",
    "STATUS",
    "PORTS",
    "NAMES",
];
/// Spaces between two columns.
const GAP: usize = 3;

/// Table of containers, one line of docker's output each.
pub(super) struct Table {
    is_sized: bool,
}

impl Table {
    /// Returns the table, with `is_sized` the one with docker's column of sizes.
    pub(super) fn new(is_sized: bool) -> Self {
        Self { is_sized }
    }

    /// Returns the table of docker's `output`. Its last two fields are the labels of the app
    /// and of the sandbox.
    pub(super) fn of(&self, output: &str, storage: impl Fn(&str) -> String) -> String {
        let mut head: Vec<String> = COLUMNS.map(String::from).into();
        head.extend(self.is_sized.then(|| "SIZE".into()));
        head.push("STORAGE".into());
        let mut rows = vec![head];
        for line in output.lines() {
            let mut fields: Vec<String> = line.split('\t').map(String::from).collect();
            let (Some(sandbox), Some(app)) = (fields.pop(), fields.pop()) else {
                continue;
            };
            fields.push(directory(&app, &sandbox).map_or("-".into(), |d| storage(&d)));
            // A name with a tab would move the columns; docker permits none.
            if fields.len() == rows[0].len() {
                rows.push(fields);
            }
        }
        render(&rows)
    }
}

/// Returns the directory of the app that the labels name.
fn directory(app: &str, sandbox: &str) -> Option<String> {
    let (parent, name) = match sandbox.is_empty() {
        true => (path::APPS, app),
        false => (path::SANDBOX, sandbox),
    };
    valid_app(name).then(|| format!("{parent}/{name}"))
}

fn render(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + GAP
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns use and limit of the app that has `directory`; `-` if that is not known.
pub(super) fn describe(usage: &Usage, directory: &str) -> String {
    match usage.of(directory) {
        None => "-".into(),
        Some(quota) if quota.limits.bytes == 0 => megabytes(quota.used_bytes),
        Some(quota) => format!(
            "{} / {}",
            megabytes(quota.used_bytes),
            megabytes(quota.limits.bytes)
        ),
    }
}

/// Reads use and limits; `None` on a device that limits no storage.
pub(super) fn usage(root: &Root) -> Result<Option<Usage>> {
    Usage::read(root).context("reading the storage of apps")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "0123456789ab\thello v1\t\"sleep 1\"\t2 hours ago\tUp 2 hours\t\t\
        hello\thello\t\n\
        fedcba987654\tsandbox/lamp\t\"sh\"\tnow\tUp 1 second\t80/tcp\tlamp\t\tlamp\n\
        000000000000\told\t\"sh\"\tnow\tExited\t\tx\t../x\t\n\
        odd line\n";

    #[test]
    fn each_container_has_the_storage_of_its_app() {
        let table = Table::new(false).of(OUTPUT, |directory| format!("<{directory}>"));
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[0].starts_with("CONTAINER ID   IMAGE ") && lines[0].ends_with("   STORAGE"));
        assert!(
            lines[1].ends_with("   hello   </data/apps/hello>"),
            "{table}"
        );
        assert!(lines[2].ends_with("   </data/sandbox/lamp>"), "{table}");
        assert!(lines[3].ends_with("   x       -"), "{table}");
        let at = lines[0].find("STORAGE").unwrap();
        assert!(
            lines[1..]
                .iter()
                .all(|line| line.as_bytes()[at - 1] == b' ')
        );
        assert_eq!(
            Table::new(false).of("", |_| String::new()).lines().count(),
            1
        );
    }

    #[test]
    fn sizes_stay_in_their_column() {
        let line = "a\tb\tc\td\te\tf\tg\t1MB (virtual 2MB)\thello\t\n";
        let table = Table::new(true).of(line, |_| "1.0 MB / 2.0 MB".into());
        assert!(
            table.lines().next().unwrap().contains("NAMES   SIZE "),
            "{table}"
        );
        assert!(
            table.ends_with("1MB (virtual 2MB)   1.0 MB / 2.0 MB\n"),
            "{table}"
        );
    }
}
