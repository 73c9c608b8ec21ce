//! Streams of a container that `run` attaches to.

/// Attached streams of a container, and their settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input, by `-i` or `-a stdin`.
    pub stdin: bool,
    /// Standard output, by default or by `-a stdout`.
    pub stdout: bool,
    /// Standard error, by default or by `-a stderr`.
    pub stderr: bool,
    /// Pseudo-terminal (`-t`), which carries all streams in one.
    pub tty: bool,
    /// Forwarding of signals to the container (`--sig-proxy`, on by default).
    pub signals: bool,
}

impl Streams {
    pub(crate) fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }

    /// Adds the stream that `-a` names; returns false if the name is unknown.
    pub(crate) fn add(&mut self, name: &str) -> bool {
        let stream = match name.to_ascii_lowercase().as_str() {
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            _ => return false,
        };
        *stream = true;
        true
    }
}
