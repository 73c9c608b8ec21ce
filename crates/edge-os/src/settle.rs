//! Actions of a start for an update, and the end of an update: each step leaves a state
//! from which the next start comes to the same end.

use anyhow::{Result, bail};
use edge_common::Root;

use crate::backend::{Backend, Variable};
use crate::decide::{Decision, Observed, decide};
use crate::floor;
use crate::journal::{Committed, Journal, Phase, Recorded};
use crate::reason::{Cause, Reason};
use crate::variables::{self, Variables};

/// Action that follows the start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum After {
    /// Nothing.
    Run,
    /// The gate decides.
    Gate,
    /// The device restarts into the other slot.
    Restart,
}

/// Brings the journal and the firmware's variables to the state that a start means.
///
/// # Errors
/// Journal or variables cannot be read or written.
pub fn settle(root: &Root, backend: &impl Backend, observed: &Observed) -> Result<After> {
    let recorded = Recorded::load(root);
    let decision = decide(&recorded, observed);
    let mut journal = recorded.journal();
    match decision {
        Decision::Settled => settled(root, backend, &journal, observed)?,
        Decision::Interrupted => {
            journal.update = None;
            journal.save_standing(root)?;
            settled(root, backend, &journal, observed)?;
        }
        Decision::Ready | Decision::Awaiting => variables::mark_good(backend, observed.root)?,
        Decision::Trial => {
            if journal.phase != Phase::Trial {
                journal.save(root, Phase::Trial)?;
            }
            return Ok(After::Gate);
        }
        Decision::GoBack(reason) => return leave(root, backend, journal, observed, reason),
        Decision::CameBack(reason) => came_back(root, backend, journal, observed, reason)?,
        Decision::Stray(reason) => stray(root, backend, journal, observed, reason)?,
    }
    Ok(After::Run)
}

/// Confirms the slot that runs for good, and finishes a commit that was interrupted.
fn settled(
    root: &Root,
    backend: &impl Backend,
    journal: &Journal,
    observed: &Observed,
) -> Result<()> {
    variables::mark_good(backend, observed.root)?;
    if let Some(committed) = &journal.committed {
        floor::raise(root, committed.release.number)?;
    }
    // A request that is still there is that of an update which has ended: the power was lost
    // between its journal and its variables, and the firmware would follow it.
    variables::disarm(backend)
}

fn leave(
    root: &Root,
    backend: &impl Backend,
    mut journal: Journal,
    observed: &Observed,
    reason: Reason,
) -> Result<After> {
    // The verdict first: after a power loss the next start knows why it has to leave.
    if let Some(update) = journal.update.as_mut().filter(|u| u.verdict.is_none()) {
        update.verdict = Some(reason.cause);
        journal.save(root, Phase::Trial)?;
    }
    if variables::go_back(backend, reason.slot)? {
        return Ok(After::Restart);
    }
    variables::mark_good(backend, observed.root)?;
    Ok(After::Run)
}

fn came_back(
    root: &Root,
    backend: &impl Backend,
    mut journal: Journal,
    observed: &Observed,
    reason: Reason,
) -> Result<()> {
    if reason.cause == Cause::CommittedGone {
        journal.committed = None;
    }
    journal.update = None;
    journal.back = Some(reason);
    journal.save(root, Phase::Back)?;
    // After the journal, because they are the evidence.
    variables::disarm(backend)?;
    backend.delete(Variable::FwStatus)?;
    variables::mark_good(backend, observed.root)
}

fn stray(
    root: &Root,
    backend: &impl Backend,
    mut journal: Journal,
    observed: &Observed,
    reason: Reason,
) -> Result<()> {
    if journal.back.as_ref() != Some(&reason) || journal.update.is_some() {
        journal.update = None;
        journal.back = Some(reason);
        journal.save(root, Phase::Back)?;
    }
    variables::disarm(backend)?;
    // It is all that the device has: without a confirmation the firmware would end in
    // its shell.
    variables::mark_good(backend, observed.root)
}

/// Commits the slot on trial, whose gate has passed.
///
/// # Errors
/// There is no trial, or journal or variables cannot be written.
pub fn commit(root: &Root, backend: &impl Backend, observed: &Observed) -> Result<()> {
    let mut journal = on_trial(root, observed)?;
    let Some(update) = journal.update.take() else {
        bail!("no update is on trial");
    };
    variables::note_passed(backend, update.target)?;
    variables::mark_good(backend, update.target)?;
    let committed = Committed {
        slot: update.target,
        release: update.release,
    };
    let number = committed.release.number;
    journal.previous = journal
        .committed
        .replace(committed)
        .filter(|c| c.slot != observed.root);
    journal.back = None;
    journal.save(root, Phase::Committed)?;
    floor::raise(root, number)?;
    backend.delete(Variable::Trial)
}

/// Ends the trial of the running slot with a reason. Returns what follows.
///
/// # Errors
/// There is no trial, or journal or variables cannot be written.
pub fn fail(
    root: &Root,
    backend: &impl Backend,
    observed: &Observed,
    cause: Cause,
) -> Result<After> {
    let mut journal = on_trial(root, observed)?;
    if let Some(update) = &mut journal.update {
        update.verdict = Some(cause);
    }
    journal.save(root, Phase::Trial)?;
    settle(root, backend, observed)
}

fn on_trial(root: &Root, observed: &Observed) -> Result<Journal> {
    let recorded = Recorded::load(root);
    match decide(&recorded, observed) {
        Decision::Trial => Ok(recorded.journal()),
        _ => bail!("no update is on trial"),
    }
}

/// Asks the firmware for the slot that was written, and notes that it was asked.
///
/// # Errors
/// Nothing was written, or the request cannot be made: it is taken back then.
pub fn arm(root: &Root, backend: &impl Backend, boot_id: &str) -> Result<()> {
    let mut journal = Recorded::load(root).journal();
    let Some(update) = journal
        .update
        .as_mut()
        .filter(|_| journal.phase == Phase::Written)
    else {
        bail!("no update is written: run edge-os install");
    };
    let target = update.target;
    update.boot_id = boot_id.into();
    journal.save(root, Phase::Written)?;
    let armed = variables::arm(backend, target).and_then(|()| {
        let read = Variables::read(backend)?;
        let trial = read.trial.is_some_and(|t| t.slot == target);
        if read.next() != Some(target) || read.unbootable(target) || !trial {
            bail!("the firmware did not keep the request for slot {target}");
        }
        Ok(())
    });
    if let Err(error) = armed {
        variables::disarm(backend)?;
        return Err(error);
    }
    journal.save(root, Phase::Armed)
}
