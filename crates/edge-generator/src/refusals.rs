//! Messages about refused units and ignored settings, collected for the log.

/// Maximum number of messages of one run. The kernel log is a ring buffer, so more
/// messages would overwrite those of the boot.
const MAX_MESSAGES: usize = 200;

/// Messages of one run: the first [`MAX_MESSAGES`] and the number of all others.
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
