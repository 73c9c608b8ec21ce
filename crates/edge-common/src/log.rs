//! Log messages on standard error, one line for each. Under systemd a line begins with
//! its priority (`<N>`, sd-daemon(3)), and the journal adds time and program name.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

static NAME: OnceLock<&'static str> = OnceLock::new();

/// Sets the program name with which log lines begin outside systemd. Only the first
/// call has an effect.
pub fn start(name: &'static str) {
    NAME.get_or_init(|| name);
}

/// Logs a failure with priority 3 (error).
pub fn error(message: impl Display) {
    line(3, &message);
}

/// Logs a problem despite which the program continues, with priority 4 (warning).
pub fn warn(message: impl Display) {
    line(4, &message);
}

/// Logs normal progress, such as a completed action, with priority 6 (informational).
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
    // One write for the whole line, so that the lines of two processes do not mix. An
    // error, for example of a closed standard error, must not end the program.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns `text` with control characters replaced by spaces: text from files, users
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
