//! Values that docker's client interprets for the commands that it carries out: Go
//! templates of `--format`, and filters, which become regular expressions in the engine.
//!
//! The client runs as root. A template is a program: `pad` and `printf` fill the memory,
//! and templates that call each other do not end. Only fields and a few functions whose
//! output is bounded by their input are accepted.

use anyhow::Result;

use crate::refusal::refuse;

/// Size limit of a value that the client interprets, in bytes.
const MAX_BYTES: usize = 1024;
/// Maximum number of actions (`{{…}}`) of a template.
const MAX_ACTIONS: usize = 64;
/// Formats with a meaning of their own.
const FORMATS: [&str; 3] = ["json", "table", "raw"];
/// Keywords and functions that a template may use.
// Without `printf`, `pad` and `print`, whose output is not bounded by the input, without
// `split` and `slice`, which with `join` multiply it, and without `define`, `block` and
// `template`, which recurse.
const WORDS: [&str; 24] = [
    "and", "else", "end", "eq", "false", "ge", "gt", "if", "index", "join", "json", "le", "len",
    "lower", "lt", "ne", "nil", "not", "or", "println", "range", "true", "upper", "with",
];

/// Checks the value of an option that docker's client interprets; values of other options
/// pass.
pub(crate) fn check(command: &str, option: &str, text: &str) -> Result<()> {
    let permitted = match option {
        "format" => is_format(text),
        "filter" => is_filter(text),
        _ => return Ok(()),
    };
    if permitted {
        return Ok(());
    }
    Err(refuse(format_args!(
        "{command} --{option} {text:?} is refused: {}",
        match option {
            "format" => "json, or a template of fields, range, if, join, json and the like",
            _ => "KEY=VALUE without braces or control characters",
        }
    )))
}

fn is_filter(text: &str) -> bool {
    // `{1000}` in a regular expression repeats what is before it.
    let refused = |c: char| c.is_control() || "{}\\".contains(c);
    text.len() <= MAX_BYTES && !text.contains(refused)
}

fn is_format(text: &str) -> bool {
    if text.len() > MAX_BYTES {
        return false;
    }
    let text = text.strip_prefix("table ").unwrap_or(text);
    let mut rest = text;
    let (mut actions, mut ranges, mut joins) = (0, 0, 0);
    while let Some(start) = rest.find("{{") {
        let Some(words) = action(&mut rest, start + 2) else {
            return false;
        };
        actions += 1;
        ranges += words.iter().filter(|word| **word == "range").count();
        joins += words.iter().filter(|word| **word == "join").count();
        let known = words.iter().all(|word| WORDS.contains(word));
        // A range in a range, or over the joined text of another, multiplies the output.
        if !known || actions > MAX_ACTIONS || ranges > 3 || joins > 2 {
            return false;
        }
    }
    actions > 0 || FORMATS.contains(&text) || text.is_empty()
}

/// Returns the keywords and functions of the action that begins at `start`, and moves
/// `rest` behind it; `None` if the action is malformed or has a part that is not
/// accepted.
fn action<'a>(rest: &mut &'a str, start: usize) -> Option<Vec<&'a str>> {
    let text = &rest[start..];
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let left = &text[at..];
        if let Some(behind) = left.strip_prefix("}}") {
            *rest = behind;
            return Some(words);
        }
        let first = left.chars().next()?;
        at += match first {
            '"' => string(left)?,
            ' ' | '(' | ')' | '|' | ',' | '-' => 1,
            // A variable of `range` or `with`; assignments to one are refused, because a
            // loop of them doubles a text each time.
            ':' if left.starts_with(":=") && declares(&words) => 2,
            '.' | '$' => 1 + name(&left[1..]),
            c if c.is_ascii_digit() => number(left)?,
            c if c.is_ascii_alphabetic() => {
                let length = name(left);
                words.push(&left[..length]);
                length
            }
            _ => return None,
        };
    }
}

fn declares(words: &[&str]) -> bool {
    matches!(words, ["range" | "with"])
}

/// Returns the length of a name at the beginning of `text`.
fn name(text: &str) -> usize {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.find(|c| !letter(c)).unwrap_or(text.len())
}

/// Returns the length of an index at the beginning of `text`, at most four digits.
fn number(text: &str) -> Option<usize> {
    let length = name(text);
    let digits = text[..length].bytes().all(|b| b.is_ascii_digit());
    (digits && length <= 4).then_some(length)
}

/// Returns the length of a quoted string at the beginning of `text`.
fn string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            '\n' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_fields_pass() {
        for text in [
            "json",
            "{{.ID}}",
            "{{json .}}",
            "table {{.Names}}\\t{{.Status}}",
            r#"{{.Label "maker"}} {{.State}}"#,
            "{{range .Mounts}}{{.Source}} {{end}}",
            r#"{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}{{end}}"#,
            r#"{{join .Names ", "}} {{upper .ID}}"#,
            r#"{{index .Config.Labels "maker"}}"#,
            r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
            "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
            "{{- range .RepoTags -}}{{.}},{{end}};{{range .RootFS.Layers}}{{.}} {{end}}",
            "{{.Config.Env | json}}",
            "{{.Id}} {{len .Mounts}}",
        ] {
            assert!(is_format(text), "{text}");
        }
    }

    #[test]
    fn templates_that_are_programs_are_refused() {
        for text in [
            r#"{{pad "a" 1000000000000 0}}"#,
            r#"{{"a" | pad 1000000000 0}}"#,
            r#"{{printf "%1000000000d" 1}}"#,
            r#"{{printf "%*d" 1000000000 1}}"#,
            r#"{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}"#,
            r#"{{block "a" .}}{{template "a"}}{{end}}"#,
            r#"{{$x := "a"}}{{range .Env}}{{$x = print $x $x}}{{end}}"#,
            r#"{{with $x := "aa"}}{{$x = join . $x}}{{end}}"#,
            "{{range 1000000000}}x{{end}}",
            r#"{{join (split .ID "") .ID}}"#,
            "{{call .X}}",
            "{{`a`}}",
            "{{.ID",
            "{{'a'}}",
            "{{/* a */}}",
            r#"{{"a}}"#,
            "plain",
            "{{html .}}",
            "{{truncate .ID 99999}}",
        ] {
            assert!(!is_format(text), "{text}");
        }
        assert!(!is_format(&"{{.ID}}".repeat(65)));
        assert!(!is_format(&format!("{{{{.ID}}}}{}", "x".repeat(1024))));
        assert!(is_filter("name=^/foo$") && is_filter("label=edge.app=hello"));
        assert!(!is_filter("name=((a{1000}){1000}){1000}") && !is_filter("a=\n"));
    }
}
