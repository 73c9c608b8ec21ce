//! Units that are written again: without the keys that are left out, and with options of
//! `edge-docker run` and `create` in the place of `Environment=` and `EnvironmentFile=`.

use edge_common::contract::path::SERVICES;

use crate::environment::{Environment, is_name};
use crate::keys;
use crate::lines::{self, Line};
use crate::words::{self, Word};

/// Size limit of a rewritten command line, in bytes: each use of a variable can repeat a
/// long value.
const MAX_LINE_BYTES: usize = 128 * 1024;
/// Flags of `docker run`, after which no value follows.
const FLAGS: [&str; 12] = [
    "--detach",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--rm",
    "--sig-proxy",
    "--tty",
];

/// Returns the text of a file of a unit with the variables in its command lines. The text
/// has been checked before.
pub(crate) fn file(name: &str, text: &str, environment: &Environment) -> Result<String, String> {
    let mut written =
        format!("# Written by edge-generator from {SERVICES}/{name}, the file to change.\n");
    let mut failed = None;
    lines::for_each(text, |number, line| match line {
        Line::Section(section) => written.push_str(&format!("[{section}]\n")),
        Line::Assignment("Environment" | "EnvironmentFile", _) => {}
        Line::Assignment(key, _) if keys::left_out(key).is_some() => {}
        Line::Assignment(key, value) if key.starts_with("Exec") => {
            match command(value, environment) {
                Ok(value) => written.push_str(&format!("{key}={value}\n")),
                Err(reason) => {
                    failed.get_or_insert(format!("{name}: line {number}: {key}=: {reason}"));
                }
            }
        }
        Line::Assignment(key, value) => written.push_str(&format!("{key}={value}\n")),
        Line::Fault(reason) => {
            failed.get_or_insert(format!("{name}: line {number}: {reason}"));
        }
    });
    failed.map_or(Ok(written), Err)
}

/// Returns whether a command line creates a container, which variables can reach.
pub(crate) fn creates(value: &str) -> bool {
    position(&words::split(value).unwrap_or_default()).is_some()
}

/// Returns the place after `run` or `create`.
fn position(words: &[Word<'_>]) -> Option<usize> {
    let at = 1 + usize::from(words.get(1).is_some_and(|w| w.raw == "container"));
    let verb = words.get(at)?.raw;
    matches!(verb, "run" | "create").then_some(at + 1)
}

/// Returns the command line with the variables in it.
fn command(value: &str, environment: &Environment) -> Result<String, String> {
    let words = words::split(value)?;
    let Some(program) = words.first() else {
        return Ok(String::new());
    };
    // With the prefix `:` systemd expands no variables.
    let expands = !program.raw.trim_start_matches('-').starts_with(':');
    let options = position(&words);
    let image = options.map(|start| image(&words, start));
    let mut line = program.raw.to_string();
    let mut at = 1;
    while at < words.len() {
        if options == Some(at) {
            add_options(&mut line, environment, expands)?;
        }
        let is_option = options.is_some_and(|start| at >= start) && image.is_some_and(|i| at < i);
        match is_option
            .then(|| inherited(&words[at..], environment))
            .flatten()
        {
            Some(count) => at += count,
            None => {
                let word = &words[at];
                add(&mut line, &expanded(word, environment, expands)?)?;
                at += 1;
            }
        }
    }
    Ok(line)
}

fn add_options(line: &mut String, environment: &Environment, expands: bool) -> Result<(), String> {
    for (name, value) in &environment.variables {
        add(
            line,
            &format!("-e {name}={}", words::encode(value, expands)),
        )?;
    }
    // After the variables: as in systemd, those of files take precedence.
    for file in &environment.files {
        add(line, &format!("--env-file systemd:{file}"))?;
    }
    Ok(())
}

fn add(line: &mut String, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        line.push(' ');
        line.push_str(text);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(format!(
            "longer than {MAX_LINE_BYTES} bytes with its variables: shorten Environment="
        ));
    }
    Ok(())
}

