//! Results of executions, derived from the state.

use super::action::Save;
use super::disk::{Candidate, Details, Disk, Ended, Execution, Outcome, Phase, Results, Status};
use super::input::Input;

/// Number of results that are kept.
const MAX_RESULTS: usize = 32;
/// Size limit of a detail, in characters, equal to AWS's.
const MAX_DETAIL_CHARS: usize = 1024;

/// Returns the details of a status, within AWS's limits: values are one line, since AWS
/// refuses control characters, and empty ones are left out.
pub(super) fn details(pairs: &[(&str, &str)]) -> Details {
    let clean = |text: &str| {
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let line = lines.join(" | ");
        // The end of a log says more than its beginning.
        let skip = line.chars().count().saturating_sub(MAX_DETAIL_CHARS);
        line.chars().skip(skip).map(visible).collect::<String>()
    };
    let pairs = pairs
        .iter()
        .map(|(key, value)| (key.to_string(), clean(value)));
    pairs
        .filter(|(_, value)| !value.trim().is_empty())
        .collect()
}

/// Returns the results with the same status for some executions.
pub(super) fn with<'a>(
    results: &Results,
    executions: impl IntoIterator<Item = &'a Execution>,
    status: Status,
    details: &Details,
    input: &Input,
) -> Results {
    let mut results = results.clone();
    for execution in executions {
        results.results.retain(|r| r.execution != *execution);
        results.results.push(Outcome {
            execution: execution.clone(),
            status,
            details: details.clone(),
        });
    }
    let listed = |execution: &Execution| {
        let pending = input.jobs.iter().flat_map(|jobs| &jobs.pending);
        pending.into_iter().any(|p| p.execution == *execution)
    };
    while results.results.len() > MAX_RESULTS {
        // A result that AWS still waits for is the last one to go.
        let old = results.results.iter().position(|r| !listed(&r.execution));
        results.results.remove(old.unwrap_or(0));
    }
    results
}

/// Returns the results that end a candidate.
pub(super) fn end(
    candidate: &Candidate,
    disk: &Disk,
    status: Status,
    details: &Details,
    input: &Input,
) -> Save {
    let open = candidate.executions.iter();
    let open = open.filter(|execution| !disk.results.ended(execution));
    let mut results = with(&disk.results, open, status, details, input);
    results.last = Some(Ended {
        id: candidate.id.clone(),
        name: candidate.name.clone(),
        number: candidate.number,
        set: candidate.set.clone(),
        status,
        details: details.clone(),
    });
    Save::Results(results)
}

/// Returns whether a candidate has ended, and only its file is left.
pub(super) fn has_ended(candidate: &Candidate, disk: &Disk) -> bool {
    let mut executions = candidate.executions.iter();
    let last = disk.results.last.as_ref();
    last.is_some_and(|last| last.id == candidate.id && last.set == candidate.set)
        && executions.all(|execution| disk.results.ended(execution))
}

/// Returns the details of the progress of a candidate; `None` while AWS should show its
/// executions as queued, since the time limit of a job begins with IN_PROGRESS.
fn progress(candidate: &Candidate) -> Option<Details> {
    let phase = candidate.phase.name();
    let app = match &candidate.phase {
        Phase::Received | Phase::Checked => return None,
        Phase::Begun { attempts, .. } | Phase::Back { attempts, .. } => attempts.app.as_str(),
        _ => "",
    };
    Some(details(&[("phase", phase), ("app", app)]))
}

/// Returns the results after entries in progress were brought to the state of the candidate;
/// `None` if they agree.
pub(super) fn next(disk: &Disk, input: &Input) -> Option<Save> {
    let candidate = disk.candidate.as_ref();
    let progress = candidate.and_then(progress);
    let executions = candidate.map_or(&[][..], |candidate| &candidate.executions);
    let open: Vec<_> = (executions.iter())
        .filter(|execution| progress.is_some() && !disk.results.ended(execution))
        .collect();
    let stale = |r: &Outcome| r.status == Status::InProgress && !open.contains(&&r.execution);
    let told = |execution: &&Execution| {
        let known = disk.results.of(execution).map(|r| &r.details);
        known.is_some() && known == progress.as_ref()
    };
    if !disk.results.results.iter().any(stale) && open.iter().all(told) {
        return None;
    }
    let mut kept = disk.results.clone();
    kept.results.retain(|r| !stale(r));
    let progress = progress.unwrap_or_default();
    let changed = with(&kept, open, Status::InProgress, &progress, input);
    Some(Save::Results(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_line_within_the_limits() {
        let long = "é".repeat(2000);
        let details = details(&[("a", "x\n\n y\u{7}z \r\n"), ("b", " \n"), ("c", &long)]);
        assert_eq!(details["a"], "x | y z");
        assert!(!details.contains_key("b"));
        assert_eq!(details["c"].chars().count(), 1024);
    }
}
