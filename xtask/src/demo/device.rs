//! Check of the test VM's boot order, from its journal.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::testbed::Testbed;

/// Units of the documented boot order, in which each must start after its predecessor.
const ORDER: [&str; 5] = [
    "edge-partition-setup.service",
    "data.mount",
    "edge-data.service",
    "edge-bootstrap.service",
    "edge-heartbeat.service",
];

/// Returns the seconds after boot at which each of the five units was started; an error
/// if one is missing or before its predecessor.
pub(super) fn boot_order(testbed: &Testbed) -> Result<String> {
    let journal =
        testbed.root("journalctl -b -o json --no-pager _PID=1 JOB_TYPE=start JOB_RESULT=done")?;
    // The chain of the last unit that stays active, since a oneshot that has ended is in
    // no chain. A chain shows only the unit that was last at each step, which after
    // formatting may be the partition's device unit; `--fuzz` also shows units that were
    // ready shortly before.
    let chain =
        testbed.root("systemd-analyze critical-chain --no-pager --fuzz=1min edge-data.service")?;
    for unit in &ORDER[..3] {
        ensure!(
            chain.contains(unit),
            "{unit} is not in the critical chain: {chain}"
        );
    }
    let failed = testbed.root("systemctl list-units --failed --plain --no-legend 'edge-*'")?;
    ensure!(failed.trim().is_empty(), "units failed: {failed}");
    let rules = testbed.root("nft list tables")?;
    ensure!(
        rules.contains("edge"),
        "edge-loopback set no rules: {rules}"
    );
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

/// Returns the microseconds after boot at which `unit` was first started, according to
/// the journal.
fn done(journal: &str, unit: &str) -> Option<u64> {
    let entries = journal
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let mut ours = entries.filter(|e| e["UNIT"] == unit);
    ours.next()?["__MONOTONIC_TIMESTAMP"].as_str()?.parse().ok()
}
