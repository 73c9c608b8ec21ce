//! Break-glass ticket: permission of an engineer's key to do more on one device for a
//! time than the policy of the image permits.
//!
//! The document is canonical JSON, as a run specification is: keys in alphabetical order,
//! integers, no white space, so that exactly one text stands for one ticket. It is signed
//! under a payload type of its own (`edge_signature::dsse::Role::Ticket`). It has nothing
//! in common with the tickets of the authorization plugin, which permit one request of
//! edge-docker to the engine. See `docs/decisions/0034-break-glass-tickets.md`.

use anyhow::{Context, Result};
use edge_common::contract::limit::BREAK_GLASS_BYTES;
use edge_common::level::Level;
use edge_signature::valid_app;
use serde::{Deserialize, Serialize};

use crate::refusal::refuse;

/// Version of the format, the value of the key `v`.
pub const VERSION: u32 = 1;
/// Longest time that a ticket may last, in minutes.
pub const MAX_MINUTES: u32 = 480;
/// Value of `app` that stands for all apps.
pub const ALL_APPS: &str = "*";
/// Length of the ID: 128 bits in hexadecimal digits.
const ID_DIGITS: usize = 32;
/// Size limits in bytes.
const MAX_THING_BYTES: usize = 128;
const MAX_WHO_BYTES: usize = 64;
const MAX_REASON_BYTES: usize = 200;
/// Latest value of `not_after`, the end of 9999: the time can be printed.
const MAX_TIME: u64 = 253_402_300_799;

/// Level that a ticket raises to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicketLevel {
    /// [`Level::Operate`].
    Operate,
    /// [`Level::Debug`].
    Debug,
}

impl TicketLevel {
    /// Returns the level of commands.
    pub const fn level(self) -> Level {
        match self {
            Self::Operate => Level::Operate,
            Self::Debug => Level::Debug,
        }
    }
}

/// Break-glass ticket, in the order of the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassTicket {
    /// App whose containers the ticket covers, or [`ALL_APPS`].
    pub app: String,
    /// Random ID of 32 hexadecimal digits. A device takes each ID once.
    pub id: String,
    /// Level that the ticket raises to.
    pub level: TicketLevel,
    /// Time that the ticket lasts, in minutes.
    pub minutes: u32,
    /// Latest time at which a device takes the ticket, in seconds of Unix time.
    pub not_after: u64,
    /// Reason, for the ledger and the report of the device.
    pub reason: String,
    /// Name of the one device (thing name).
    pub thing: String,
    /// Version of the format.
    pub v: u32,
    /// Person who asks for the ticket.
    pub who: String,
}

impl BreakGlassTicket {
    /// Parses a ticket in its canonical form and checks every value.
    ///
    /// # Errors
    /// The text is oversized, not the canonical form, or has an unknown version or key, or
    /// a value is invalid.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > BREAK_GLASS_BYTES {
            return Err(refuse(format_args!(
                "ticket of {} bytes is refused: the limit is {BREAK_GLASS_BYTES}",
                bytes.len()
            )));
        }
        // The version is read first: a later format has keys that this program does not
        // know, and the version is the better reason.
        let context = "parsing a break-glass ticket";
        let version: Version = serde_json::from_slice(bytes).context(context)?;
        if version.v != VERSION {
            return Err(refuse(format_args!(
                "ticket of version {} is refused: this program knows version {VERSION}; use the \
                 edge-app of the device's release",
                version.v
            )));
        }
        let ticket: Self = serde_json::from_slice(bytes).context(context)?;
        if ticket.encode()? != bytes {
            return Err(refuse(
                "ticket is refused: it is not in the canonical form (sorted keys, no white space)",
            ));
        }
        ticket.check()?;
        Ok(ticket)
    }

    /// Returns the canonical form, which is signed.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        self.encode()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).context("encoding a break-glass ticket")
    }

    /// Refuses an invalid value.
    fn check(&self) -> Result<()> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let is_thing = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
        let wrong = if self.v != VERSION {
            Some(format!("v is {}, not {VERSION}", self.v))
        } else if self.id.len() != ID_DIGITS || !self.id.chars().all(is_hex) {
            Some(format!("id {:?} is not {ID_DIGITS} digits 0-9a-f", self.id))
        } else if self.app != ALL_APPS && !valid_app(&self.app) {
            Some(format!("app {:?} is neither an app nor *", self.app))
        } else if !(1..=MAX_MINUTES).contains(&self.minutes) {
            Some(format!(
                "minutes {} is not 1 to {MAX_MINUTES}",
                self.minutes
            ))
        } else if self.not_after > MAX_TIME {
            Some(format!("not_after {} is too late", self.not_after))
        } else if !(1..=MAX_THING_BYTES).contains(&self.thing.len())
            || !self.thing.chars().all(is_thing)
        {
            Some(format!("thing {:?} is not a thing name", self.thing))
        } else {
            text("who", &self.who, MAX_WHO_BYTES)
                .or_else(|| text("reason", &self.reason, MAX_REASON_BYTES))
        };
        match wrong {
            Some(wrong) => Err(refuse(format_args!("ticket is refused: {wrong}"))),
            None => Ok(()),
        }
    }
}

