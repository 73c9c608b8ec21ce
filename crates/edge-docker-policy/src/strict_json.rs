//! Parser of JSON that rejects duplicate names in an object, so that all readers of a
//! document find the same values.
//!
//! Go's decoder, and so the engine, merges the values of duplicate names, while
//! serde_json keeps the last one. A check of such a document would judge other values
//! than those that the engine uses. Go also ignores the case of names, so callers have to
//! refuse each name that is not on their list in its exact spelling.

use std::fmt;

use anyhow::{Context, Result};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses one JSON document and rejects duplicate names.
///
/// # Errors
/// The bytes are not UTF-8 or not JSON, more text follows the document, or an object
/// contains a name twice.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    let unique: Unique = serde_json::from_slice(bytes).context("parsing JSON")?;
    Ok(unique.0)
}

/// JSON value whose objects contain each name only once. serde_json's own [`Value`]
/// silently drops duplicates, so a visitor of our own is needed.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        // Names are compared after decoding: `"a"` and `"\u0061"` are the same name.
        while let Some((name, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate name {name:?}")));
            }
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_serde_reads_them() {
        let text = r#"{"a":[1,-2,2.5,true,null,"x"],"b":{"a":{}}}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), plain);
    }

    #[test]
    fn ambiguous_json_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1}x"#,
            "{\"a\":\"\u{0}\"}",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
