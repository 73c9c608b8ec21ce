//! Messages about refused units and ignored lines.

/// Most messages of one run. The kernel's log is a ring: more messages would push those
/// of the boot out of it.
const MAX_MESSAGES: usize = 200;

/// Messages of one run, a bounded number of them.
#[derive(Default)]
pub(crate) struct Refusals {
    messages: Vec<String>,
    dropped: usize,
}

impl Refusals {
    pub(crate) fn push(&mut self, message: String) {
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push(message);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn into_messages(self) -> Vec<String> {
        let mut messages = self.messages;
        if self.dropped > 0 {
            messages.push(format!("{} more messages are left out", self.dropped));
        }
        messages
    }
}