/// Returns what is wrong with a text for people, which appears on terminals and in logs.
fn text(name: &str, value: &str, limit: usize) -> Option<String> {
    if value.trim().is_empty() || value.len() > limit {
        return Some(format!("{name} has not 1 to {limit} bytes of text"));
    }
    // Marks of writing direction could make one text look like another.
    let is_invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    value
        .chars()
        .any(is_invisible)
        .then(|| format!("{name} contains an invisible character"))
}

/// Version of a ticket, read before the rest of it.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"app":"hello","id":"00112233445566778899aabbccddeeff","level":"debug","minutes":30,"not_after":1800000000,"reason":"camera is dark","thing":"edge-ai-1","v":1,"who":"anna"}"#;

    #[test]
    fn the_canonical_form_is_read_and_written() {
        let ticket = BreakGlassTicket::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(ticket.level.level(), Level::Debug);
        assert_eq!(ticket.to_bytes().unwrap(), GOOD.as_bytes());
        let all = GOOD.replace("\"hello\"", "\"*\"");
        assert_eq!(BreakGlassTicket::parse(all.as_bytes()).unwrap().app, "*");
        let longest = GOOD.replace(":30,", ":480,");
        assert!(BreakGlassTicket::parse(longest.as_bytes()).is_ok());
    }

    /// Replacements of which each makes the ticket invalid.
    const WRONG: [(&str, &str); 32] = [
        (":30,", ":481,"),
        (":30,", ":0,"),
        (":30,", ":-1,"),
        (":30,", ":30.0,"),
        (":30,", ":3e1,"),
        (":30,", ":\"30\","),
        (":30,", ":null,"),
        (":30,", ":4294967326,"),
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1", "\"v\":\"1\""),
        ("\"v\":1,", ""),
        ("\"v\":1", "\"v\":1,\"v\":1"),
        ("\"minutes\":30", "\"minutes\":30,\"minutes\":480"),
        ("\"minutes\":30", "\"minutes\":480,\"\\u006dinutes\":30"),
        ("\"who\":\"anna\"", "\"who\":\"anna\",\"x\":1"),
        ("{\"app\"", "{ \"app\""),
        ("hello", "hell\\u006f"),
        ("\"app\":\"hello\",", ""),
        ("hello", "Hello"),
        ("hello", "hello-previous"),
        ("hello", "../hello"),
        ("hello", "**"),
        ("debug", "look"),
        ("debug", "root"),
        ("debug", "Debug"),
        ("eeff", "eef"),
        ("eeff", "EEFF"),
        ("1800000000", "253402300800"),
        ("edge-ai-1", "edge-ai-*"),
        ("edge-ai-1", ""),
        ("camera", "camera\u{202e}"),
        ("anna", "an\\nna"),
    ];

    #[test]
    fn anything_else_is_refused() {
        let refused =
            |text: &str| assert!(BreakGlassTicket::parse(text.as_bytes()).is_err(), "{text}");
        for (from, to) in WRONG {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            refused(&text);
        }
        for end in 0..GOOD.len() {
            refused(&GOOD[..end]);
        }
        refused(&format!("{GOOD}\n"));
        refused(&format!("{GOOD}{GOOD}"));
        refused(&format!("[{GOOD}]"));
        refused(&GOOD.replace("camera", &"c".repeat(201)));
        refused(&GOOD.replace("anna", &"a".repeat(65)));
        refused(&"[".repeat(100_000));
        refused(&GOOD.replace("camera", &"c".repeat(100_000)));
        assert!(BreakGlassTicket::parse(&[0xff; 64]).is_err());
    }

    #[test]
    fn an_invalid_ticket_is_not_written() {
        let mut ticket = BreakGlassTicket::parse(GOOD.as_bytes()).unwrap();
        ticket.minutes = MAX_MINUTES + 1;
        assert!(ticket.to_bytes().is_err());
    }
}
