//! What an app is: `app.yaml`, and the words for a device that follow from it.
//! Apart from `edge-app`, so that what untrusted text reaches can be fuzzed
//! without a network client.
//!
//! Nothing of it reads a file or runs a program.

pub mod mapping;
pub mod scalar;
mod shell;
pub mod spec;
pub mod text;
pub mod volume;

pub use shell::quote;
pub use spec::Spec;

use serde::de::DeserializeOwned;

/// Reads YAML; what is wrong begins with `shown:LINE:COLUMN:`.
///
/// # Errors
/// Not YAML, or not a `T`.
pub fn yaml<T: DeserializeOwned>(text: &str, shown: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| {
        let at = error.location();
        let place = at.map_or(String::new(), |l| format!(":{}:{}", l.line(), l.column()));
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        format!("{shown}{place}: {words}")
    })
}
