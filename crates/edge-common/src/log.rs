//! Messages for people on standard error, one line a fact. Under systemd each line
//! carries its priority (`<N>`, sd-daemon(3)) and no time, which the journal adds.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

static NAME: OnceLock<&'static str> = OnceLock::new();

/// Sets the program name that lines begin with outside systemd. Later calls change
/// nothing.
pub fn start(name: &'static str) {
    NAME.get_or_init(|| name);
}

/// Logs a failure (priority 3).
pub fn error(message: impl Display) {
    line(3, &message);
}

/// Logs a problem that does not end the work (priority 4).
pub fn warn(message: impl Display) {
    line(4, &message);
}

/// Logs something that was done (priority 6).
pub fn info(message: impl Display) {
    line(6, &message);
}

fn line(priority: u8, message: &dyn Display) {
    let text = printable(&message.to_string());
    let line = if std::env::var_os("JOURNAL_STREAM").is_some() {
        format!("<{priority}>{text}\n")
    } else {
        let name = NAME.get().unwrap_or(&"edge");
        format!("{name}: {text}\n")
    };
    // In one write, so that lines of two processes do not mix. A closed standard
    // error must not end the work.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns `text` on one line and without control characters: text from files, users
/// and servers must not move the cursor of a terminal or forge a line of the journal.
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim_end().chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("a\n<0>b\x1b[2J\n"), "a <0>b [2J");
    }
}
