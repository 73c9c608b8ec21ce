//! Ledger: what was decided on this device, by whom, and why, in `/data/log/ledger`.
//!
//! A command that changes something appends a record before its effect, durably. Each
//! record holds the hash of the one before, and edge-heartbeat reports counter and hash
//! of the last one, so that nobody can change or remove a record unseen afterwards. The
//! ledger takes 64 MiB at most; what expires leaves its hash. A copy goes to the
//! journal. See `docs/decisions/0027-ledger.md`.

mod append;
mod caller;
pub(crate) mod events;
mod journal;
mod pending;
mod processes;
mod record;
mod redact;
mod refusals;
mod segments;
pub(crate) mod sessions;
pub(crate) mod show;
#[cfg(test)]
mod tests;
mod verify;

use std::cell::RefCell;

use anyhow::Result;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::{Root, boot, log, time};
use edge_docker_policy::identity::Identity;
use edge_signature::Verified;
use rustix::time::{ClockId, clock_gettime};

use self::caller::Caller;
use self::record::Entry;

/// Commands that act although the ledger cannot be written: they make room, stop what
/// must not run, or return to a network that works.
const ACT_WITHOUT: [&str; 12] = [
    "rm",
    "rmi",
    "system prune",
    "container prune",
    "image prune",
    "stop",
    "audit-stored",
    "check-layers",
    "replace --recover",
    "ticket end",
    "try-network",
    "restore-network",
];
/// Commands that act without it if a unit of the boot calls them: they name a container,
/// whose signature they have verified.
const UNITS_ACT_WITHOUT: [&str; 3] = ["start", "restart", "exec"];
/// Limits of fields in bytes.
const MAX_FIELD_BYTES: usize = 256;
const MAX_RULE_BYTES: usize = 512;

thread_local! {
    /// Arguments of the command that this thread carries out, without values. They are
    /// no parameter of each function between the command line and the place where the
    /// command is permitted.
    static ARGUMENTS: RefCell<(Vec<String>, u64)> = RefCell::default();
}

/// Result of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All checks have passed, and the command is about to be carried out.
    Allowed,
    /// The policy refused the request.
    Denied,
    /// The engine, the registry or the disk failed. Separate from `Denied`, so that a
    /// broken network does not look like an attempt to bypass the policy.
    Failed,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Command that was decided on, with the values that its record contains.
#[derive(Default)]
pub(crate) struct Decision<'a> {
    /// Name of the command, for example `run` or `system df`.
    pub(crate) verb: &'a str,
    /// Image reference as typed; empty if it is not known.
    pub(crate) image: &'a str,
    /// Verified identity of the image; `None` if the command does not verify one.
    pub(crate) identity: Option<&'a Identity>,
    /// Name of the container; empty if there is none.
    pub(crate) container: &'a str,
    /// Why the command is permitted; empty for the identity of the image.
    pub(crate) reason: &'a str,
}

/// Notes the arguments of the command that this thread is about to carry out.
pub(crate) fn begin(args: &[&str]) {
    let args: Vec<_> = args.iter().map(|arg| printable(arg)).collect();
    ARGUMENTS.set(redact::arguments(&args));
}

/// Records that the command `verb`, which verifies no image, is permitted. Called after
/// the last check and before the effect.
///
/// # Errors
/// The ledger cannot be written, and the command must not act without a record.
pub(crate) fn record(root: &Root, verb: &str) -> Result<()> {
    let decision = Decision {
        verb,
        ..Decision::default()
    };
    decision.record(root)
}

/// Records that an image is about to be pulled, also one that `run` needs.
///
/// # Errors
/// As of [`record`].
pub(crate) fn record_pull(root: &Root, image: &str, verified: &Verified) -> Result<()> {
    let annotations = &verified.annotations;
    let identity = Identity::Signed {
        app: annotations.app.clone(),
        version: annotations.version.clone(),
        grants: annotations.grants.clone(),
        root: Vec::new(),
        digest: verified.digest.clone(),
    };
    let decision = Decision {
        verb: "pull",
        image,
        identity: Some(&identity),
        ..Decision::default()
    };
    decision.record(root)
}

