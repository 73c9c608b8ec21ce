//! Report to the classic shadow: each part has a budget of its own, the important ones
//! first.

use serde_json::{Map, Value, json};

use super::{Document, bounds, entry_bytes};
use crate::release_numbers;

/// Bytes that a report leaves to the desired state, so that an operator can set
/// `desired.vpn` at its limit without a rejection.
const DESIRED_BYTES: usize = 2304;
/// Keys of the apps, which have a shadow of their own. Earlier versions reported them here.
const MOVED: [&str; 2] = ["apps", "apps_omitted"];
/// Size of the smallest budget: the device and why its report is so small.
const MIN_BUDGET_BYTES: usize = 512;
/// Bytes that are kept for the notes on what was omitted.
const NOTES_BYTES: usize = 160;
/// Budgets of the parts in bytes, the most important part first. A part that is not
/// listed has [`OTHER_BYTES`] and comes before the last one.
const BUDGETS: [(&str, usize); 20] = [
    ("uptime_seconds", 24),
    ("heartbeat_seconds", 24),
    ("report_rejected", 240),
    ("unanswered", 64),
    ("software", 256),
    ("address", 64),
    ("disk", 320),
    ("boot", 1536),
    ("break_glass", 1024),
    ("release_numbers_fell", 256),
    ("memory", 96),
    ("ledger", 128),
    ("release_numbers", 512),
    ("load", 96),
    ("containers", 192),
    ("vpn_hostname", 272),
    ("over_current_events", 24),
    ("throttling", 320),
    ("temperature_celsius", 640),
    ("vpn", 2304),
];
/// Budget of a part without one in [`BUDGETS`], in bytes.
const OTHER_BYTES: usize = 384;

/// Returns the update that reports `state` in at most `budget` bytes of the document.
pub(crate) fn update(
    document: &Document,
    mut state: Map<String, Value>,
    budget: usize,
) -> Map<String, Value> {
    // Before the reduction: a number for which there is no room has not fallen.
    release_numbers::note_fallen(&mut state, &document.reported);
    for key in MOVED {
        state.insert(key.into(), Value::Null);
    }
    let room = document.room(&state, DESIRED_BYTES).max(MIN_BUDGET_BYTES);
    let budget = budget.clamp(MIN_BUDGET_BYTES, room);
    document.update_with(fit(state, budget.saturating_sub(NOTES_BYTES)), rank)
}

/// Reduces each part to its budget and to what the more important parts leave.
fn fit(mut state: Map<String, Value>, budget: usize) -> Map<String, Value> {
    let mut parts: Vec<_> = state.keys().cloned().collect();
    parts.sort_by_key(|name| rank(name));
    let (mut left, mut shortened) = (budget, Vec::new());
    for name in parts {
        let Some(value) = state.get_mut(&name).filter(|v| !v.is_null()) else {
            continue;
        };
        let limit = budget_of(&name).min(left.saturating_sub(name.len() + 4));
        if bounds::reduce(value, limit) {
            shortened.push(name.clone());
        }
        if !value.is_null() {
            left = left.saturating_sub(entry_bytes(&name, value));
        }
    }
    let mut notes = json!(shortened);
    bounds::reduce(&mut notes, NOTES_BYTES - 40);
    let notes = notes.as_array().filter(|notes| !notes.is_empty());
    state.insert("shortened".into(), json!(notes));
    state
}

pub(super) fn budget_of(name: &str) -> usize {
    let budget = BUDGETS.iter().find(|(part, _)| *part == name);
    budget.map_or(OTHER_BYTES, |(_, bytes)| *bytes)
}

/// Returns the place of a part in the order of importance.
fn rank(name: &str) -> usize {
    let others = BUDGETS.len() - 1;
    match BUDGETS.iter().position(|(part, _)| *part == name) {
        Some(place) if place >= others => place + 1,
        Some(place) => place,
        None => others,
    }
}
