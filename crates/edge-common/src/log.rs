//! Words for people: standard error, one line a fact. Under systemd each line
//! carries its priority (`<N>`, sd-daemon(3)) and no time, which the journal has.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

static NAME: OnceLock<&'static str> = OnceLock::new();

/// Sets the name that lines begin with outside systemd. The first call counts.
pub fn start(name: &'static str) {
    NAME.get_or_init(|| name);
}

/// Something failed (priority 3).
pub fn error(message: impl Display) {
    line(3, &message);
}

/// Something is wrong but work goes on (priority 4).
pub fn warn(message: impl Display) {
    line(4, &message);
}

/// Something was done (priority 6).
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
    // In one write, so that lines of two processes do not mix. Whoever listened
    // may be gone: that ends no work.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// `text` on one line and without control characters: names and answers from
/// elsewhere must not move a cursor or forge a journal line.
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim_end().chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(printable("a\n<0>b\x1b[2J\n"), "a <0>b [2J");
    }
}
