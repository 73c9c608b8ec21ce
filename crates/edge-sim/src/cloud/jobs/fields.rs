//! Typed access to the fields of a request.

use serde_json::{Map, Value};

use super::refusal::{Outcome, Refusal};

/// Returns an object without fields other than `known`. AWS ignores unknown fields; here they
/// are refused, since the misspelled name of a limit would otherwise switch it off.
pub(super) fn object<'a>(
    value: &'a Value,
    name: &str,
    known: &[&str],
) -> Outcome<&'a Map<String, Value>> {
    let fields = value.as_object();
    let fields = fields.ok_or_else(|| Refusal::invalid(format!("{name} must be an object")))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::invalid(format!(
            "{name} has the unknown field {key}"
        ))),
        None => Ok(fields),
    }
}

/// Returns a text of at most `max` characters that fits `allowed`.
pub(super) fn text(
    fields: &Map<String, Value>,
    name: &str,
    max: usize,
    allowed: impl Fn(char) -> bool,
) -> Outcome<Option<String>> {
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(Refusal::invalid(format!("{name} must be a string"))),
    };
    let count = text.chars().count();
    if count == 0 || count > max || !text.chars().all(allowed) {
        return Err(Refusal::invalid(format!(
            "{name} must have 1 to {max} permitted characters"
        )));
    }
    Ok(Some(text.clone()))
}

/// Returns whether a character may stand in a description or comment.
pub(super) fn printable(character: char) -> bool {
    !character.is_control()
}

/// Returns whether a text is an identifier of 1 to `max` characters: letters, digits, `-`,
/// `_` and those of `more`.
pub(super) fn identifier(text: &str, max: usize, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || more.contains(c);
    (1..=max).contains(&text.len()) && text.chars().all(fits)
}

/// Returns whether a text is the name of a thing or thing group.
pub(super) fn thing_name(text: &str) -> bool {
    identifier(text, 128, ":")
}

/// Returns a whole number between `least` and `most`.
pub(super) fn number(
    fields: &Map<String, Value>,
    name: &str,
    least: u64,
    most: u64,
) -> Outcome<Option<u64>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => (value.as_u64())
            .filter(|number| (least..=most).contains(number))
            .map(Some)
            .ok_or_else(|| outside(name, value, least, most)),
    }
}

fn outside(name: &str, value: &Value, least: u64, most: u64) -> Refusal {
    Refusal::invalid(format!("{name} is {value}, not between {least} and {most}"))
}

/// Returns a decimal number times `scale`, which must then be whole: a scale of 100 permits
/// two digits after the point.
pub(super) fn scaled(
    fields: &Map<String, Value>,
    name: &str,
    scale: u32,
    least: f64,
    most: f64,
) -> Outcome<u64> {
    let value = fields.get(name).unwrap_or(&Value::Null);
    let number = value.as_f64().filter(|n| (least..=most).contains(n));
    let number = number.ok_or_else(|| {
        Refusal::invalid(format!("{name} is {value}, not between {least} and {most}"))
    })?;
    let scaled = number * f64::from(scale);
    if (scaled - scaled.round()).abs() > 1e-6 {
        return Err(Refusal::invalid(format!(
            "{name} is {value}, with too many digits"
        )));
    }
    Ok(scaled.round() as u64)
}

/// Returns one of the names in `choices` with its meaning.
pub(super) fn choice<T: Copy>(
    fields: &Map<String, Value>,
    name: &str,
    choices: &[(&str, T)],
) -> Outcome<Option<T>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let known = choices.iter().find(|(choice, _)| value == choice);
            let known = known.map(|(_, meaning)| Some(*meaning));
            known.ok_or_else(|| {
                let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
                Refusal::invalid(format!("{name} is {value}, none of {}", names.join(", ")))
            })
        }
    }
}

/// Returns a list of `least` to `most` elements.
pub(super) fn list<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    least: usize,
    most: usize,
) -> Outcome<&'a [Value]> {
    let elements = fields.get(name).and_then(Value::as_array);
    let elements = elements.filter(|list| (least..=most).contains(&list.len()));
    elements.map(Vec::as_slice).ok_or_else(|| {
        Refusal::invalid(format!(
            "{name} must be a list of {least} to {most} elements"
        ))
    })
}
