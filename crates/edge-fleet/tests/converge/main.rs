//! Loop of the release sets against the Jobs engine of the local cloud, in random schedules.
//!
//! `EDGE_SCHEDULES=FIRST+COUNT` selects the seeds; without it 2,000 are played. A failed
//! schedule is shrunk and printed with its seed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod checks;
mod cloud;
mod device;
mod dice;
mod faults;
mod heartbeat;
mod player;
mod schedule;
mod sets;

use faults::Fault;
use schedule::{Event, schedule, shrink};

/// Number of events of a schedule.
const EVENTS: usize = 120;
/// Seeds of the daily suite.
const SEEDS: (u64, u64) = (1, 2000);

/// Plays the schedule of a seed; returns the fault and the shrunk schedule.
fn violation(seed: u64, fault: Option<Fault>) -> Option<(String, Vec<Event>)> {
    let events = schedule(seed, EVENTS);
    let first = player::play(&events, fault).err()?;
    let shrunk = shrink(events, |events| player::play(events, fault).is_err());
    let message = player::play(&shrunk, fault).err().unwrap_or(first);
    Some((message, shrunk))
}

fn seeds() -> (u64, u64) {
    let Ok(range) = std::env::var("EDGE_SCHEDULES") else {
        return SEEDS;
    };
    let (first, count) = range
        .split_once('+')
        .expect("EDGE_SCHEDULES is not FIRST+COUNT");
    (first.parse::<u64>().unwrap() + 1, count.parse().unwrap())
}

#[test]
fn random_schedules_converge() {
    let (first, count) = seeds();
    let mut totals = player::Totals::default();
    for seed in first..first + count {
        match player::play(&schedule(seed, EVENTS), None) {
            Ok(played) => totals.add(&played),
            Err(_) => {
                let (message, events) = violation(seed, None).unwrap();
                panic!("seed {seed}: {message}\n{events:?}");
            }
        }
    }
    println!("seeds {first} to {}: {totals}", first + count - 1);
    if count >= SEEDS.1 {
        totals.assert_all_seen();
    }
}

#[test]
fn planted_faults_are_caught() {
    for fault in faults::CAUGHT {
        let found = (1..=3000).find_map(|seed| Some((seed, violation(seed, Some(fault))?)));
        let (seed, (message, events)) = found.unwrap_or_else(|| panic!("{fault:?} is not caught"));
        println!("{fault:?}: seed {seed}, {} events: {message}", events.len());
        assert!(events.len() < 40, "{fault:?}: {events:?}");
    }
}

/// Faults that the loop heals: it derives every action and report from the state, so that a
/// lost file or another order costs a repeated step, but never the end.
#[test]
fn other_planted_faults_heal() {
    for fault in faults::HEALED {
        for seed in 1..=150 {
            if let Some((message, events)) = violation(seed, Some(fault)) {
                panic!("{fault:?}, seed {seed}: {message}\n{events:?}");
            }
        }
    }
}