impl Decision<'_> {
    /// Records that the command is permitted, with the identity of the image as the
    /// rule, or `on the list` for a command that verifies no image.
    ///
    /// # Errors
    /// The ledger cannot be written, and the command must not act without a record.
    pub(crate) fn record(&self, root: &Root) -> Result<()> {
        let rule = match self.identity {
            _ if !self.reason.is_empty() => self.reason.into(),
            Some(Identity::Signed { app, version, .. }) => format!("signed as {app} {version}"),
            Some(Identity::Sandbox { app }) => format!("sandbox {app}"),
            None => "on the list".into(),
        };
        let entry = self.entry(root, Verdict::Allowed, &rule);
        let Err(error) = append::append(root, entry.clone()) else {
            return Ok(());
        };
        if !self.acts_without(entry.who.as_ref()) {
            return Err(Failure::error(
                REFUSED,
                format_args!(
                    "{} is refused, because the ledger cannot be written: {error:#}: only rm, \
                     rmi, prune and stop act without it; make room or see `edge-docker ledger`",
                    self.verb
                ),
            ));
        }
        log::warn(format_args!("the ledger cannot be written: {error:#}"));
        // Without memory for the record the device must still be repaired.
        if let Err(error) = pending::keep(root, &entry) {
            log::warn(format_args!("{error:#}"));
        }
        Ok(())
    }

    /// Returns whether the command may act without the ledger: to make room, or for a
    /// unit of the boot with a signed image.
    fn acts_without(&self, who: Option<&Caller>) -> bool {
        let is_signed = matches!(self.identity, Some(Identity::Signed { .. }));
        let is_for_units = is_signed || UNITS_ACT_WITHOUT.contains(&self.verb);
        ACT_WITHOUT.contains(&self.verb) || (is_for_units && who.is_some_and(Caller::is_unit))
    }

    /// Records a refused or failed command. An error is only logged: nothing has
    /// happened.
    pub(crate) fn record_failure(&self, root: &Root, verdict: Verdict, rule: &str) {
        let entry = self.entry(root, verdict, rule);
        journal::copy(root, &entry);
        // Without a ledger, for example on a developer's machine, there is nothing to
        // lose.
        let _ = append::append_limited(root, entry);
    }

    fn entry(&self, root: &Root, verdict: Verdict, rule: &str) -> Entry {
        let field = |text: &str| shortened(&printable(text), MAX_FIELD_BYTES);
        let (app, version, digest) = match self.identity {
            Some(Identity::Signed {
                app,
                version,
                digest,
                ..
            }) => (app.as_str(), version.as_str(), digest.as_str()),
            Some(Identity::Sandbox { app }) => (app.as_str(), "", ""),
            None => ("", "", ""),
        };
        let (args, args_omitted) = ARGUMENTS.with_borrow(Clone::clone);
        Entry {
            who: Some(Caller::of_this_process(root)),
            verb: field(self.verb),
            args,
            args_omitted,
            app: field(app),
            version: field(version),
            digest: field(digest),
            image: field(self.image),
            container: field(self.container),
            verdict: verdict.name().into(),
            rule: shortened(&printable(rule), MAX_RULE_BYTES),
            ..now()
        }
    }
}

/// Returns an empty entry with the time.
fn now() -> Entry {
    Entry {
        time: time::now(),
        boot: boot::id(&Root::system()),
        boot_ms: boot_ms(),
        ..Entry::default()
    }
}

/// Returns the time since the boot in milliseconds. The wall clock may be wrong and may
/// be set (`docs/decisions/0016-clock-boottime.md`).
fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanos / 1_000_000
}

/// Truncates `text` to at most `limit` bytes, with a mark.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.into();
    }
    let end = (0..=limit).rfind(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)])
}

/// Returns a record as one line for people.
fn line(entry: &Entry) -> String {
    let mut line = format!("{} {}", entry.verdict, entry.verb);
    if let Some(who) = &entry.who {
        line += &format!(" by {}", who.line());
    }
    for (name, value) in [
        ("container", &entry.container),
        ("image", &entry.image),
        ("digest", &entry.digest),
        ("rule", &entry.rule),
    ] {
        if !value.is_empty() {
            line += &format!(", {name} {value}");
        }
    }
    if !entry.args.is_empty() {
        line += &format!(": {}", entry.args.join(" "));
    }
    line
}
