//! Output formats: tables for people, JSON for programs, and short forms of dates and
//! digests for table cells.

use anyhow::Result;
use edge_common::log::printable;
use edge_common::time::rfc3339;
use serde::Serialize;

/// Length up to which a cell determines the width of its column.
const MAX_COLUMN_CHARS: usize = 48;

/// Prints a table with aligned columns to standard output. Cells contain text from
/// devices and registries: control characters are replaced, since escape sequences could
/// move the cursor and hide text.
pub(crate) fn print(head: &[&str], rows: &[Vec<String>]) {
    // A closed pipe is no failure of the command.
    let _ = write(&mut std::io::stdout().lock(), head, rows);
}

/// Writes a table as [`print`] does.
pub(crate) fn write(
    output: &mut impl std::io::Write,
    head: &[&str],
    rows: &[Vec<String>],
) -> Result<()> {
    let head: Vec<_> = head.iter().map(ToString::to_string).collect();
    let printable_rows = rows
        .iter()
        .map(|r| r.iter().map(|c| printable(c)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(printable_rows).collect();
    let columns = rows[0].len();
    // A cell that is a whole sentence moves the rest of its own row alone.
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.filter(|length| *length <= MAX_COLUMN_CHARS).max()
    };
    let widths: Vec<_> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(c, w)| format!("{c:w$}")).collect();
        writeln!(output, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints a value to standard output as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Formats Unix time in seconds as UTC date and time, for example `2026-11-24 22:05`.
pub(crate) fn date(seconds: u64) -> String {
    let text = rfc3339(seconds);
    // The last four characters, seconds and `Z`, are omitted to keep the column narrow.
    text[..text.len() - 4].replace('T', " ")
}

/// Shortens a digest to its first 12 hexadecimal digits, as docker does.
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
