//! Several devices at once: which, how many at a time, when to stop, and what
//! became of each.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::exit::{Failure, code_of};
use edge_common::log;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};

use crate::exit_code::{NOT_RUNNING, PARTIAL, REFUSED, REGISTRY, SWITCHED_BACK, UNREACHABLE};
use crate::output::table;

/// Devices that are asked at a time.
const ASKED: usize = 20;

/// How many at once, and when to stop.
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

/// What became of a device.
pub(crate) struct Outcome<T> {
    /// Its name.
    pub(crate) device: String,
    /// Nothing if it was not started.
    pub(crate) result: Option<Result<T>>,
    time: Duration,
}

/// Does `work` for each of `names`; gives the outcomes in their order.
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
            time: Duration::ZERO,
        })
        .collect();
    let start = |(at, name): (usize, &String)| {
        let (work, begin) = (work(name.clone()), Instant::now());
        async move { (at, work.await, begin.elapsed()) }
    };
    let jobs = usize::try_from(limits.jobs).unwrap_or(usize::MAX);
    let mut under_way: FuturesUnordered<_> = waiting.by_ref().take(jobs).map(start).collect();
    let mut failures = 0;
    while let Some((at, result, time)) = under_way.next().await {
        failures += u32::from(result.is_err());
        outcomes[at].result = Some(result);
        outcomes[at].time = time;
        if failures < limits.max_failures {
            under_way.extend(waiting.next().map(start));
        }
    }
    outcomes
}

/// Asks all of `names`, whatever fails; gives the answers in their order.
pub(crate) async fn ask<T, F: Future<Output = Result<T>>>(
    names: &[String],
    question: impl Fn(String) -> F,
) -> Vec<(String, Result<T>)> {
    let ask = |(at, name): (usize, &String)| {
        let (name, answer) = (name.clone(), question(name.clone()));
        async move { (at, name, answer.await) }
    };
    let answers = stream::iter(names).enumerate().map(ask);
    let mut answers: Vec<_> = answers.buffer_unordered(ASKED).collect().await;
    answers.sort_by_key(|(at, ..)| *at);
    let named = |(_, name, answer)| (name, answer);
    answers.into_iter().map(named).collect()
}

/// Says how one device ended; with several, as each ends.
pub(crate) fn said(several: bool, device: &str, result: &Result<String>) {
    match result {
        Ok(words) if several => log::info(format_args!("{device}: {words}")),
        Err(error) if several => log::warn(format_args!("{error:#}")),
        _ => {}
    }
}

/// One device: its words, or its error. Several: a table, and an error if not
/// all are done.
///
/// # Errors
/// As the exit codes say.
pub(crate) fn report(mut outcomes: Vec<Outcome<String>>) -> Result<()> {
    if outcomes.len() == 1 {
        if let Some(result) = outcomes.pop().and_then(|o| o.result) {
            println!("{}", result?);
        }
        return Ok(());
    }
    let mut rows = Vec::new();
    let (mut failed, mut idle) = (0, 0);
    for outcome in &outcomes {
        let (word, detail) = match &outcome.result {
            None => ("not started", String::new()),
            Some(Ok(_)) => ("done", String::new()),
            Some(Err(error)) => (word(error), shorter(&outcome.device, error)),
        };
        failed += u32::from(matches!(outcome.result, Some(Err(_))));
        idle += u32::from(outcome.result.is_none());
        let time = format!("{:.1} s", outcome.time.as_secs_f32());
        let time = if outcome.result.is_some() {
            time
        } else {
            String::new()
        };
        rows.push(vec![outcome.device.clone(), word.into(), time, detail]);
    }
    table::print(&["DEVICE", "RESULT", "TIME", "WHY"], &rows);
    if failed == 0 {
        return Ok(());
    }
    let all = outcomes.len();
    let idle = if idle > 0 {
        format!(", {idle} not started: raise --max-failures, or mend those that failed")
    } else {
        String::new()
    };
    Err(Failure::error(
        PARTIAL,
        format_args!("{failed} of {all} devices failed{idle}"),
    ))
}

fn word(error: &anyhow::Error) -> &'static str {
    match code_of(error) {
        UNREACHABLE => "unreachable",
        REFUSED => "refused",
        SWITCHED_BACK => "switched back",
        NOT_RUNNING => "NOT RUNNING",
        REGISTRY => "registry",
        _ => "failed",
    }
}

/// The error without the device's name, which stands in its own column.
fn shorter(device: &str, error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.strip_prefix(device).unwrap_or(&text);
    let text = text.trim_start_matches([':', ' ']);
    let cut: String = text.chars().take(160).collect();
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

    fn block<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn no_more_than_the_limit_at_a_time_and_none_after_the_failures() {
        let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        let (now, most) = (Cell::new(0), Cell::new(0));
        let work = |name: String| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::task::yield_now().await;
                now.set(now.get() - 1);
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
        let outcomes = block(run(&names, &limits, work));
        assert_eq!(most.get(), 3);
        let started = outcomes.iter().filter(|o| o.result.is_some()).count();
        assert!((5..=7).contains(&started), "{started}");
        let broken = outcomes.iter().filter(|o| matches!(o.result, Some(Err(_))));
        assert_eq!(broken.map(|o| o.device.as_str()).collect::<Vec<_>>(), ["4"]);
        let limits = Limits {
            jobs: 20,
            max_failures: 2,
        };
        let outcomes = block(run(&names, &limits, work));
        assert!(outcomes.iter().all(|o| o.result.is_some()));
    }
}
