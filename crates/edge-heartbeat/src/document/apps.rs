//! Report to the shadow `apps`: the apps by the name of their container, in as much detail
//! as there is room for.

use serde_json::{Map, Value, json};

use super::{Document, entry_bytes, size};

/// Facts about an app that are left out for lack of room, the least important first. They
/// are left out of all apps, so that a missing one says nothing about a single app.
const DISPENSABLE: [&str; 4] = ["image", "signer", "version", "app"];
/// Bytes that are kept for the other entries.
const NOTES_BYTES: usize = 96;

/// Returns the update that reports `apps` in at most `budget` bytes of the document, or that
/// removes all of it if they are not known.
pub(crate) fn update(document: &Document, apps: &Value, budget: usize) -> Map<String, Value> {
    let mut state = Map::new();
    for key in ["apps", "total", "omitted", "left_out"] {
        state.insert(key.into(), Value::Null);
    }
    if let Value::Object(apps) = apps {
        let room = document.room(&state, 0).min(budget);
        let (kept, left_out) = fit(apps.clone(), room.saturating_sub(NOTES_BYTES));
        let omitted = apps.len() - kept.len();
        state.insert("total".into(), json!(apps.len()));
        state.insert("omitted".into(), json!((omitted > 0).then_some(omitted)));
        let left_out = (!left_out.is_empty()).then_some(left_out);
        state.insert("left_out".into(), json!(left_out));
        state.insert("apps".into(), Value::Object(kept));
    }
    // The notes come first: without them, apps that are left out look removed.
    document.update_with(state, |name| usize::from(name == "apps"))
}

/// Returns the apps in at most `limit` bytes, and the facts that were left out.
fn fit(
    mut apps: Map<String, Value>,
    limit: usize,
) -> (Map<String, Value>, &'static [&'static str]) {
    for count in 0..=DISPENSABLE.len() {
        let left_out = &DISPENSABLE[..count];
        for app in apps.values_mut().filter_map(Value::as_object_mut) {
            left_out.iter().for_each(|fact| {
                app.remove(*fact);
            });
        }
        if size(&apps) <= limit {
            return (apps, left_out);
        }
    }
    let mut order: Vec<_> = apps.into_iter().collect();
    // Apps that do not work are the last to be left out.
    order.sort_by_key(|(name, app)| (works(app), name.clone()));
    let mut left = limit.saturating_sub(2);
    let fits = |(name, app): &(String, Value)| {
        let bytes = entry_bytes(name, app);
        let fits = bytes <= left;
        left = if fits { left - bytes } else { 0 };
        fits
    };
    (order.into_iter().take_while(fits).collect(), &DISPENSABLE)
}

fn works(app: &Value) -> bool {
    let is_healthy = app["health"]
        .as_str()
        .is_none_or(|health| health == "healthy");
    app["state"] == "running" && is_healthy
}
