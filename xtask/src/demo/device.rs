//! Boot order of the test VM, from its journal.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::testbed::Testbed;

/// The five steps of the documented boot order.
const ORDER: [&str; 5] = [
    "edge-partition-setup.service",
    "data.mount",
    "edge-data.service",
    "edge-bootstrap.service",
    "edge-heartbeat.service",
];

/// Returns the second at which each of the five steps was done; an error if one is
/// missing or before its predecessor.
pub(super) fn boot_order(testbed: &Testbed) -> Result<String> {
    let journal =
        testbed.root("journalctl -b -o json --no-pager _PID=1 JOB_TYPE=start JOB_RESULT=done")?;
    // Of the last one that stays: a oneshot that has ended is in no chain. A chain shows
    // only the unit that came last at each step, and after formatting that may be the
    // partition's device: with the fuzz it shows those shortly before, too.
    let chain =
        testbed.root("systemd-analyze critical-chain --no-pager --fuzz=1min edge-data.service")?;
    for unit in &ORDER[..3] {
        ensure!(
            chain.contains(unit),
            "{unit} is not in the critical chain: {chain}"
        );
    }
    let mut last = 0;
    let mut times = Vec::new();
    for unit in ORDER {
        let at =
            done(&journal, unit).with_context(|| format!("{unit} did not start in this boot"))?;
        if at < last {
            bail!("{unit} was done before the step that it follows");
        }
        last = at;
        let name = unit
            .split('.')
            .next()
            .unwrap_or(unit)
            .trim_start_matches("edge-");
        times.push(format!("{name} {}.{}", at / 1_000_000, at / 100_000 % 10));
    }
    Ok(times.join(", "))
}

/// Microseconds since boot at which `unit` was started for the first time.
fn done(journal: &str, unit: &str) -> Option<u64> {
    let entries = journal
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let mut ours = entries.filter(|e| e["UNIT"] == unit);
    ours.next()?["__MONOTONIC_TIMESTAMP"].as_str()?.parse().ok()
}
