//! Level of each command line: `look`, `operate` or `debug`.
//!
//! Most commands have one level, which stands in the table of commands. Some have a form
//! that starts only what was signed and another one of the caller's choice.

use anyhow::Result;
use edge_common::level::{Level, RunMode};

use crate::cli::args::{self, Known, Order, flag, value};
use crate::cli::commands::Command;
use crate::cli::{copy, help};
use crate::refusal::refuse;

/// Options of `run APP-VERSION` and `replace APP-VERSION`, which change neither the
/// container nor its identity.
const FORM: [Known; 6] = [
    flag('d', "detach"),
    flag('q', "quiet"),
    flag(' ', "allow-downgrade"),
    value(' ', "timeout"),
    flag(' ', "force"),
    value(' ', "set"),
];

/// Command line that starts an app by its signed run specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedForm<'a> {
    /// `APP-VERSION[@DIGEST]`, or a reference of the repository.
    pub image: &'a str,
    /// Permission for a lower release number (`--allow-downgrade`).
    pub allow_downgrade: bool,
    /// Start in the background; the default.
    pub detach: bool,
    /// Value of `--timeout`, if it is given.
    pub timeout: Option<&'a str>,
    /// Deployment although the same version runs (`replace --force`).
    pub force: bool,
    /// Value of `--set`: the release set that names the version (`replace`).
    pub set: Option<&'a str>,
}

/// Returns the signed form of `args`, the arguments of `run` or `replace`; `None` if they
/// have options of a container, a command, or a sandbox image.
///
/// With `RunMode::Any`, a reference with a repository keeps its earlier meaning, a
/// container of that image without options.
pub fn signed_form<'a>(args: &[&'a str], mode: RunMode) -> Option<SignedForm<'a>> {
    let parsed = args::parse(&FORM, args, Order::Mixed, str::to_string).ok()?;
    let [image] = parsed.arguments[..] else {
        return None;
    };
    // `APP-VERSION` is a tag. A name with a slash or a colon is a reference.
    let (name, digest) = image.split_once('@').unwrap_or((image, "sha256:"));
    let is_tag = name.contains('-') && !name.contains(['/', ':']) && digest.starts_with("sha256:");
    if image.is_empty()
        || image.starts_with('-')
        || !is_tag && (mode == RunMode::Any || image.starts_with("sandbox/"))
    {
        return None;
    }
    Some(SignedForm {
        image,
        allow_downgrade: parsed.is_set("allow-downgrade"),
        detach: parsed.last("detach") != Some("false"),
        timeout: parsed.last("timeout"),
        force: parsed.is_set("force"),
        set: parsed.last("set"),
    })
}

/// Returns the level that the caller of a command line needs. For `exec`, the caller must
/// also compare the command with the signed ones.
pub fn required(command: Command, args: &[&str], mode: RunMode) -> Level {
    let is_signed = || signed_form(args, mode).is_some();
    let lowers = || args.iter().any(|a| a.starts_with("--allow-downgrade"));
    match (command, args.first()) {
        (Command::Replace, Some(&"--status")) | (Command::Network, Some(&"show")) => Level::Look,
        (Command::Set, Some(&("show" | "status"))) => Level::Look,
        (Command::Set, Some(&"repair")) => Level::Debug,
        (Command::Replace, Some(&"--recover")) => Level::Operate,
        // The part of a deployment that runs in a process of its own, and its preparation.
        (Command::Replace, Some(&("--apart" | "--check"))) => required(command, &args[1..], mode),
        // What is copied into an app is code for whatever loads it from there.
        (Command::Copy, _) if copy::is_into(args) => Level::Debug,
        (Command::Run | Command::Replace | Command::Pull, _) if lowers() => Level::Debug,
        (Command::Run | Command::Replace, _) if is_signed() => Level::Operate,
        (Command::Run | Command::Replace, _) => Level::Debug,
        _ => command.entry().level,
    }
}

/// Refuses a command line whose level is above `level`.
///
/// # Errors
/// The text names the level that is needed and what may be done instead.
pub fn require(command: Command, args: &[&str], level: Level, mode: RunMode) -> Result<()> {
    let needed = required(command, args, mode);
    if needed <= level || args.first() == Some(&"--help") {
        return Ok(());
    }
    let instead = match command {
        Command::Run | Command::Replace if level >= Level::Operate => {
            "; give APP-VERSION alone, which runs as it was signed"
        }
        _ => "",
    };
    Err(refuse(format_args!(
        "{} is refused: it needs the level `{}`, and this device permits `{}`{instead}; see \
         edge-docker help levels",
        command.entry().name,
        needed.name(),
        level.name(),
    )))
}

/// Returns the page that `edge-docker help levels` prints: the commands of each level.
pub fn page() -> String {
    let mut page = HEAD.to_string();
    for (level, costs) in COSTS {
        page += &format!("\n{}\n", level.name());
        help::paragraph(&mut page, "  ", costs);
        let commands = Command::ALL.iter().map(|command| command.entry());
        let of_level = commands.filter(|e| !e.is_hidden() && e.level == level);
        let mut names: Vec<_> = of_level.map(|e| e.name.to_string()).collect();
        names.extend(
            FORMS
                .iter()
                .filter(|(l, _)| *l == level)
                .map(|(_, form)| (*form).into()),
        );
        help::paragraph(&mut page, "  ", &names.join(", "));
    }
    page + TAIL
}

