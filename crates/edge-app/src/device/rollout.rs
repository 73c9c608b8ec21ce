//! Parallel work on several devices: limits, results, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::contract::deployment::RUNS_ALREADY;
use edge_common::exit::{Failure, code_of};
use edge_common::log;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};

use crate::exit_code::{NOT_RUNNING, PARTIAL, REFUSED, REGISTRY, ROLLED_BACK, UNREACHABLE};
use crate::output::table;

/// Maximum number of devices that are queried in parallel; each query costs an ssh
/// process with a handshake.
const PARALLEL_QUERIES: usize = 20;
/// Maximum number of characters of an error in the table, so that each row fits on a
/// screen.
const MAX_REASON_CHARS: usize = 160;

/// Number of devices at a time, and failures that end a rollout.
#[derive(clap::Args)]
pub(crate) struct Limits {
    /// Devices at a time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one())]
    jobs: u32,
    /// Start no more devices after this many failures
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one())]
    max_failures: u32,
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// Success of the work on one device.
pub(crate) struct Done {
    message: String,
    changed: bool,
}

impl Done {
    /// Returns the success of work that changed the device.
    pub(crate) fn changed(message: String) -> Self {
        Self {
            message,
            changed: true,
        }
    }

    /// Returns the success of work that found nothing to do.
    pub(crate) fn unchanged(message: String) -> Self {
        Self {
            message,
            changed: false,
        }
    }

    /// Returns the success that a device reports in its output; `message` is that of a
    /// deployment.
    pub(crate) fn parse(output: &str, message: String) -> Self {
        match output.lines().find(|line| line.contains(RUNS_ALREADY)) {
            Some(line) => Self::unchanged(log::printable(line)),
            None => Self::changed(message),
        }
    }
}

/// Result of the work on one device, for example of a deployment.
pub(crate) struct Outcome<T> {
    device: String,
    /// Result of the work; `None` if it was never started because others had failed.
    result: Option<Result<T>>,
    duration: Duration,
}

/// Runs `work` for each device in `names`, in parallel within `limits`; returns the
/// outcomes in the order of `names`.
pub(crate) async fn run<T, F: Future<Output = Result<T>>>(
    names: &[String],
    limits: &Limits,
    work: impl Fn(String) -> F,
) -> Vec<Outcome<T>> {
    let mut waiting = names.iter().enumerate();
    let mut outcomes: Vec<_> = names
        .iter()
        .map(|name| Outcome {
            device: name.clone(),
            result: None,
            duration: Duration::ZERO,
        })
        .collect();
    let start = |(index, name): (usize, &String)| {
        let (work, begin) = (work(name.clone()), Instant::now());
        async move { (index, work.await, begin.elapsed()) }
    };
    let jobs = usize::try_from(limits.jobs).unwrap_or(usize::MAX);
    let mut running: FuturesUnordered<_> = waiting.by_ref().take(jobs).map(start).collect();
    let mut failures = 0;
    while let Some((index, result, duration)) = running.next().await {
        failures += u32::from(result.is_err());
        outcomes[index].result = Some(result);
        outcomes[index].duration = duration;
        // After too many failures, work in progress continues: a device completes its
        // deployment in any case, and the result would be lost.
        if failures < limits.max_failures {
            running.extend(waiting.next().map(start));
        }
    }
    outcomes
}

/// Queries all devices in `names` in parallel, regardless of failures; returns the
/// answers in the order of `names`.
pub(crate) async fn query<T, F: Future<Output = Result<T>>>(
    names: &[String],
    query: impl Fn(String) -> F,
) -> Vec<(String, Result<T>)> {
    let start = |(index, name): (usize, &String)| {
        let (name, answer) = (name.clone(), query(name.clone()));
        async move { (index, name, answer.await) }
    };
    let answers = stream::iter(names).enumerate().map(start);
    // Unordered, so that an unreachable device does not delay the queries of others.
    let mut answers: Vec<_> = answers.buffer_unordered(PARALLEL_QUERIES).collect().await;
    answers.sort_by_key(|(index, ..)| *index);
    let named = |(_, name, answer)| (name, answer);
    answers.into_iter().map(named).collect()
}

/// Logs the result of one device as soon as its work ends, if there are several devices.
pub(crate) fn log_result(several: bool, device: &str, result: &Result<Done>) {
    match result {
        Ok(done) if several => log::info(format_args!("{device}: {}", done.message)),
        Err(error) if several => format!("{error:#}").lines().for_each(log::warn),
        // For a single device, `report` prints the message or returns the error.
        _ => {}
    }
}

