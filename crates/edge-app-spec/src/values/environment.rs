//! `environment` of `app.yaml`, and the placeholders in its values.

use crate::keys::nearest;
use crate::yaml::{Node, Place, Problem, Value};

/// Placeholders that the device replaces by its own names.
const PLACEHOLDERS: [&str; 2] = ["thing", "serial"];
/// Ends of names whose value is a secret most of the time.
const SECRET_NAMES: [&str; 9] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "TOKEN",
    "KEY",
    "SECRET",
    "CREDENTIALS",
    "CREDENTIAL",
    "PRIVATE",
];

/// Environment variable, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Reads a mapping, or a list of `NAME=VALUE`.
pub(crate) fn variables(node: &Node) -> Result<Vec<Variable>, Problem> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut add = |place: Place, name: &str, value: String| {
        check_name(place, name)?;
        if let Some(first) = variables.iter().find(|v| v.name == name) {
            let line = first.place.line;
            let text = format!("{name} stands on line {line} already: keep one");
            return Err(Problem::new(place, text));
        }
        let name = name.into();
        variables.push(Variable { place, name, value });
        Ok(())
    };
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                if value.is_null() {
                    return Err(value.problem(no_value(&key.text)));
                }
                add(key.place, &key.text, super::scalar::line(value)?)?;
            }
        }
        Value::List(entries) => {
            for entry in entries {
                let text = super::scalar::line(entry)?;
                let Some((name, value)) = text.split_once('=') else {
                    return Err(entry.problem(no_value(&text)));
                };
                add(entry.place, name, value.into())?;
            }
        }
        _ => return Err(node.unexpected("a mapping, or a list of NAME=VALUE")),
    }
    Ok(variables)
}

fn no_value(name: &str) -> String {
    format!(
        "{name:?} has no value: values of the machine at hand are not taken, write \"\" for none"
    )
}

/// Checks the name of a variable: letters, digits, `_`, `.` and `-`, without a digit at
/// the start.
pub(crate) fn check_name(place: Place, name: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(starts) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Problem::new(
        place,
        format_args!(
            "{name:?}: the name of a variable is A-Z, a-z, 0-9, _, . and -, not 0-9 at the start"
        ),
    ))
}

/// Returns what somebody should know about a variable before it is signed.
pub(crate) fn warnings(variable: &Variable) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(Problem::new(variable.place, text));
    let (name, value) = (&variable.name, &variable.value);
    let upper = name.to_ascii_uppercase();
    let secret = SECRET_NAMES.iter().any(|end| {
        let rest = upper.strip_suffix(end);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', '.', '-']))
    });
    if secret && !value.is_empty() {
        warn(format!(
            "{name} looks like a secret: it is signed, and everybody who may read the registry \
             can read it; put it into a file of the app's data on the device"
        ));
    }
    if value.contains("${") || value.contains("$$") {
        warn(format!(
            "{name}: `$` is taken as written; variables as in compose files are not replaced"
        ));
    }
    for word in braced(value) {
        let typo = |known: &&str| {
            // Other words in braces, such as `{string}`, are the app's own.
            *known != word && word.to_ascii_lowercase().starts_with(&known[..1])
        };
        if let Some(known) = nearest(&PLACEHOLDERS, word).filter(typo) {
            warn(format!(
                "{name}: {{{word}}} is taken as written: did you mean {{{known}}}?"
            ));
        }
    }
    warnings
}

/// Returns the words that stand alone in braces.
fn braced(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split('{').skip(1).filter_map(|t| t.split_once('}'));
    let word = |t: &&str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphabetic());
    inside.map(|(inside, _)| inside).filter(word)
}

/// Returns a text with sample names in place of its placeholders.
pub(crate) fn with_samples(text: &str) -> String {
    let thing = text.replace("{thing}", "edge-ai-0123456789");
    thing.replace("{serial}", "0123456789")
}
