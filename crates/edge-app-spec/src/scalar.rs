//! The words and lines of `app.yaml`: each type is checked where it is read.

use std::fmt;

use edge_signature::valid_app;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::text::from_text;

from_text!(Name, Word, Variable, Line);

/// Name of an app.
pub struct Name(pub String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if valid_app(&text) {
            Ok(Self(text))
        } else {
            Err("must be 1 to 63 of a-z, 0-9 and -, not - at either end")
        }
    }
}

/// Text without blanks, commas or control characters, not starting with `-`.
pub struct Word(pub String);

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_graphic() && c != ',' && c != '\\';
        if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
            return Err(format!("{text:?} is not a plain word"));
        }
        Ok(Self(text))
    }
}

/// Name of a variable.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable(pub String);

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.starts_with(|c: char| c.is_ascii_digit())
            || text.is_empty()
            || !text.chars().all(good)
        {
            return Err(format!("{text:?} is not the name of a variable"));
        }
        Ok(Self(text))
    }
}

/// Value of a variable: text on one line, a number, or yes and no.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "the value of a variable must be text on one line, a number, true or false"
)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Another number.
    Real(f64),
    /// Text.
    Text(Line),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(Line(value)) => f.write_str(value),
        }
    }
}

/// Text without control characters.
pub struct Line(pub String);

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.chars().any(char::is_control) {
            return Err("control characters are not taken");
        }
        Ok(Self(text))
    }
}

/// Processors, as `1.5`: some, and not more than any board has.
#[derive(Clone, Copy)]
pub struct Cpus(pub f64);

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Cpus;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number of processors, 0.01 to 1024")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Cpus, E> {
                if (0.01..=1024.0).contains(&number) {
                    return Ok(Cpus(number));
                }
                Err(E::custom("must be a number of processors, 0.01 to 1024"))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Cpus, E> {
                self.visit_f64(u32::try_from(number).unwrap_or(u32::MAX).into())
            }
        }
        deserializer.deserialize_f64(Number)
    }
}
