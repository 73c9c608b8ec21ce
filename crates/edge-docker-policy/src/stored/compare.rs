//! Comparing what is stored with what was asked for: a table names every field
//! that there is, and what it may hold.

use serde_json::{Map, Value};

/// What a field may hold.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Nothing: null, false, 0, or empty.
    Zero,
    /// What was asked for.
    Same,
    /// What was asked for; members that hold nothing do not count.
    Parts,
    /// What was asked for, or one of these where nothing was.
    Filled(&'static [&'static str]),
    /// A restart policy: what was asked for, or none, while a switch holds the
    /// container back.
    HeldBack,
    /// Looked at elsewhere.
    Elsewhere,
}

/// Holds `stored` against `asked`, field by field.
///
/// # Errors
/// The field that does not fit.
pub fn compare(
    table: &[(&str, Rule)],
    stored: &Value,
    asked: &Value,
    inside: &str,
) -> Result<(), String> {
    let Some(fields) = stored.as_object() else {
        return Err(format!("{inside} is not an object"));
    };
    for (name, value) in fields {
        let rule = table.iter().find(|(known, _)| known == name);
        let Some((_, rule)) = rule else {
            return Err(format!("{inside}.{name} is not known"));
        };
        let wanted = &asked[name];
        let good = match rule {
            Rule::Zero => zero(value),
            Rule::Same => same(value, wanted),
            Rule::Parts => same(&parts(value), &parts(wanted)),
            Rule::HeldBack => value["Name"] == "no" || same(&parts(value), &parts(wanted)),
            Rule::Filled(defaults) => {
                same(value, wanted)
                    || zero(wanted) && value.as_str().is_some_and(|v| defaults.contains(&v))
            }
            Rule::Elsewhere => true,
        };
        if !good {
            return Err(format!("{inside}.{name} is {}", short(value)));
        }
    }
    // What was asked for is there.
    for (name, rule) in table {
        let compared = matches!(rule, Rule::Same | Rule::Parts);
        if compared && !fields.contains_key(*name) && !zero(&parts(&asked[*name])) {
            return Err(format!("{inside}.{name} is missing"));
        }
    }
    Ok(())
}

/// Null, false, 0, or empty?
pub fn zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Equal, where nothing is nothing.
pub fn same(one: &Value, other: &Value) -> bool {
    one == other || zero(one) && zero(other)
}

/// Without members that hold nothing, at any depth.
pub fn parts(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), parts(value)));
            Value::Object(
                kept.filter(|(_, value)| !zero(value))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(list) => list.iter().map(parts).collect(),
        other => other.clone(),
    }
}

/// A value as it is shown in a message.
pub fn short(value: &Value) -> String {
    let text: String = value.to_string().chars().take(120).collect();
    text
}

/// Strings of a list, none if it is something else.
pub fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}
