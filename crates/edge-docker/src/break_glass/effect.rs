//! Ticket in effect, a file in `/run`: a restart of the device ends it.

use anyhow::{Context, Result};
use edge_common::contract::path::BREAK_GLASS;
use edge_common::level::Level;
use edge_common::{Root, boot, file, time};
use edge_docker_policy::break_glass::{ALL_APPS, BreakGlassTicket};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Mark of a ticket whose end is not complete. `edge-docker-ticket-end.path` starts the
/// service that waits for the end while the file exists.
const MARK: &str = "/run/edge-docker/break-glass-open";
/// Size limit of the file, in bytes.
const MAX_FILE_BYTES: u64 = 4096;
/// Version of the format of the file.
const VERSION: u32 = 1;

/// Ticket in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effect {
    v: u32,
    /// ID of the ticket.
    pub(crate) id: String,
    /// App that it covers, or `*`.
    pub(crate) app: String,
    /// Level that it raises to.
    #[serde(with = "name")]
    pub(crate) level: Level,
    /// Person who asked for it.
    pub(crate) who: String,
    /// Reason.
    pub(crate) reason: String,
    /// SHA-256 of the signer's public key.
    pub(crate) signer: String,
    /// End by the system clock, RFC 3339, for people.
    pub(crate) ends: String,
    /// End in milliseconds since the boot (CLOCK_BOOTTIME): nobody can set this clock.
    ends_ms: u64,
    /// Identifier of the boot.
    boot: String,
}

impl Effect {
    /// Returns the effect of a ticket that is taken now.
    pub(super) fn of(root: &Root, ticket: &BreakGlassTicket, signer: &str) -> Self {
        let seconds = u64::from(ticket.minutes) * 60;
        Self {
            v: VERSION,
            id: ticket.id.clone(),
            app: ticket.app.clone(),
            level: ticket.level.level(),
            who: ticket.who.clone(),
            reason: ticket.reason.clone(),
            signer: signer.into(),
            ends: time::rfc3339(edge_common::known_time::clock() + seconds),
            ends_ms: boot_ms() + seconds * 1000,
            boot: boot::id(root),
        }
    }

    /// Returns whether the ticket covers an app.
    pub(crate) fn covers(&self, app: &str) -> bool {
        self.app == ALL_APPS || (!app.is_empty() && self.app == app)
    }

    /// Returns the time that is left, in milliseconds.
    pub(crate) fn left_ms(&self) -> u64 {
        self.ends_ms.saturating_sub(boot_ms())
    }

    /// Puts the ticket into effect.
    pub(super) fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).context("writing the ticket")?;
        let path = root.path(BREAK_GLASS);
        file::create_directory(path.parent().unwrap_or(&path), 0o755)?;
        mark(root)?;
        file::write(&path, &text, 0o644)
    }
}

/// Returns the ticket in effect. A file of another boot, or one that cannot be read, is
/// none.
pub(crate) fn current(root: &Root) -> Option<Effect> {
    let text = file::read(&root.path(BREAK_GLASS), MAX_FILE_BYTES).ok()?;
    let effect: Effect = serde_json::from_slice(&text).ok()?;
    let is_valid = effect.v == VERSION && effect.boot == boot::id(root) && effect.left_ms() > 0;
    is_valid.then_some(effect)
}

/// Takes the ticket out of effect.
pub(super) fn remove(root: &Root) -> Result<()> {
    file::remove(&root.path(BREAK_GLASS)).map(drop)
}

/// Leaves the mark for the service that ends tickets.
pub(super) fn mark(root: &Root) -> Result<()> {
    let path = root.path(MARK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    file::put(&path, b"", 0o600)
}

/// Removes the mark: nothing is left to end.
pub(super) fn remove_mark(root: &Root) -> Result<()> {
    file::remove(&root.path(MARK)).map(drop)
}

fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanos / 1_000_000
}

/// Form of a level in the file: its name in `policy.json`.
mod name {
    use edge_common::level::Level;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(level: &Level, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(level.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
        Level::deserialize(from)
    }
}
