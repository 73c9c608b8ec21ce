//! Newest records of the ledger, for commands that explain what has happened.

use edge_common::Root;
use edge_common::contract::path::LEDGER;

use super::record::{Entry, Record};
use super::segments;

/// Number of segments that are read, 1 MiB each: weeks of an ordinary device.
const MAX_SEGMENTS: usize = 2;

/// Record of the ledger, as far as an explanation needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    /// Time of the system clock, RFC 3339.
    pub(crate) time: String,
    /// User, key or unit that gave the command.
    pub(crate) who: String,
    /// Name of the command.
    pub(crate) verb: String,
    /// Arguments without the values of variables.
    pub(crate) args: Vec<String>,
    /// App of the verified image; empty if it is not known.
    pub(crate) app: String,
    /// Container as typed; empty if there is none.
    pub(crate) container: String,
    /// Whether the command was carried out: neither refused nor failed.
    pub(crate) is_allowed: bool,
    /// Whether the policy refused it.
    pub(crate) is_denied: bool,
    /// Why it was permitted, refused or failed.
    pub(crate) rule: String,
}

impl Event {
    fn of(entry: Entry) -> Self {
        Self {
            who: entry
                .who
                .as_ref()
                .map_or(String::new(), super::caller::Caller::line),
            is_allowed: entry.verdict == super::Verdict::Allowed.name(),
            is_denied: entry.verdict == super::Verdict::Denied.name(),
            time: entry.time,
            verb: entry.verb,
            args: entry.args,
            app: entry.app,
            container: entry.container,
            rule: entry.rule,
        }
    }
}

/// Returns the newest records, the newest first. Without a readable ledger there are none:
/// an explanation has other sources, too.
pub(crate) fn newest(root: &Root) -> Vec<Event> {
    let directory = root.path(LEDGER);
    let numbers = segments::list(&directory).unwrap_or_default();
    let mut events = Vec::new();
    for number in numbers.into_iter().rev().take(MAX_SEGMENTS) {
        let bytes = segments::read(&directory, number).unwrap_or_default();
        let lines = bytes.split(|b| *b == b'\n').rev();
        let entries = lines.filter_map(|line| Some(Record::decode(line)?.0.entry));
        let entries = entries.filter(|entry| entry.segment.is_none());
        events.extend(entries.map(Event::of));
    }
    events
}