const HEAD: &str = "\
Levels of commands, by the key \"engineer\" of policy.json. Each level includes
those before it. They bind whoever comes through sudo and every unit of
/data/services.
";

const COSTS: [(Level, &str); 3] = [
    (
        Level::Look,
        "Changes nothing on the device. Logs and variables of apps can be read.",
    ),
    (
        Level::Operate,
        "Runs, stops and removes what was signed, exactly as it was signed. An app can be \
         taken out of service, and a version that the device accepts can come back.",
    ),
    (
        Level::Debug,
        "Runs programs and options of the caller's choice in the container of an app that holds \
         no grants, and builds images of its own where sandboxes are permitted: an app's data \
         can be read and changed.",
    ),
];

/// Forms of commands with another level than the table's.
const FORMS: [(Level, &str); 11] = [
    (Level::Look, "replace --status"),
    (Level::Look, "network show"),
    (Level::Look, "set show, set status"),
    (Level::Operate, "run APP-VERSION"),
    (Level::Operate, "replace APP-VERSION"),
    (Level::Operate, "replace --recover"),
    (Level::Operate, "exec NAME COMMAND of the app's `commands`"),
    (Level::Debug, "set repair"),
    (Level::Debug, "exec of any program"),
    (Level::Debug, "cp FILE APP:PATH"),
    (Level::Debug, "--allow-downgrade of run, replace and pull"),
];

const TAIL: &str = "
With \"run\": \"signed\" in policy.json, run and replace take APP-VERSION alone at
every level. A container that holds grants takes only what was signed at every
level.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_forms() {
        let form =
            |args: &[&str], mode| signed_form(args, mode).map(|f| (f.image.to_string(), f.detach));
        let hello = Some(("hello-v1".to_string(), true));
        for mode in [RunMode::Any, RunMode::Signed] {
            assert_eq!(form(&["hello-v1"], mode), hello);
            assert_eq!(form(&["-d", "hello-v1"], mode), hello);
            assert_eq!(form(&["hello-v1", "--timeout", "30"], mode), hello);
            let with_digest = form(&["hello-v1@sha256:00"], mode);
            assert_eq!(with_digest, Some(("hello-v1@sha256:00".into(), true)));
            assert_eq!(form(&["hello-v1@latest"], RunMode::Any), None);
            assert_eq!(
                form(&["--detach=false", "hello-v1"], mode),
                Some(("hello-v1".into(), false))
            );
            for other in [
                &["--rm", "hello-v1"][..],
                &["hello-v1", "sh"],
                &["-it", "hello-v1"],
                &["--name=x", "hello-v1"],
                &["sandbox/hello"],
                &[""],
                &[],
                &["-e", "A=b", "hello-v1"],
                &["--", "--rm"],
            ] {
                assert_eq!(form(other, mode), None, "{other:?}");
            }
        }
        assert_eq!(form(&["r.io/x:hello-v1"], RunMode::Any), None);
        assert_eq!(form(&["hello"], RunMode::Any), None);
        assert!(form(&["r.io/x:hello-v1"], RunMode::Signed).is_some());
    }

    /// Command lines of each level, separated by `;`.
    const LINES: [(Level, &str); 3] = [
        (
            Level::Look,
            "ps;images;logs a;stats;top a;inspect a;version;info;port a;history a;diff a;\
             explain a;fsck;replace --status;container ls;system df;help;set show x;set status",
        ),
        (
            Level::Operate,
            "pull r:a;run a-v1;run -d a-v1;replace a-v1;start a;stop a;restart a;kill a;\
             pause a;rollback a;rm -f a;rmi a;system prune;login;exec a b;\
             replace --apart a-v1;replace --check a-v1;replace --recover;\
             replace --set x a-v1;pull --set x a-v1;set take r@x;set commit x;cp a:/d -;cp -q a:/d x;container cp a:/d x",
        ),
        (
            Level::Debug,
            "run -d r:a;run r:a;run a-v1 sh;create a-v1;replace a r:a-v1;\
             replace --apart a r:a-v1;replace --check a r:a-v1;\
             pull --allow-downgrade r:a;run --allow-downgrade a-v1;sync a;build -t x -;load;tag a b;push a;set repair;replace --set x a r:a-v1;\
             cp - a:/d;cp x a:/d;cp -q x a:/d",
        ),
    ];

    #[test]
    fn levels_of_command_lines() {
        for (level, lines) in LINES {
            for line in lines.split(';') {
                let args: Vec<_> = line.split(' ').collect();
                let (command, rest) = Command::find(&args).unwrap();
                assert_eq!(required(command, rest, RunMode::Any), level, "{line}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_level() {
        let refused = require(Command::Build, &[], Level::Operate, RunMode::Signed);
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("`debug`") && text.contains("`operate`"),
            "{text}"
        );
        assert!(require(Command::Ps, &[], Level::Look, RunMode::Signed).is_ok());
        assert!(page().lines().all(|line| line.len() <= 80));
    }
}
