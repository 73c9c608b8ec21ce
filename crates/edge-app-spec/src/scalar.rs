//! Scalars of `app.yaml`. Each type checks its text while the parser stands on the
//! scalar, so that an error has the line and column of the scalar.

use edge_signature::valid_app;
use serde::Deserialize;

/// Name of an app.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(pub(crate) String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if valid_app(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "{text:?}: a name is 1 to 63 of a-z, 0-9 and -, not - at either end"
        ))
    }
}

/// Option value without blanks, commas, backslashes or control characters, and
/// without `-` at the start.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Token(pub(crate) String);

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_graphic() && c != ',' && c != '\\';
        // A leading - would be read as an option, and a comma splits some options of
        // docker into several values.
        if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
            return Err(format!(
                "{text:?}: blanks, commas, backslashes and a leading - are not allowed"
            ));
        }
        Ok(Self(text))
    }
}

/// Name of an environment variable.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(crate) struct Variable(pub(crate) String);

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.starts_with(|c: char| c.is_ascii_digit())
            || text.is_empty()
            || !text.chars().all(allowed)
        {
            return Err(format!(
                "{text:?}: the name of a variable is A-Z, a-z, 0-9 and _, not 0-9 at the start"
            ));
        }
        Ok(Self(text))
    }
}

/// Text on one line, as written: the value of a variable, or a shell command.
/// Numbers keep their form, so that `1.10` stays `1.10`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Line(pub(crate) String);

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The device's audit log prints a control character as a blank: without any,
        // an argument is logged as it is.
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed: write the text on one line");
        }
        Ok(Self(text))
    }
}

/// Number of processors, as `1.5`; at most what any board has.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Cpus(pub(crate) f64);

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        if (0.01..=1024.0).contains(&number) {
            return Ok(Self(number));
        }
        Err("must be a number of processors, 0.01 to 1024")
    }
}