/// Reports the results of a rollout. For one device: prints its message, or returns its
/// error with the original exit code. For several: prints a table, and returns an error
/// if any of them failed, with their exit code if all failed in the same way.
pub(crate) fn report(mut outcomes: Vec<Outcome<Done>>) -> Result<()> {
    if outcomes.len() == 1 {
        if let Some(result) = outcomes.pop().and_then(|o| o.result) {
            println!("{}", result?.message);
        }
        return Ok(());
    }
    table::print(
        &["DEVICE", "RESULT", "TIME", "WHY"],
        &outcomes.iter().map(row).collect::<Vec<_>>(),
    );
    let count = |test: fn(&Option<Result<Done>>) -> bool| {
        outcomes.iter().filter(|o| test(&o.result)).count()
    };
    let failed = count(|result| matches!(result, Some(Err(_))));
    let not_started = count(Option::is_none);
    if failed == 0 {
        return Ok(());
    }
    let rest = if not_started > 0 {
        format!(", {not_started} not started: repair those that failed, or raise --max-failures")
    } else {
        String::new()
    };
    let all = outcomes.len();
    Err(Failure::error(
        exit_code(&outcomes),
        format_args!("{failed} of {all} devices failed{rest}"),
    ))
}

/// Returns the exit code that every device failed with, else [`PARTIAL`].
fn exit_code(outcomes: &[Outcome<Done>]) -> u8 {
    let code = |outcome: &Outcome<Done>| match &outcome.result {
        Some(Err(error)) => Some(code_of(error)),
        _ => None,
    };
    let first = outcomes.first().and_then(code);
    let same = first.filter(|_| outcomes.iter().all(|outcome| code(outcome) == first));
    same.unwrap_or(PARTIAL)
}

fn row(outcome: &Outcome<Done>) -> Vec<String> {
    let (label, reason) = match &outcome.result {
        None => ("not started", String::new()),
        Some(Ok(Done { changed: false, .. })) => ("unchanged", String::new()),
        Some(Ok(_)) => ("done", String::new()),
        Some(Err(error)) => (result_label(error), reason(&outcome.device, error)),
    };
    let duration = match outcome.result {
        Some(_) => format!("{:.1} s", outcome.duration.as_secs_f32()),
        None => String::new(),
    };
    vec![outcome.device.clone(), label.into(), duration, reason]
}

fn result_label(error: &anyhow::Error) -> &'static str {
    match code_of(error) {
        UNREACHABLE => "unreachable",
        REFUSED => "refused",
        ROLLED_BACK => "rolled back",
        // In capitals, because of all results only this one leaves a device without the
        // app.
        NOT_RUNNING => "NOT RUNNING",
        REGISTRY => "registry",
        _ => "failed",
    }
}

/// Returns the error message, shortened, without the device name, which has its own
/// column in the table.
fn reason(device: &str, error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.strip_prefix(device).unwrap_or(&text);
    let text = text.trim_start_matches([':', ' ']);
    // Without the log of the app, whose lines are indented.
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    let text = lines.collect::<Vec<_>>().join("; ");
    let cut: String = text.chars().take(MAX_REASON_CHARS).collect();
    if cut.len() < text.len() {
        cut + "…"
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn the_exit_code_is_that_of_every_device() {
        let outcome = |code: Option<u8>| Outcome {
            device: "d".into(),
            result: Some(match code {
                Some(code) => Err(Failure::error(code, "why")),
                None => Ok(Done::changed(String::new())),
            }),
            duration: Duration::ZERO,
        };
        let code = |codes: &[Option<u8>]| {
            let outcomes: Vec<_> = codes.iter().map(|c| outcome(*c)).collect();
            let whole = report(outcomes);
            whole.map_or_else(|error| code_of(&error), |()| 0)
        };
        assert_eq!(code(&[None, None]), 0);
        assert_eq!(code(&[Some(REFUSED), Some(REFUSED)]), REFUSED);
        assert_eq!(code(&[Some(NOT_RUNNING); 3]), NOT_RUNNING);
        assert_eq!(code(&[Some(REFUSED), Some(UNREACHABLE)]), PARTIAL);
        assert_eq!(code(&[Some(REFUSED), None]), PARTIAL);
        let mut outcomes = vec![outcome(Some(REFUSED)), outcome(None)];
        outcomes[1].result = None;
        assert_eq!(code_of(&report(outcomes).unwrap_err()), PARTIAL);
    }

    #[test]
    fn limits_of_jobs_and_failures_hold() {
        let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        let (current, highest) = (Cell::new(0), Cell::new(0));
        let work = |name: String| {
            let (current, highest) = (&current, &highest);
            async move {
                current.set(current.get() + 1);
                highest.set(highest.get().max(current.get()));
                tokio::task::yield_now().await;
                current.set(current.get() - 1);
                if name == "4" {
                    anyhow::bail!("broken");
                }
                Ok(name)
            }
        };
        let limits = Limits {
            jobs: 3,
            max_failures: 1,
        };
        let outcomes = block_on(run(&names, &limits, work));
        assert_eq!(highest.get(), 3);
        let started = outcomes.iter().filter(|o| o.result.is_some()).count();
        assert!((5..=7).contains(&started), "{started}");
        let broken = outcomes.iter().filter(|o| matches!(o.result, Some(Err(_))));
        assert_eq!(broken.map(|o| o.device.as_str()).collect::<Vec<_>>(), ["4"]);
        let limits = Limits {
            jobs: 20,
            max_failures: 2,
        };
        let outcomes = block_on(run(&names, &limits, work));
        assert!(outcomes.iter().all(|o| o.result.is_some()));
    }
}
