//! Comparison of a stored container with its create request. A table lists every field
//! that the engine stores, each with a rule for its value. A field that is not in the
//! table is an error, so that a newer engine cannot store one that nobody has compared.

use serde_json::{Map, Value};

/// Rule for the stored value of one field.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Unset: null, false, 0 or empty.
    Zero,
    /// Same value as in the create request.
    Same,
    /// Same value as in the create request, without regard to unset members of objects.
    Parts,
    /// Requested value, or one of these defaults if the request does not set the field.
    Filled(&'static [&'static str]),
    /// Requested restart policy, or `no`, which a deployment sets until it has decided on
    /// the container.
    HeldBack,
    /// Any value: either other code checks the field, or no rule depends on it.
    Elsewhere,
}

/// Compares each field of `stored` with `requested`, by the rules of `table`; the error
/// names the first field that differs, inside the object `inside`.
pub(crate) fn compare(
    table: &[(&str, Rule)],
    stored: &Value,
    requested: &Value,
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
        let wanted = &requested[name];
        let fits = match rule {
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
        if !fits {
            return Err(format!("{inside}.{name} is {}", short(value)));
        }
    }
    // A field that was left out would hold the default of the engine.
    for (name, rule) in table {
        let compared = matches!(rule, Rule::Same | Rule::Parts);
        if compared && !fields.contains_key(*name) && !zero(&parts(&requested[*name])) {
            return Err(format!("{inside}.{name} is missing"));
        }
    }
    Ok(())
}

/// Returns whether a JSON value is null, false, 0 or empty: the forms in which the engine
/// stores an unset field.
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

/// Returns whether two JSON values are equal; two unset values (see [`zero`]) are equal
/// in any form.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    one == other || zero(one) && zero(other)
}

/// Returns a JSON value without the unset members of its objects, at any depth.
pub(crate) fn parts(value: &Value) -> Value {
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

/// Returns the JSON text of a value for error messages, at most 120 characters of it.
pub(crate) fn short(value: &Value) -> String {
    let text: String = value.to_string().chars().take(120).collect();
    text
}

/// Returns the strings of a JSON array; other elements and other values are ignored.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}
