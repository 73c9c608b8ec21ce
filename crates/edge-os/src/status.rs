//! Output of `edge-os status`.

use anyhow::Result;
use edge_common::Root;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::decide::{Decision, decide};
use crate::image::Running;
use crate::journal::{Phase, Recorded};
use crate::observe::observe;

/// Prints slot, version, phase and reason.
///
/// # Errors
/// The device has no slots, or the firmware's variables cannot be read.
pub(crate) fn print(root: &Root, backend: &impl Backend, as_json: bool) -> Result<()> {
    let status = status(root, backend)?;
    if as_json {
        println!("{status}");
        return Ok(());
    }
    let text = |key: &str| status[key].as_str().unwrap_or("unknown").to_string();
    println!("slot     {}", text("slot"));
    println!("version  {}", text("version"));
    println!("phase    {}", text("phase"));
    for (key, label) in [("update", "update"), ("reason", "reason")] {
        if let Some(words) = status[key].as_str() {
            println!("{label:8} {words}");
        }
    }
    for line in status["lines"].as_array().into_iter().flatten() {
        println!("         {}", line.as_str().unwrap_or_default());
    }
    Ok(())
}

fn status(root: &Root, backend: &impl Backend) -> Result<Value> {
    let observed = observe(root, backend)?;
    let recorded = Recorded::load(root);
    let decision = decide(&recorded, &observed);
    let damaged = match &recorded {
        Recorded::Damaged(why) => Some(why.clone()),
        _ => None,
    };
    let journal = recorded.journal();
    let (phase, reason) = match &decision {
        // The journal says what was; only a boot that was settled may be called by it.
        Decision::Settled => (phase(journal.phase), journal.back.clone()),
        Decision::Interrupted => ("interrupted", None),
        Decision::Ready => ("written", None),
        Decision::Awaiting => ("armed", None),
        Decision::Trial => ("trial", None),
        Decision::GoBack(reason) => ("going-back", Some(reason.clone())),
        Decision::CameBack(reason) => ("back", Some(reason.clone())),
        Decision::Stray(reason) => ("stray", Some(reason.clone())),
    };
    let lines = reason.as_ref().and_then(|r| match &r.cause {
        crate::reason::Cause::Health { lines, .. } => Some(lines.clone()),
        _ => None,
    });
    let update = journal
        .update
        .as_ref()
        .map(|u| format!("version {} in slot {}", u.release.version, u.target));
    Ok(json!({
        "v": 1,
        "slot": observed.root,
        "version": Running::load(root).ok().map(|r| r.version),
        "phase": phase,
        "update": update,
        "reason": reason.as_ref().map(ToString::to_string),
        "cause": reason.as_ref().map(|r| &r.cause),
        "digest": reason.as_ref().and_then(|r| r.digest.clone()),
        "lines": lines,
        "committed": journal.committed,
        "damaged": damaged,
    }))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Committed => "committed",
        Phase::Back => "back",
        _ => "idle",
    }
}
