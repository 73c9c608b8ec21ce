//! Arguments for the ledger, which everybody may read who may look: names of variables
//! without their values, and no passwords.
//!
//! A refused command line could not be parsed, so each argument is judged by its form.

/// Mark in the place of a value that is left out.
const OMITTED: &str = "…";
/// Options whose value is `NAME=VALUE`.
const WITH_VARIABLE: [&str; 5] = ["--env", "--build-arg", "--label", "-e", "-l"];
/// Options with a value in which `=` assigns no variable.
const PLAIN: [&str; 10] = [
    "--mount",
    "--log-opt",
    "--ulimit",
    "--sysctl",
    "--tmpfs",
    "--volume",
    "--device",
    "--filter",
    "--gpus",
    "--add-host",
];
/// Parts of the name of an option or variable whose value is a secret.
const SECRET: [&str; 8] = [
    "pass",
    "secret",
    "token",
    "key",
    "auth",
    "credential",
    "pwd",
    "bearer",
];
/// Size limit of one argument, and of all together, in bytes.
const MAX_ARGUMENT_BYTES: usize = 384;
const MAX_ALL_BYTES: usize = 1536;

/// Returns the arguments without values, and the number of those that did not fit.
pub(super) fn arguments(args: &[String]) -> (Vec<String>, u64) {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    let mut before = "";
    for (at, argument) in args.iter().enumerate() {
        let text = super::shortened(&argument_after(before, argument), MAX_ARGUMENT_BYTES);
        bytes += text.len();
        if bytes > MAX_ALL_BYTES {
            return (kept, (args.len() - at) as u64);
        }
        kept.push(text);
        before = argument;
    }
    (kept, 0)
}

fn argument_after(before: &str, argument: &str) -> String {
    if takes_variable(before) {
        return name_only(argument);
    }
    if before.starts_with('-') && !before.contains('=') && is_secret(before) && !is_flag(before) {
        return OMITTED.into();
    }
    if PLAIN.contains(&before) {
        return argument.into();
    }
    match argument.strip_prefix("--") {
        Some(option) => match option.split_once('=') {
            Some((name, value)) if WITH_VARIABLE.contains(&&*format!("--{name}")) => {
                format!("--{name}={}", name_only(value))
            }
            Some((name, _)) if PLAIN.contains(&&*format!("--{name}")) => argument.into(),
            Some((name, _)) if is_secret(name) => format!("--{name}={OMITTED}"),
            Some((name, value)) => format!("--{name}={}", text(value)),
            None => argument.into(),
        },
        None if is_short_variable(argument) => {
            let (name, _) = argument.split_once('=').unwrap_or((argument, ""));
            format!("{name}={OMITTED}")
        }
        None => text(argument),
    }
}

/// Returns whether the next argument is `NAME=VALUE`: `--env`, or a cluster that ends
/// with the letter, such as `-ite`.
fn takes_variable(option: &str) -> bool {
    let is_cluster = option.starts_with('-')
        && !option.starts_with("--")
        && option.chars().skip(1).all(|c| c.is_ascii_alphabetic());
    WITH_VARIABLE.contains(&option) || (is_cluster && option.ends_with(['e', 'l']))
}

/// Returns whether a cluster such as `-eNAME=VALUE` or `-itl=a=b` may hold a variable.
fn is_short_variable(argument: &str) -> bool {
    let head = argument.split_once('=').map(|(head, _)| head);
    head.is_some_and(|h| h.starts_with('-') && h.contains(['e', 'l']))
}

