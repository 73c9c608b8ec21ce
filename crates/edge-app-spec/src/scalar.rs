//! Scalar values of `app.yaml`. Each type checks its text during deserialization,
//! so that the parser adds line and column of the scalar to an error.

use edge_signature::{reserved_suffix, valid_app};
use serde::Deserialize;

/// Name of an app: 1 to 63 of a-z, 0-9 and `-`, without `-` at either end.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(pub(crate) String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if valid_app(&text) {
            return Ok(Self(text));
        }
        if let Some(suffix) = reserved_suffix(&text) {
            return Err(format!(
                "{text:?}: names ending in {suffix} are reserved for deployments"
            ));
        }
        Err(format!(
            "{text:?}: a name is 1 to 63 of a-z, 0-9 and -, not - at either end"
        ))
    }
}

/// Value of a docker option, for example `8080:80`: printable ASCII without blanks,
/// commas and backslashes, and without `-` at the start.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Token(pub(crate) String);

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_graphic() && c != ',' && c != '\\';
        // docker would read a leading - as an option, and it splits some option
        // values at commas.
        if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
            return Err(format!(
                "{text:?}: blanks, commas, backslashes and a leading - are not allowed"
            ));
        }
        Ok(Self(text))
    }
}

/// Name of an environment variable: A-Z, a-z, 0-9 and `_`, without a digit at the
/// start.
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

/// Text without control characters: the value of an environment variable, or the
/// shell command of a health check. A number keeps its spelling: `1.10` does not
/// become `1.1`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Line(pub(crate) String);

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Messages and logs replace each control character by a space: the text would look
        // different from the value that the container gets.
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed: write the text on one line");
        }
        Ok(Self(text))
    }
}

/// CPU limit in processors, for example `1.5`, between 0.01 and 1024.
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
