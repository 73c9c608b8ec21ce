//! Tree of a YAML text in which every value has its position and scalars are the text as
//! written: `1.10`, `0x1F` and `yes` are not turned into numbers or booleans.

use std::fmt;

/// Line and column of a value, both beginning with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Mistake in a YAML text, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(place: Place, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        Self { place, text }
    }
}

/// Key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// Value of a YAML text, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// Content of a [`Node`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null` without quotes.
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// Returns the noun for error messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    pub(crate) fn problem(&self, text: impl fmt::Display) -> Problem {
        Problem::new(self.place, text)
    }

    /// Returns the problem of a value of the wrong kind; `wanted` describes a valid one.
    pub(crate) fn unexpected(&self, wanted: &str) -> Problem {
        self.problem(format_args!(
            "expected {wanted}, found {}",
            self.value.kind()
        ))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Returns the text as written.
    pub(crate) fn text(&self) -> Result<&str, Problem> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.unexpected("text")),
        }
    }

    pub(crate) fn list(&self) -> Result<&[Node], Problem> {
        match &self.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.unexpected("a list")),
        }
    }

    pub(crate) fn map(&self) -> Result<&[(Key, Node)], Problem> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.unexpected("a mapping")),
        }
    }

    /// Returns a list's entries, or a single text as a list of one, as compose takes it
    /// for `dns`, `tmpfs` and `env_file`.
    pub(crate) fn one_or_more(&self) -> Result<&[Node], Problem> {
        match &self.value {
            Value::Text(_) => Ok(std::slice::from_ref(self)),
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.unexpected("text or a list")),
        }
    }
}
