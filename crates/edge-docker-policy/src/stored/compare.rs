//! Comparison of a stored container with its create request: a table names every field
//! of the engine, and what it may hold. A field that is not in the table is an error,
//! so that a newer engine cannot store something that nobody compared.

use serde_json::{Map, Value};

/// Permitted content of a field.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Nothing: null, false, 0, or empty.
    Zero,
    /// The requested value.
    Same,
    /// The requested value, apart from members that hold nothing.
    Parts,
    /// The requested value, or one of these where nothing was requested.
    Filled(&'static [&'static str]),
    /// The requested restart policy, or none while a deployment holds the container
    /// back.
    HeldBack,
    /// Any here: compared elsewhere.
    Elsewhere,
}

/// Compares `stored` with `requested`, field by field; the error names the field that
/// differs.
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

/// Tells whether a value is null, false, 0, or empty.
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

/// Tells whether two values are equal, whatever the form of nothing.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    one == other || zero(one) && zero(other)
}

/// Returns the value without members that hold nothing, at any depth.
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

/// Returns a value as messages show it.
pub(crate) fn short(value: &Value) -> String {
    let text: String = value.to_string().chars().take(120).collect();
    text
}

/// Returns the strings of a list, none of anything else.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}
