//! Messages about refused units and ignored settings, collected for the log and for
//! `edge-docker why`.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::contract::limit::UNIT_REFUSALS_BYTES;
use edge_common::contract::path::UNIT_REFUSALS;
use edge_common::file;
use edge_common::log::printable;
use serde_json::json;

/// Maximum number of messages of one run. The kernel log is a ring buffer, so more
/// messages would overwrite those of the boot.
const MAX_MESSAGES: usize = 200;
/// Length limit of a message in the file, in characters.
const MAX_MESSAGE_CHARS: usize = 400;
/// Maximum number of messages about settings that are used.
const MAX_NOTES: usize = 20;

/// Messages of one run: the first [`MAX_MESSAGES`] and the number of all others.
#[derive(Default)]
pub(crate) struct Refusals {
    messages: Vec<String>,
    dropped: usize,
    notes: Vec<String>,
}

impl Refusals {
    pub(crate) fn push(&mut self, message: String) {
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push(message);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds a message about a setting that is used, as far as there is room.
    pub(crate) fn note(&mut self, message: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(message.into());
        }
    }

    /// Returns the messages about settings that are used.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    pub(crate) fn into_messages(self) -> Vec<String> {
        let mut messages = self.messages;
        if self.dropped > 0 {
            messages.push(format!("{} more messages are left out", self.dropped));
        }
        messages
    }
}

/// Writes the messages to a file beside the links, because engineers in production may
/// not read the kernel log. A generator writes to its own directories alone.
pub(crate) fn write(normal: &Path, messages: &[String]) -> Result<()> {
    let name = Path::new(UNIT_REFUSALS).file_name().unwrap_or_default();
    let path = normal.join(name);
    let shorten = |text: &String| -> String {
        let text = printable(text);
        text.chars().take(MAX_MESSAGE_CHARS).collect()
    };
    let messages: Vec<_> = messages.iter().map(shorten).collect();
    let text = json!({ "v": 1, "messages": messages }).to_string();
    debug_assert!(text.len() as u64 <= UNIT_REFUSALS_BYTES);
    // In memory: nothing to sync.
    file::put(&path, text.as_bytes(), 0o644).context("writing the refused units")
}
