//! Types that are read from one YAML scalar. The check runs inside the
//! parser's visitor, so that an error bears the scalar's own line and column;
//! serde's `try_from` would report those of the mapping around it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a `T` from text.
///
/// # Errors
/// Not text, or what `T` says of it.
pub fn read<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String>,
    T::Error: fmt::Display,
{
    deserializer.deserialize_str(Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T> Visitor<'_> for Text<T>
where
    T: TryFrom<String>,
    T::Error: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::try_from(text.to_string()).map_err(E::custom)
    }
}

/// `Deserialize` by [`read`] for types that are `TryFrom<String>`.
#[macro_export]
macro_rules! from_text {
    ($($name:ty),+) => {$(
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::text::read(d)
            }
        }
    )+};
}
pub use from_text;
