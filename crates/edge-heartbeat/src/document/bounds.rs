//! Reduction of a JSON value to a number of bytes, so that what is left is still true.

use serde_json::{Map, Value};

/// Lengths to which long texts are shortened one after the other, in characters.
const TEXT_CHARS: [usize; 3] = [96, 48, 16];

/// Reduces `value` to at most `limit` bytes of JSON and returns whether something was
/// left out. A value that cannot be reduced becomes null.
pub(super) fn reduce(value: &mut Value, limit: usize) -> bool {
    if fits(value, limit) {
        return false;
    }
    match value {
        Value::Array(list) => truncate(list, limit),
        Value::Object(object) => shrink(object, limit),
        Value::String(text) => {
            // A character takes up to six bytes in JSON.
            let mut chars = limit;
            while chars > 0 && Value::from(text.as_str()).to_string().len() > limit {
                shorten(text, chars);
                chars -= chars.div_ceil(4);
            }
        }
        _ => {}
    }
    if !fits(value, limit) {
        *value = Value::Null;
    }
    true
}

fn fits(value: &Value, limit: usize) -> bool {
    value.to_string().len() <= limit
}

/// Keeps the first elements that fit.
fn truncate(list: &mut Vec<Value>, limit: usize) {
    let mut left = limit.saturating_sub(2);
    let keep = list.iter().take_while(|element| {
        let size = element.to_string().len() + 1;
        let fits = size <= left + 1;
        left = left.saturating_sub(size);
        fits
    });
    let keep = keep.count();
    list.truncate(keep);
}

/// Shortens the texts in an object, then drops entries: first what succeeded, then the
/// largest.
fn shrink(object: &mut Map<String, Value>, limit: usize) {
    let size = |object: &Map<String, Value>| Value::Object(object.clone()).to_string().len();
    for chars in TEXT_CHARS {
        object.values_mut().for_each(|value| texts(value, chars));
        if size(object) <= limit {
            return;
        }
    }
    while size(object) > limit {
        let weight = |(_, value): &(&String, &Value)| {
            let succeeded = value.get("ok") == Some(&Value::Bool(true));
            (succeeded, value.to_string().len())
        };
        let Some(key) = object.iter().max_by_key(weight).map(|(key, _)| key.clone()) else {
            return;
        };
        object.remove(&key);
    }
}

fn texts(value: &mut Value, chars: usize) {
    match value {
        Value::String(text) => shorten(text, chars),
        Value::Object(object) => object.values_mut().for_each(|value| texts(value, chars)),
        _ => {}
    }
}

fn shorten(text: &mut String, chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_larger_than_its_limit() {
        let values = [
            json!(null),
            json!(1_234_567_890_123_u64),
            json!("\u{1}\u{2}é\"\\".repeat(50)),
            json!([]),
            json!(["a", "b".repeat(40), "c"]),
            json!({ "a": 1, "b": { "c": "x".repeat(300) } }),
            json!({ "é".repeat(80): [] }),
        ];
        for value in values {
            for limit in (4..200).chain([1000, 4000]) {
                let mut reduced = value.clone();
                let changed = reduce(&mut reduced, limit);
                assert!(fits(&reduced, limit), "{limit}: {reduced}");
                assert_eq!(changed, reduced != value, "{limit}: {reduced}");
                assert_eq!(changed, !fits(&value, limit), "{limit}: {reduced}");
            }
        }
        let mut list = json!([1, 2, 3]);
        assert!(!reduce(&mut list, 7) && reduce(&mut list, 6));
        assert_eq!(list, json!([1, 2]));
    }

    #[test]
    fn failed_steps_are_kept_longest() {
        let ok = json!({ "ok": true, "code": 0, "message": null });
        let failed = json!({ "ok": false, "code": 4, "message": "x".repeat(200) });
        let mut steps = json!({ "a": ok, "b": failed, "c": ok, "d": ok });
        assert!(reduce(&mut steps, 100));
        let left: Vec<_> = steps.as_object().unwrap().keys().collect();
        assert!(left.contains(&&"b".to_string()), "{steps}");
        assert_eq!(steps["b"]["code"], 4);
    }
}
