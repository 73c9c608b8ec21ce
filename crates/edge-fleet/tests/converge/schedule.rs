//! Schedules of events, and how a failed one is shrunk.

use super::dice::Dice;

/// Event with a number that decides its details, so that a schedule without some of its
/// events means the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub dice: usize,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.kind, self.dice)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One action of edge-fleet.
    Step,
    /// The timer of edge-fleet.
    Timer,
    /// edge-heartbeat reads the list.
    Sync,
    /// edge-heartbeat writes an older list once more.
    Stale,
    /// edge-heartbeat reports one result.
    Report,
    /// The network goes or comes.
    Net,
    /// A job for a new set.
    Job,
    /// A job for an older set.
    OldJob,
    /// A job whose document lies, or is garbage.
    Lie,
    Cancel,
    Force,
    Delete,
    /// Power loss; half of them in the middle of the next action.
    Cut,
    /// A person deploys.
    Deploy,
    /// A person stops an app.
    Stop,
    /// All holds end.
    Release,
    /// An engineer's command demands a new set.
    Command,
    /// An app ends by itself.
    Sicken,
    /// The next replacement fails.
    Flaky,
    /// The disk fills, or has room again.
    Full,
    /// Hours pass.
    Pass,
    /// The clock is set back.
    ClockBack,
    /// edge-docker's proofs are lost.
    Unproved,
}

const WEIGHTS: [(Kind, usize); 23] = [
    (Kind::Step, 110),
    (Kind::Timer, 6),
    (Kind::Sync, 14),
    (Kind::Stale, 2),
    (Kind::Report, 12),
    (Kind::Net, 5),
    (Kind::Job, 6),
    (Kind::OldJob, 3),
    (Kind::Lie, 1),
    (Kind::Cancel, 1),
    (Kind::Force, 2),
    (Kind::Delete, 2),
    (Kind::Cut, 6),
    (Kind::Deploy, 2),
    (Kind::Stop, 2),
    (Kind::Release, 3),
    (Kind::Command, 1),
    (Kind::Sicken, 2),
    (Kind::Flaky, 1),
    (Kind::Full, 1),
    (Kind::Pass, 3),
    (Kind::ClockBack, 1),
    (Kind::Unproved, 1),
];

/// Returns the schedule of a seed.
pub fn schedule(seed: u64, events: usize) -> Vec<Event> {
    let mut dice = Dice::new(seed);
    let sum: usize = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut event = || {
        let mut left = dice.below(sum);
        let kind = WEIGHTS.iter().find(|(_, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        Event {
            kind: kind.unwrap().0,
            dice: dice.below(1 << 20),
        }
    };
    (0..events).map(|_| event()).collect()
}

/// Removes events as long as the schedule still fails.
pub fn shrink(mut events: Vec<Event>, fails: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut size = events.len() / 2;
    while size > 0 {
        let mut at = 0;
        let before = events.len();
        while at < events.len() {
            let mut fewer = events.clone();
            fewer.drain(at..(at + size).min(events.len()));
            if fails(&fewer) {
                events = fewer;
            } else {
                at += size;
            }
        }
        if events.len() == before || size > 1 {
            size /= 2;
        }
    }
    events
}
