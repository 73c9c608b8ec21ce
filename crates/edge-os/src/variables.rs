//! State of the firmware that decisions depend on, and the changes that edge-os makes to
//! it, each in the order that a power loss may interrupt.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, NORMAL, UNBOOTABLE, Value, Variable};
use crate::slot::Slot;

/// Attempts of an update on trial. The firmware's own counter has as many.
pub const ATTEMPTS: u8 = 3;
/// Version of the form of [`Variable::Trial`].
const FORM: u8 = 1;

/// Stage of a start, in the order in which a start reaches them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Not even the initial RAM disk has run.
    #[default]
    None,
    /// The initial RAM disk has run.
    Initrd,
    /// The root file system is mounted.
    Root,
    /// systemd has started services.
    System,
    /// `/data` is mounted.
    Data,
    /// The gate has begun.
    Gate,
    /// The gate has passed.
    Passed,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Initrd,
        Self::Root,
        Self::System,
        Self::Data,
        Self::Gate,
        Self::Passed,
    ];

    /// Returns what has been reached, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Initrd => "the initial RAM disk",
            Self::Root => "the mount of its root",
            Self::System => "the start of systemd",
            Self::Data => "the mount of /data",
            Self::Gate => "the beginning of the gate",
            Self::Passed => "the end of the gate",
        }
    }
}

/// Content of [`Variable::Trial`], which exists only while an update is on trial. The
/// firmware's counter forgets at a power loss, this one does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Slot on trial.
    pub slot: Slot,
    /// Last stage that a start of the slot reached.
    pub stage: Stage,
    /// Attempts that are left.
    pub left: u8,
}

impl Trial {
    /// Returns the number that is kept in the variable.
    pub fn encode(self) -> u32 {
        let stage = Stage::ALL.iter().position(|s| *s == self.stage);
        let stage = u8::try_from(stage.unwrap_or_default()).unwrap_or_default();
        let slot = if self.slot == Slot::A { 0 } else { 1 };
        u32::from_le_bytes([self.left, stage, slot, FORM])
    }

    /// Parses the number of the variable; `None` if it has another form.
    pub fn decode(number: u32) -> Option<Self> {
        let [left, stage, slot, form] = number.to_le_bytes();
        let stage = *Stage::ALL.get(usize::from(stage))?;
        let slot = Slot::from_number(slot.into())?;
        (form == FORM && left <= ATTEMPTS).then_some(Self { slot, stage, left })
    }
}

/// Variables of the firmware at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// [`Variable::RedundancyLevel`] with its attributes.
    pub level: Option<Value>,
    /// [`Variable::Status`] of slot A and of slot B, as it is.
    pub status: [Option<Value>; 2],
    /// [`Variable::FwCurrent`].
    pub fw_current: Option<u32>,
    /// [`Variable::OsCurrent`].
    pub os_current: Option<u32>,
    /// [`Variable::FwNext`].
    pub fw_next: Option<u32>,
    /// [`Variable::FwStatus`].
    pub fw_status: Option<u32>,
    /// [`Variable::Trial`], unless it has another form.
    pub trial: Option<Trial>,
}

impl Variables {
    /// Reads all variables.
    ///
    /// # Errors
    /// The variables of the firmware cannot be read.
    pub fn read(backend: &impl Backend) -> Result<Self> {
        let number = |variable| backend.number(variable);
        Ok(Self {
            level: backend.get(Variable::RedundancyLevel)?,
            status: [
                backend.get(Variable::Status(Slot::A))?,
                backend.get(Variable::Status(Slot::B))?,
            ],
            fw_current: number(Variable::FwCurrent)?,
            os_current: number(Variable::OsCurrent)?,
            fw_next: number(Variable::FwNext)?,
            fw_status: number(Variable::FwStatus)?,
            trial: trial(backend)?,
        })
    }

    /// Returns the slot that the firmware has started.
    pub fn started(&self) -> Option<Slot> {
        self.os_current.and_then(Slot::from_number)
    }

    /// Returns the slot for which the firmware is asked at the next start.
    pub fn next(&self) -> Option<Slot> {
        self.fw_next.and_then(Slot::from_number)
    }

    /// Returns whether the firmware does not start a slot. An absent status is that of a
    /// slot which was never marked.
    pub fn unbootable(&self, slot: Slot) -> bool {
        let status = match slot {
            Slot::A => &self.status[0],
            Slot::B => &self.status[1],
        };
        let number = status.as_ref().map(|v| v.number());
        !matches!(number, None | Some(Some(NORMAL)))
    }
}

