//! Other programs, with a limit of time and of words, and with input that
//! stands on no command line.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use edge_common::{Root, log};

/// Most that is kept of what a program says on each way, in bytes.
const LARGEST: u64 = 256 * 1024;

/// What a program did.
pub struct Answer {
    /// How it ended; nothing if it took too long.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Did it end well?
    pub fn good(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// All that it said.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }

    /// The end of what it said, on one line: the errors, else the output.
    pub fn last(&self) -> String {
        let errors = self.err.trim();
        let text = if errors.is_empty() {
            self.out.trim()
        } else {
            errors
        };
        let skip = text.chars().count().saturating_sub(300);
        let text: String = text.chars().skip(skip).collect();
        match (text.is_empty(), self.status) {
            (false, _) => log::printable(&text),
            (true, Some(status)) => status.to_string(),
            (true, None) => "no answer in time".into(),
        }
    }
}

/// The program `name`, wherever the image has it.
pub fn program(root: &Root, name: &str) -> Command {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|p| PathBuf::from(p).join(name));
    let found = places.iter().find(|p| root.path(p).exists());
    root.command(found.unwrap_or(&places[0]))
}

/// Runs `command` for at most `limit`, with `input`. A program that takes longer
/// is killed; what it said until then is kept.
///
/// # Errors
/// It cannot be started.
pub fn ask(command: &mut Command, input: &str, limit: Duration) -> Result<Answer> {
    let end = Instant::now() + limit;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {name}"))?;
    let (tell, told) = mpsc::channel();
    let ways: [(usize, Option<Box<dyn Read + Send>>); 2] = [
        (0, child.stdout.take().map(|o| Box::new(o) as _)),
        (1, child.stderr.take().map(|e| Box::new(e) as _)),
    ];
    for (number, way) in ways {
        let (tell, way) = (tell.clone(), way.context("a way to hear it")?);
        thread::spawn(move || tell.send((number, hear(way))));
    }
    let stdin = child.stdin.take();
    let input = input.to_string();
    thread::spawn(move || {
        // One that does not read on has its reasons, and tells them.
        stdin.map(|mut way| way.write_all(input.as_bytes()))
    });
    let mut said = [String::new(), String::new()];
    for _ in 0..2 {
        let left = end.saturating_duration_since(Instant::now());
        let Ok((number, text)) = told.recv_timeout(left) else {
            break;
        };
        said[number] = text;
    }
    let status = wait(&mut child, end).map_err(|e| anyhow!("waiting for {name}: {e}"))?;
    let [out, err] = said;
    Ok(Answer { status, out, err })
}

/// Reads to the end, and keeps the beginning.
fn hear(mut way: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = way.by_ref().take(LARGEST).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut way, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status; kills at `end`.
fn wait(child: &mut Child, end: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        // Both ways are closed by now, so it ends at once, or it is too late.
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Root::system().command("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn input_output_and_status() {
        let answer = ask(
            &mut sh("cat; echo no >&2; exit 3"),
            "in",
            Duration::from_secs(9),
        );
        let answer = answer.unwrap();
        assert_eq!((answer.out.as_str(), answer.err.as_str()), ("in", "no\n"));
        assert!(!answer.good() && answer.last() == "no");
        assert!(
            ask(
                &mut Root::at("/nonexistent").command("/x"),
                "",
                Duration::ZERO
            )
            .is_err()
        );
    }

    #[test]
    fn time_and_words_are_limited() {
        let begun = Instant::now();
        let answer = ask(&mut sh("exec sleep 60"), "", Duration::from_millis(50)).unwrap();
        assert!(answer.status.is_none() && begun.elapsed() < Duration::from_secs(20));
        assert_eq!(answer.last(), "no answer in time");
        let flood = "head -c 5000000 /dev/zero | tr '\\0' x";
        let answer = ask(&mut sh(flood), "", Duration::from_secs(20)).unwrap();
        assert!(answer.good() && answer.out.len() as u64 == LARGEST);
    }
}
