//! Parsers of YAML, whose errors contain line and column: one to a tree with the texts as
//! written, for `app.yaml`, and one to types of serde, for `edge-app.yaml`.

mod builder;
mod tree;

pub(crate) use builder::parse_tree;
pub(crate) use tree::{Key, Node, Place, Problem, Value};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_saphyr::{
    DuplicateKeyPolicy, MergeKeyPolicy, MessageFormatter as _, UserMessageFormatter,
};

/// Parses YAML to a `T`. An error begins with `NAME:LINE:COLUMN:`, where NAME is
/// the file name `name`.
///
/// # Errors
/// The text is not YAML, or its values do not fit `T`.
pub fn parse_yaml<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        // Existing files were written for a parser with these rules: a variable
        // that is set twice has the last value, and `<<` is an ordinary key.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        // The message alone: the position comes first in our errors, as compilers
        // print it, so that an editor jumps to it.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // Only the error for a repeated key has no position.
        let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
        let message = with_advice(&UserMessageFormatter.format_message(&error));
        format!("{name}:{line}:{column}: {message}")
    })
}

/// Adds to a message of the scanner what to do, where it names only its own state.
fn with_advice(message: &str) -> String {
    let advice = match message {
        "unexpected end of file" => ": the file is empty",
        tab if tab.contains("found a tab") || tab.contains("tabs ") => ": indent with blanks",
        _ => "",
    };
    format!("{message}{advice}")
}

/// Deserializes a key without a value as the default of `T`. If every entry below
/// `ports:` is commented out, the value of `ports:` is null in YAML.
///
/// # Errors
/// The value is neither null nor a `T`.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
