//! Help pages of edge-docker, generated from the tables of commands and options.

use crate::cli::args::Known;
use crate::cli::commands::Command;
use crate::cli::entry::{Arguments, Carrier, Entry, Section};
use crate::cli::options::{self, Verdict};

/// Width of the help pages in characters, that of a standard terminal.
const WIDTH: usize = 80;
/// Column in which the help texts of commands begin.
const COLUMN: usize = 27;

const HEAD: &str = "\
Docker for what this device's policy permits: signed images of the team's
repository, and sandbox images where the image of the device allows them.

Usage: edge-docker COMMAND [OPTIONS] [ARGUMENTS]
       edge-docker help COMMAND
";

const SECTIONS: [(Section, &str); 4] = [
    (Section::Run, "Run and deploy"),
    (Section::Manage, "Containers that edge-docker created"),
    (
        Section::Inspect,
        "As docker's own, with short lists of options",
    ),
    (Section::Images, "Images"),
];

const RULES: &str = "
Rules of run:
  IMAGE     REPOSITORY:TAG or REPOSITORY@DIGEST of the one repository, signed;
            or sandbox/APP[:TAG] if the policy allows it
  -v SRC:DST[:ro]
            SRC is /data/apps/APP or below it, /data/sandbox/APP for a sandbox;
            APP is the app that the signature names
  --grant NAME
            Everything that this board gives for a grant that the signer states;
            --device, --gpus, --runtime, --cap-add, --sysctl and --network host
            request parts of it
  --allow-downgrade
            Accept a version whose release number is lower than one accepted
            here; it is logged, and holds for that version alone. pull too
  Refused   the rest, each with its reason: --privileged, --pid, ...
            edge-docker help run lists all options
";

const EXIT_CODES: &str = "
Exit codes: 0 done; 125 refused by the policy, or an error of the engine; 124
the signature cannot be verified now, because the registry does not answer; 123
the new version failed and was rolled back; 122 the new version failed, and the
rollback too, or there was nothing to return to; 3 fsck found a layer that is
not what was signed, or ledger verify a change; 2 wrong usage; 1 failed; 77 not
started by root: type sudo before it; 127 and 126 no such command in the image,
or none that can be run; else the container's own, as docker's.
";

const EXAMPLE: &str = "
Example: edge-docker run -d --name hello -p 8080:8080 \\
           -v /data/apps/hello:/data REPOSITORY:hello-v1
";

/// Returns the page that `edge-docker --help` prints.
pub fn page() -> String {
    let mut page = HEAD.to_string();
    for (section, title) in SECTIONS {
        page += &format!("\n{title}:\n");
        let entries = Command::ALL.iter().map(|command| command.entry());
        for entry in entries.filter(|entry| entry.section == section) {
            forms(&mut page, entry);
        }
    }
    page + RULES + EXIT_CODES + EXAMPLE
}

/// Returns the page that `edge-docker help COMMAND` prints.
pub fn command_page(command: Command) -> String {
    let entry = command.entry();
    let mut page = "Usage:\n".to_string();
    forms(&mut page, entry);
    match command {
        Command::Run | Command::Create | Command::Replace => run_options(&mut page),
        _ if entry.options.is_empty() => {}
        _ => {
            let spelled: Vec<_> = entry.options.iter().map(spelling).collect();
            page += "\nOptions:\n";
            paragraph(&mut page, "  ", &spelled.join(", "));
        }
    }
    page += match (entry.carrier, entry.arguments) {
        (Carrier::DockerClient, _) => {
            "\nCarried out by docker's client, which gets these options and no others.\n"
        }
        (Carrier::EdgeDocker, Arguments::Raw) => RULES,
        (Carrier::EdgeDocker, _) => "",
    };
    page + EXIT_CODES
}

fn forms(page: &mut String, entry: &Entry) {
    for (form, help) in entry.forms {
        let indent = " ".repeat(COLUMN);
        let head = format!("  {form}");
        if head.len() + 2 > COLUMN {
            *page += &format!("{head}\n");
            paragraph(page, &indent, help);
        } else {
            let mut text = String::new();
            paragraph(&mut text, &indent, help);
            *page += &format!("{head:<COLUMN$}{}", text.trim_start());
        }
    }
}

/// Appends the options of `run` to a page, grouped by verdict.
fn run_options(page: &mut String) {
    let by = |wanted: fn(Verdict) -> bool| {
        let all = options::all().filter(|(_, verdict)| wanted(*verdict));
        let spelled: Vec<_> = all.map(|(known, _)| spelling(known)).collect();
        spelled.join(", ")
    };
    *page += "\nOptions:\n";
    paragraph(page, "  ", &by(|verdict| verdict == Verdict::Allowed));
    *page += "\nWith a grant of the signer:\n";
    paragraph(page, "  ", &by(|verdict| verdict == Verdict::Granted));
    *page += "\nRefused:\n";
    let mut reasons: Vec<&str> = Vec::new();
    for (_, verdict) in options::all() {
        if let Verdict::Refused(reason) = verdict {
            if !reasons.contains(reason) {
                reasons.push(reason);
            }
        }
    }
    for reason in reasons {
        let refused = options::all().filter(|(_, verdict)| *verdict == Verdict::Refused(reason));
        let names: Vec<_> = refused
            .map(|(known, _)| format!("--{}", known.long))
            .collect();
        paragraph(page, "  ", &format!("{}: {reason}", names.join(", ")));
    }
}

/// Returns an option as help pages list it, for example `-v|--volume=VALUE`.
fn spelling(known: &Known) -> String {
    let short = match known.short {
        ' ' => String::new(),
        letter => format!("-{letter}|"),
    };
    let value = if known.value { "=VALUE" } else { "" };
    format!("{short}--{}{value}", known.long)
}

/// Appends `text` to a page, wrapped at [`WIDTH`] characters, with `indent` before each
/// line.
pub(crate) fn paragraph(page: &mut String, indent: &str, text: &str) {
    let mut line = indent.to_string();
    for word in text.split_whitespace() {
        let blank = line.len() == indent.len();
        if !blank && line.chars().count() + 1 + word.chars().count() > WIDTH {
            *page += &format!("{line}\n");
            line = indent.into();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line += word;
    }
    *page += &format!("{line}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_a_terminal_and_name_every_command() {
        let whole = page();
        let pages = Command::ALL.iter().map(|command| command_page(*command));
        for page in pages.chain([whole.clone()]) {
            let wide = page.lines().find(|line| line.chars().count() > WIDTH);
            assert_eq!(wide, None, "{page}");
            assert!(page.contains("Exit codes"));
        }
        for command in Command::ALL {
            let entry = command.entry();
            let shown = whole.contains(&format!("\n  {}", entry.name));
            assert_eq!(shown, entry.section != Section::Hidden, "{}", entry.name);
        }
    }
}
