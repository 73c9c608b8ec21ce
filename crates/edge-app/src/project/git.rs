//! Calls of the user's git, which names versions and commits.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use edge_common::Root;
use edge_common::log::printable;
use tokio::process::Command;
use tokio::time::timeout;

/// Time limit of a git command: the state of a large working copy on a slow disk takes
/// seconds.
const GIT_LIMIT: Duration = Duration::from_secs(60);
/// Length limit of git's message in an error, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

/// Result of a git command.
pub(super) enum Git {
    /// Standard output of a command that succeeded.
    Output(String),
    /// Message of git about a command that failed, for example that the directory belongs
    /// to another user.
    Failed(String),
    /// Git is not installed.
    Absent,
}

impl Git {
    /// Returns the standard output; `None` if there is none because the command failed.
    pub(super) fn output(self) -> Option<String> {
        match self {
            Self::Output(text) => Some(text),
            Self::Failed(_) | Self::Absent => None,
        }
    }
}

/// Runs `git ARGUMENTS` in a directory.
pub(super) async fn run(directory: &Path, arguments: &[&str]) -> Git {
    let Ok(git) = which::which("git") else {
        return Git::Absent;
    };
    let mut command = Command::from(Root::system().command(git));
    command.arg("-C").arg(directory).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(GIT_LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Git::Failed(error.to_string()),
        Err(_) => return Git::Failed(format!("no answer within {} s", GIT_LIMIT.as_secs())),
    };
    if output.status.success() {
        return Git::Output(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    Git::Failed(message(&String::from_utf8_lossy(&output.stderr)))
}

/// Returns git's message in one line. About a directory of another owner it contains the
/// command that permits it, so the whole message is kept.
fn message(output: &str) -> String {
    let lines = output.lines().map(str::trim).filter(|l| !l.is_empty());
    let text = printable(&lines.collect::<Vec<_>>().join(" "));
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_bounded_line() {
        let text = "fatal: detected dubious ownership\n\tgit config --global x\n\n\x1b[1m";
        assert_eq!(
            message(text),
            "fatal: detected dubious ownership git config --global x  [1m"
        );
        assert_eq!(message(&"é".repeat(1000)).chars().count(), 401);
    }
}