/// Returns the index of the image among the words of `run`: the first word that is neither
/// an option nor the value of one.
fn image(words: &[Word<'_>], start: usize) -> usize {
    let mut at = start;
    while let Some(word) = words.get(at) {
        let text = &*word.text;
        let Some(short) = text.strip_prefix('-') else {
            return at;
        };
        if text == "--" {
            return at + 1;
        }
        let cluster = !short.is_empty() && short.chars().all(|c| "ditPq".contains(c));
        let alone = cluster
            || FLAGS.contains(&text)
            || text.contains('=')
            || (!short.starts_with('-') && short.len() > 1);
        at += if alone { 1 } else { 2 };
    }
    words.len()
}

/// Returns the number of words if they pass a variable by its name alone, `-e NAME`. The
/// variable is set already, and edge-docker has none to pass.
fn inherited(words: &[Word<'_>], environment: &Environment) -> Option<usize> {
    let text = &*words[0].text;
    let (name, count) = match text {
        "-e" | "--env" => (&*words.get(1)?.text, 2),
        _ => (text.strip_prefix("--env=")?, 1),
    };
    let known = environment.get(name).is_some() || !environment.files.is_empty();
    (is_name(name) && known).then_some(count)
}

/// Returns a word with the variables of `Environment=` in it, as systemd expands them:
/// `${NAME}` anywhere, `$NAME` as a word of its own, which is split at blanks.
fn expanded(word: &Word<'_>, environment: &Environment, expands: bool) -> Result<String, String> {
    if !expands || !word.raw.contains('$') {
        return Ok(word.raw.into());
    }
    if let Some(name) = word.text.strip_prefix('$').filter(|n| is_name(n)) {
        return Ok(match value(name, environment)? {
            Some(value) => {
                let parts = value.split_ascii_whitespace();
                let parts: Vec<_> = parts.map(|p| words::encode(p, true)).collect();
                parts.join(" ")
            }
            None => word.raw.into(),
        });
    }
    let mut text = String::new();
    let mut rest = word.raw;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest.strip_prefix("${").and_then(|r| r.split_once('}'));
        let name = name.map(|(name, _)| name).filter(|n| is_name(n));
        let found = name.map_or(Ok(None), |n| value(n, environment))?;
        let length = match (name, found) {
            (Some(name), Some(found)) => {
                text.push_str(&words::encode(found, true));
                name.len() + "${}".len()
            }
            (Some(name), None) => {
                text.push_str(&format!("${{{name}}}"));
                name.len() + "${}".len()
            }
            // `$$` stands for one `$`.
            (None, _) => {
                let length = if rest.starts_with("$$") { 2 } else { 1 };
                text.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
        if text.len() > MAX_LINE_BYTES {
            break;
        }
    }
    text.push_str(rest);
    // `${NAME}` is a word also if it is empty.
    Ok(if text.is_empty() { "\"\"".into() } else { text })
}

/// Returns the value of a variable in a command line, or `None` if systemd expands it.
fn value<'a>(name: &str, environment: &'a Environment) -> Result<Option<&'a str>, String> {
    let found = environment.get(name);
    if found.is_none() && !environment.files.is_empty() {
        return Err(format!(
            "${{{name}}} would come from EnvironmentFile=, which only the container reads: write it \
             with Environment=, or its value here"
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &str, files: &[&str]) -> Environment {
        let mut environment = Environment::default();
        environment.set("Environment", variables).unwrap();
        for file in files {
            environment.set("EnvironmentFile", file).unwrap();
        }
        environment
    }

    #[test]
    fn variables_become_options_and_values() {
        let environment = environment(r#"V=1.2 "T=two words" EMPTY= P=$x"#, &[]);
        let set = r"-e V=1.2 -e T=two\x20words -e EMPTY= -e P=$$x";
        for (line, expected) in [
            ("d run r:a-${V}", format!("d run {set} r:a-1.2")),
            ("d container run r", format!("d container run {set} r")),
            (
                "-d create --name $V r",
                format!("-d create {set} --name 1.2 r"),
            ),
            (
                "d run r $T \"${T}\" x${T}y",
                format!(r#"d run {set} r two words "two\x20words" xtwo\x20wordsy"#),
            ),
            ("d run r $EMPTY ${EMPTY}", format!("d run {set} r \"\"")),
            (
                "d run r $$V $${V} ${UNKNOWN} $UNKNOWN a$V",
                format!("d run {set} r $$V $${{V}} ${{UNKNOWN}} $UNKNOWN a$V"),
            ),
            (
                ":d run r ${V}",
                format!("{} r ${{V}}", format!(":d run {set}").replace("$$", "$")),
            ),
            (
                "d run -e V --env T --env=V -eV -e K r sh -e V",
                format!("d run {set} -eV -e K r sh -e V"),
            ),
            (
                "d run -it --rm -p 1:1 --name=x r -e V",
                format!("d run {set} -it --rm -p 1:1 --name=x r -e V"),
            ),
            ("d stop a-$V ${V}", "d stop a-$V 1.2".into()),
        ] {
            assert_eq!(command(line, &environment).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn files_are_passed_and_not_expanded() {
        let environment = environment("V=1", &["-/data/apps/x/a.env"]);
        assert_eq!(
            command("d run -e TOKEN -e K=1 r:${V}", &environment).unwrap(),
            "d run -e V=1 --env-file systemd:-/data/apps/x/a.env -e K=1 r:1"
        );
        let reason = command("d run r:${TAG}", &environment).unwrap_err();
        assert!(reason.contains("${TAG} would come from"), "{reason}");
    }

    #[test]
    fn a_long_value_is_not_multiplied() {
        let long = format!("V={}", "x".repeat(60_000));
        let environment = environment(&long, &[]);
        let line = format!("d run r {}", "${V}".repeat(1000));
        assert!(command(&line, &environment).is_err());
        let line = format!("d run r {}", "${V} ".repeat(1000));
        assert!(command(&line, &environment).is_err());
    }
}