/// Options with a secret word in their name that take no value.
fn is_flag(option: &str) -> bool {
    option == "--password-stdin"
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

fn name_only(argument: &str) -> String {
    match argument.split_once('=') {
        Some((name, _)) => format!("{name}={OMITTED}"),
        None => argument.into(),
    }
}

/// Removes the values of assignments and the passwords of URLs from a text, for example
/// from the argument of `sh -c`. Everything else stays, so that an assignment cannot
/// hide the command behind it.
fn text(argument: &str) -> String {
    let mut kept = String::new();
    let mut rest = argument;
    while let Some(found) = rest.find(['=', '@']) {
        let (head, tail) = rest.split_at(found);
        let value = &tail[1..];
        if tail.starts_with('@') {
            kept += without_password(head).as_str();
            kept.push('@');
            rest = value;
            continue;
        }
        kept += head;
        kept.push('=');
        if !ends_with_name(head) {
            rest = value;
            continue;
        }
        kept += OMITTED;
        rest = &value[value_length(value)..];
    }
    kept + rest
}

fn ends_with_name(head: &str) -> bool {
    head.ends_with(|c: char| c.is_ascii_alphanumeric() || "_.-]+\"'".contains(c))
}

/// Returns the length of a value as a shell reads it: up to a space or separator outside
/// of quotes.
fn value_length(value: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in value.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ';' | '|' | '&' | ')' | ',') => return at,
            (None, c) if c.is_whitespace() => return at,
            _ => {}
        }
    }
    value.len()
}

/// Removes the password from `scheme://user:password`, the text before an `@`.
fn without_password(head: &str) -> String {
    match head.rfind("://") {
        Some(at) if !head[at + 3..].contains(['/', ' ']) => {
            format!("{}{OMITTED}", &head[..at + 3])
        }
        _ => head.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(line: &[&str]) -> String {
        let line: Vec<_> = line.iter().map(ToString::to_string).collect();
        arguments(&line).0.join(" ")
    }

    #[test]
    fn no_spelling_shows_a_value() {
        for line in [
            &["-e", "A=hunter2"][..],
            &["-eA=hunter2"],
            &["-e=A=hunter2"],
            &["-ite", "A=hunter2"],
            &["-iteA=hunter2"],
            &["--env", "A=hunter2"],
            &["--env=A=hunter2"],
            &["--env=A=b=hunter2"],
            &["--env", "A= hunter2 hunter2"],
            &["--build-arg", "A=hunter2"],
            &["--build-arg=A=hunter2"],
            &["-l", "a=hunter2"],
            &["--label=a=hunter2"],
            &["A=hunter2"],
            &["--password", "hunter2"],
            &["--password=hunter2"],
            &["--api-token", "hunter2"],
            &["sh", "-c", "A=hunter2 run"],
            &["sh", "-c", "export A='x hunter2' B=\"y \\\" hunter2\"; run"],
            &["sh", "-c", "A+=hunter2"],
            &["curl", "https://me:hunter2@host/x"],
            &["--health-cmd", "curl https://me:hunter2@host/x"],
            &["--health-cmd=A=hunter2 curl"],
            &["--unknown=A=hunter2"],
        ] {
            let shown = redacted(line);
            assert!(!shown.contains("hunter2"), "{line:?}: {shown}");
        }
    }

    #[test]
    fn what_is_no_value_stays() {
        for line in [
            &["-v", "/data/apps/a:/b", "--name", "foo", "repo:foo-v1"][..],
            &["-e", "NAME", "--password-stdin", "x"],
            &["sh", "-c", "rm -rf /x; reboot"],
            &["--memory=1g", "-m", "512m"],
            &[
                "--mount",
                "type=bind,source=/data/apps/a,target=/b",
                "--log-opt=tag=x",
            ],
        ] {
            assert_eq!(redacted(line), line.join(" "));
        }
        assert_eq!(
            redacted(&["sh", "-c", "A=b; rm -rf /x && B='c d' reboot"]),
            "sh -c A=…; rm -rf /x && B=… reboot"
        );
    }

    #[test]
    fn long_lines_are_counted() {
        let line: Vec<_> = (0..5000).map(|n| format!("argument-{n}")).collect();
        let (kept, omitted) = arguments(&line);
        assert!(kept.len() > 50 && omitted + kept.len() as u64 == 5000);
        assert!(arguments(&["x".repeat(100_000)]).0[0].len() <= MAX_ARGUMENT_BYTES + 4);
    }
}
