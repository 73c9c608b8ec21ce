//! Tables, JSON and dates for people and programs.

use anyhow::Result;
use edge_common::log::printable;
use edge_common::time::rfc3339;
use serde::Serialize;

/// Prints a table with its columns aligned; the last one is not padded. What
/// comes from elsewhere moves no cursor.
pub(crate) fn print(head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<_> = head.iter().map(ToString::to_string).collect();
    let clean = rows
        .iter()
        .map(|r| r.iter().map(|c| printable(c)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(clean).collect();
    let columns = rows[0].len();
    let width = |at: usize| rows.iter().map(|r| r[at].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(c, w)| format!("{c:w$}")).collect();
        println!("{}", line.join("  ").trim_end());
    }
}

/// Prints JSON for programs.
///
/// # Errors
/// None in practice.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Seconds of Unix time as `2026-11-24 22:05` in UTC.
pub(crate) fn date(seconds: u64) -> String {
    let text = rfc3339(seconds);
    // Without `:SSZ`, which no reader of a table needs.
    text[..text.len() - 4].replace('T', " ")
}

/// The beginning of a digest or a key's name, enough to tell it from others.
pub(crate) fn short(digest: &str) -> String {
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59");
        assert_eq!(date(1_795_558_000), "2026-11-24 22:06");
    }
}
