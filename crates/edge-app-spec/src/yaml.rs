//! YAML to typed values, with line and column in each error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_saphyr::{
    DuplicateKeyPolicy, MergeKeyPolicy, MessageFormatter as _, UserMessageFormatter,
};

/// Parses YAML; an error begins with `name:LINE:COLUMN:`.
///
/// # Errors
/// The text is not YAML, or not a `T`.
pub fn parse_yaml<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        // A variable that stands twice has the last value, and `<<` is a key as any
        // other: files were written for a parser that reads them so.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        // The message alone: the position comes first in our errors, as compilers
        // print it, so that an editor jumps to it.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // A repeated key is the one error without a position.
        let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
        let message = UserMessageFormatter.format_message(&error);
        format!("{name}:{line}:{column}: {message}")
    })
}

/// Deserializes a key without a value as the default: with every entry of `ports:`
/// commented out, `ports:` remains, and YAML reads null there.
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
