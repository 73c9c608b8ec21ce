//! Reasons why an update did not stay, each with the evidence for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::slot::Slot;
use crate::variables::Stage;

/// Evidence of what ended an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Cause {
    /// The firmware did not look at the request: it is still there after a restart.
    NeverLeft,
    /// The firmware refused the request with a code.
    FirmwareRefused {
        /// Value of `BootChainFwStatus`.
        code: u32,
    },
    /// The request is gone, and the firmware neither refused nor tried it.
    SwitchIgnored,
    /// The firmware gave the slot up before its initial RAM disk ran.
    NeverStarted,
    /// The slot started and did not reach the end of its gate.
    Stopped {
        /// Last stage that was reached.
        after: Stage,
        /// Whether the hardware watchdog caused the last restart.
        watchdog: bool,
    },
    /// A check of the gate failed, or had not passed at the deadline.
    Health {
        /// Name of the check.
        check: String,
        /// Finding of the check.
        detail: String,
        /// Last lines of the journal of what failed, at most [`MAX_LINES`].
        #[serde(default)]
        lines: Vec<String>,
    },
    /// Somebody asked for the other slot.
    Operator,
    /// The root file system is not that of the slot which the firmware started.
    WrongRoot {
        /// Slot of the root file system.
        root: Slot,
    },
    /// A slot on trial found no journal of its update.
    JournalLost,
    /// The committed slot does not start any more.
    CommittedGone,
}

/// Maximum number of lines that [`Cause::Health`] quotes.
pub const MAX_LINES: usize = 20;
/// Length limit of a quoted line or detail, in characters.
pub const MAX_LINE_CHARS: usize = 200;

impl Cause {
    /// Creates a [`Cause::Health`] within the limits of the journal.
    pub fn health(check: &str, detail: &str, lines: &[String]) -> Self {
        let short = |text: &str| -> String {
            let clean = edge_common::log::printable(text);
            clean.chars().take(MAX_LINE_CHARS).collect()
        };
        let first = lines.len().saturating_sub(MAX_LINES);
        Self::Health {
            check: short(check),
            detail: short(detail),
            lines: lines[first..].iter().map(|l| short(l)).collect(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverLeft => f.write_str(
                "the firmware did not look at the request: it is still there after a restart",
            ),
            Self::FirmwareRefused { code } => {
                write!(f, "the firmware refused the slot, code {code}")?;
                match refusal(*code) {
                    Some(words) => write!(f, ": {words}"),
                    None => Ok(()),
                }
            }
            Self::SwitchIgnored => f.write_str(
                "the firmware ignored the request: it is gone, and the slot was not tried",
            ),
            Self::NeverStarted => {
                f.write_str("the slot was tried and never reached its initial RAM disk")
            }
            Self::Stopped { after, watchdog } => {
                write!(f, "the slot stopped after {}", after.words())?;
                match watchdog {
                    true => f.write_str(", and the watchdog restarted the device"),
                    false => Ok(()),
                }
            }
            Self::Health { check, detail, .. } => write!(f, "check {check}: {detail}"),
            Self::Operator => f.write_str("an operator asked for the other slot"),
            Self::WrongRoot { root } => write!(
                f,
                "the root file system is that of slot {root}, which the firmware did not start"
            ),
            Self::JournalLost => f.write_str("the journal of the update is not on /data any more"),
            Self::CommittedGone => f.write_str("the committed slot does not start any more"),
        }
    }
}

/// Returns what a code of `BootChainFwStatus` means, as edk2-nvidia r36.5 uses it.
fn refusal(code: u32) -> Option<&'static str> {
    Some(match code {
        2 => "the chain runs already",
        3 => "an update by capsule is pending",
        5 => "the chain was reset three times",
        9 => "the value is no chain",
        12 => "the chain did not start",
        14 => "BootNext is set",
        17 => "the boot configuration table does not allow it",
        _ => return None,
    })
}

/// Reason why an update did not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Evidence of the end of the update.
    pub cause: Cause,
    /// Slot that did not stay.
    pub slot: Slot,
    /// Digest of the OS that the slot had; absent if the journal was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Version of this OS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Starts of the slot that reached its initial RAM disk.
    pub attempts: u8,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; slot {}", self.cause, self.slot)?;
        if let Some(version) = &self.version {
            write!(f, ", version {version}")?;
        }
        write!(f, ", {} attempts", self.attempts)
    }
}