fn trial(backend: &impl Backend) -> Result<Option<Trial>> {
    let number = backend.get(Variable::Trial)?.and_then(|v| v.number());
    Ok(number.and_then(Trial::decode))
}

fn unbootable(backend: &impl Backend, slot: Slot) -> Result<bool> {
    let status = backend.get(Variable::Status(slot))?;
    Ok(!matches!(
        status.map(|v| v.number()),
        None | Some(Some(NORMAL))
    ))
}

/// Asks the firmware for a slot, on trial. The request itself comes last: after an
/// interruption before it, the running slot starts again.
///
/// # Errors
/// A variable cannot be written.
pub fn arm(backend: &impl Backend, target: Slot) -> Result<()> {
    backend.set(Variable::Status(target), NORMAL)?;
    // The firmware silently deletes a request while the result of an earlier one is there.
    backend.delete(Variable::FwStatus)?;
    // After both, so that whatever they say with a trial beside them is the firmware's.
    let trial = Trial {
        slot: target,
        stage: Stage::None,
        left: ATTEMPTS,
    };
    backend.set(Variable::Trial, trial.encode())?;
    backend.set(Variable::FwNext, target.number())
}

/// Takes back the request for a slot that has not been started yet.
///
/// # Errors
/// A variable cannot be deleted.
pub fn disarm(backend: &impl Backend) -> Result<()> {
    backend.delete(Variable::FwNext)?;
    backend.delete(Variable::Trial)
}

/// Asks the firmware for the other slot, and marks this one unbootable. Returns false,
/// and changes nothing, if the other slot is unbootable: a device that runs something is
/// better than one that starts nothing.
///
/// # Errors
/// A variable cannot be written.
pub fn go_back(backend: &impl Backend, from: Slot) -> Result<bool> {
    let other = from.other();
    if unbootable(backend, other)? {
        return Ok(false);
    }
    backend.set(Variable::Status(from), UNBOOTABLE)?;
    backend.delete(Variable::FwStatus)?;
    backend.set(Variable::FwNext, other.number())?;
    Ok(true)
}

/// Confirms the running slot to the firmware, which gives it up after a few starts
/// otherwise.
///
/// # Errors
/// The status or the counter cannot be set.
pub fn mark_good(backend: &impl Backend, running: Slot) -> Result<()> {
    // Before the status: an exhausted counter with a good status would be given up.
    backend.reset_counter()?;
    backend.set(Variable::Status(running), NORMAL)
}

/// Continuation of a start after a stage was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Noted {
    /// The start continues.
    Continue,
    /// The attempts are used up and the other slot was requested: the device restarts.
    Restart,
}

/// Notes that the running slot has reached a stage, if it is on trial. The initial RAM
/// disk takes one attempt; without attempts the firmware is asked for the other slot.
///
/// # Errors
/// The variables cannot be read or written.
pub fn note(backend: &impl Backend, stage: Stage) -> Result<Noted> {
    let started = backend.number(Variable::OsCurrent)?;
    let started = started.and_then(Slot::from_number);
    let Some(mut trial) = trial(backend)?.filter(|t| Some(t.slot) == started) else {
        return Ok(Noted::Continue);
    };
    // Only the commit is unfinished: power losses must not take the slot away any more.
    if trial.stage == Stage::Passed {
        return Ok(Noted::Continue);
    }
    if stage == Stage::Initrd {
        if trial.left == 0 && go_back(backend, trial.slot)? {
            return Ok(Noted::Restart);
        }
        trial.left = trial.left.saturating_sub(1);
        trial.stage = stage;
    } else if stage > trial.stage {
        trial.stage = stage;
    }
    backend.set(Variable::Trial, trial.encode())?;
    Ok(Noted::Continue)
}

/// Notes that a trial has passed its gate: from now on no start takes an attempt, so that
/// power losses before the end of the commit do not use up the last one.
///
/// # Errors
/// The variable cannot be written.
pub fn note_passed(backend: &impl Backend, slot: Slot) -> Result<()> {
    let trial = Trial {
        slot,
        stage: Stage::Passed,
        left: ATTEMPTS,
    };
    backend.set(Variable::Trial, trial.encode())
}
