//! Help texts of a program and of its commands, as `--help` prints them.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Help texts of one program, from which its pages are generated.
pub(super) struct Help {
    pub(super) program: &'static str,
    pub(super) text: String,
    /// Names and help texts of those commands that have a help text of their own.
    pub(super) commands: Vec<(String, String)>,
}

impl Help {
    /// Runs `--help` of a program in the target directory and of each of its commands.
    pub(super) fn read(program: &'static str) -> Result<Self> {
        let text = help(program, &[])?;
        let mut commands = Vec::new();
        for command in commands_of(&text) {
            let own = help(program, &[command])?;
            // Programs with a single help text print it for every command, which would
            // repeat it.
            if own != text {
                commands.push((command.to_string(), own));
            }
        }
        Ok(Self {
            program,
            commands,
            text,
        })
    }
}

/// Returns the names in the section `Commands:` of a help text.
fn commands_of(help: &str) -> Vec<&str> {
    let behind = help.lines().skip_while(|l| *l != "Commands:").skip(1);
    let listed = behind.take_while(|l| !l.is_empty());
    let names = listed.filter_map(|l| l.strip_prefix("  ")?.split(' ').next());
    names
        .map(|n| n.trim_end_matches(','))
        .filter(|n| !n.is_empty() && *n != "help")
        .collect()
}

/// Runs `PROGRAM [COMMAND] --help` and returns its output. Without a terminal, the width
/// of the text is always the same.
fn help(program: &str, command: &[&str]) -> Result<String> {
    let path = shell::target()?.join("debug").join(program);
    let output = shell::command(&path)
        .args(command)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program} --help"))?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() || text.is_empty() {
        bail!("{program} {command:?} --help: {}", output.status);
    }
    if let Some(line) = text.lines().find(|l| l.chars().count() > 80) {
        bail!("{program} {command:?} --help: longer than 80 columns: {line}");
    }
    if !text.contains("Example") {
        bail!("{program} {command:?} --help: shows no example");
    }
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(text.join("\n").trim_end().to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_help_text() {
        let help = "X\n\nCommands:\n  run, create A  B\n                 more\n  help  C\n\nOptions:\n  -h\n";
        assert_eq!(commands_of(help), ["run"]);
    }
}
