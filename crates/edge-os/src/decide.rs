//! Meaning of a start of the device for an update: a pure function of the journal, the
//! firmware's variables and the partition of the root file system. RAUC's own status is
//! never asked: it is not proof of anything after a power loss.

use crate::journal::{Journal, Phase, Recorded, Update};
use crate::reason::{Cause, Reason};
use crate::slot::Slot;
use crate::variables::{ATTEMPTS, Stage, Trial, Variables};

/// Observations of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Slot of the root file system, by the name of its partition.
    pub root: Slot,
    /// Identifier of the boot.
    pub boot_id: String,
    /// Whether the hardware watchdog caused the last restart.
    pub watchdog: bool,
    /// Variables of the firmware.
    pub variables: Variables,
}

/// Meaning of a start for the newest update.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// There is no update, or it has ended.
    Settled,
    /// The other slot was not written to its end.
    Interrupted,
    /// The other slot is complete, and the firmware was not asked for it.
    Ready,
    /// The device restarts into the other slot next.
    Awaiting,
    /// The new slot runs: its gate decides.
    Trial,
    /// The device has to leave the slot that it runs.
    GoBack(Reason),
    /// The old slot runs again.
    CameBack(Reason),
    /// A slot runs that did not pass its gate, because the firmware has no other.
    Stray(Reason),
}

/// Decides what a start means.
pub fn decide(recorded: &Recorded, observed: &Observed) -> Decision {
    match recorded {
        Recorded::Known(journal) => match &journal.update {
            Some(update) => of_update(journal.phase, update, observed),
            None => without_update(journal, observed),
        },
        Recorded::Absent | Recorded::Damaged(_) => without_journal(observed),
    }
}

fn of_update(phase: Phase, update: &Update, observed: &Observed) -> Decision {
    let target = update.target;
    let started = observed.variables.started();
    let on_target = observed.root == target;
    let reason = |cause| reason(cause, target, Some(update), observed);
    if phase == Phase::Fetching {
        return match on_target {
            true => Decision::Stray(reason(Cause::WrongRoot { root: target })),
            false => Decision::Interrupted,
        };
    }
    if let Some(cause) = &update.verdict {
        let reason = reason(cause.clone());
        return match (on_target, started == Some(target)) {
            (_, true) => Decision::GoBack(reason),
            (true, false) => Decision::Stray(reason),
            (false, false) => Decision::CameBack(reason),
        };
    }
    let wrong_root = || {
        reason(Cause::WrongRoot {
            root: observed.root,
        })
    };
    match (on_target, started == Some(target)) {
        (true, true) => Decision::Trial,
        (true, false) => Decision::Stray(wrong_root()),
        (false, true) => Decision::GoBack(wrong_root()),
        (false, false) => on_old_slot(phase, update, observed),
    }
}

fn on_old_slot(phase: Phase, update: &Update, observed: &Observed) -> Decision {
    let variables = &observed.variables;
    let back = |cause| Decision::CameBack(reason(cause, update.target, Some(update), observed));
    let requested = variables.trial.is_some_and(|t| t.slot == update.target);
    // An identifier that could not be read is that of no boot.
    if update.boot_id == observed.boot_id && !update.boot_id.is_empty() {
        return match phase == Phase::Armed && variables.next() == Some(update.target) {
            true => Decision::Awaiting,
            false => Decision::Ready,
        };
    }
    match evidence(update.target, observed) {
        // A request that was being made when the power was lost may have been followed.
        Some(cause) if phase != Phase::Written || requested => back(cause),
        None if phase != Phase::Written => back(Cause::SwitchIgnored),
        _ => Decision::Ready,
    }
}

/// Returns what shows that a slot was requested and did not stay, strongest first.
fn evidence(target: Slot, observed: &Observed) -> Option<Cause> {
    let variables = &observed.variables;
    let trial = variables.trial.filter(|t| t.slot == target);
    if let Some(trial) = trial.filter(|t| t.stage > Stage::None) {
        return Some(Cause::Stopped {
            after: trial.stage,
            watchdog: observed.watchdog,
        });
    }
    if variables.next() == Some(target) {
        return Some(Cause::NeverLeft);
    }
    // 0: the firmware followed a request; 1: it is about to.
    if let Some(code) = variables.fw_status.filter(|code| *code > 1) {
        return Some(Cause::FirmwareRefused { code });
    }
    // The slot was marked good before the trial was noted, so the firmware has marked it.
    if trial.is_some() && variables.unbootable(target) {
        return Some(Cause::NeverStarted);
    }
    None
}

fn without_update(journal: &Journal, observed: &Observed) -> Decision {
    let here = observed.root;
    if journal.committed.as_ref().is_some_and(|c| c.slot == here) {
        return Decision::Settled;
    }
    if let Some(back) = journal.back.as_ref().filter(|b| b.slot == here) {
        // The request was to be taken back, and the firmware was faster.
        let on_trial = observed.variables.trial.is_some_and(|t| t.slot == here);
        return match on_trial {
            true => Decision::GoBack(back.clone()),
            false => Decision::Stray(back.clone()),
        };
    }
    if let Some(committed) = &journal.committed {
        let release = &committed.release;
        return Decision::CameBack(Reason {
            cause: Cause::CommittedGone,
            slot: committed.slot,
            digest: Some(release.digest.clone()),
            version: Some(release.version.clone()),
            attempts: 0,
        });
    }
    match &journal.back {
        Some(_) => Decision::Settled,
        None => without_journal(observed),
    }
}

/// Decides by the variables alone.
fn without_journal(observed: &Observed) -> Decision {
    let Some(trial) = observed.variables.trial else {
        return Decision::Settled;
    };
    let lost = |cause| reason(cause, trial.slot, None, observed);
    if observed.root == trial.slot || observed.variables.started() == Some(trial.slot) {
        return Decision::GoBack(lost(Cause::JournalLost));
    }
    // With /data mounted, the slot left because it found no journal.
    let other = evidence(trial.slot, observed).filter(|_| trial.stage < Stage::Data);
    Decision::CameBack(lost(other.unwrap_or(Cause::JournalLost)))
}

fn reason(cause: Cause, slot: Slot, update: Option<&Update>, observed: &Observed) -> Reason {
    let trial = observed.variables.trial.filter(|t| t.slot == slot);
    Reason {
        cause,
        slot,
        digest: update.map(|u| u.release.digest.clone()),
        version: update.map(|u| u.release.version.clone()),
        attempts: trial.map_or(0, used),
    }
}

fn used(trial: Trial) -> u8 {
    ATTEMPTS.saturating_sub(trial.left)
}
