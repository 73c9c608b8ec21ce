//! Commands of edge-os.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::command::CommandExt;
use edge_common::exit::{Failure, denied};
use edge_common::{Root, boot, file, log};

use crate::args::{Args, Command};
use crate::backend::{Backend, Tegra};
use crate::decide::{Decision, Observed, decide};
use crate::exit_code::PHASE;
use crate::gate::{self, Verdict};
use crate::journal::{Journal, Phase, Recorded, Update};
use crate::observe::observe;
use crate::reason::Cause;
use crate::settle::{self, After};
use crate::variables::{self, Noted, Stage, Variables};
use crate::{health, install, status};

/// Pause between two looks of the gate at the device's health.
const GATE_INTERVAL: Duration = Duration::from_secs(2);
/// Uptime after which a slot on trial is left even if its gate has begun: longer than the
/// gate's own deadline may be.
const LAST_DEADLINE: Duration = Duration::from_secs(70 * 60);
/// Program that restarts the device.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Runs a command on the running system, or below another root in tests.
///
/// # Errors
/// As the exit codes of `--help` say.
pub fn run(root: &Root, args: &Args) -> Result<ExitCode> {
    let backend = Tegra::new(root);
    let result = match &args.command {
        Command::Status { json } => status::print(root, &backend, *json),
        Command::Check(image) => install::check(root, &backend, image),
        Command::Install { image, no_restart } => {
            install::install(root, &backend, image).and_then(|()| restart_unless(root, *no_restart))
        }
        Command::Rollback => rollback(root, &backend),
        Command::Mark { stage } => mark(root, &backend, stage.stage()),
        Command::Settle => boot::recorded(root, "edge-os", || settle(root, &backend)),
        Command::Deadline => deadline(root, &backend),
    };
    result.map(|()| ExitCode::SUCCESS).map_err(denied)
}

/// Restarts the device. /data is synced first, since the restart may be cut short.
pub(crate) fn restart(root: &Root) -> Result<()> {
    log::info("restarting into the other slot");
    if let Ok(data) = std::fs::File::open(root.path("/data")) {
        rustix::fs::syncfs(&data).context("syncing /data")?;
    }
    root.command(SYSTEMCTL).arg("reboot").run()
}

fn restart_unless(root: &Root, stays: bool) -> Result<()> {
    match stays {
        true => {
            log::info("the next restart starts the new slot");
            Ok(())
        }
        false => restart(root),
    }
}

fn mark(root: &Root, backend: &impl Backend, stage: Stage) -> Result<()> {
    match variables::note(backend, stage)? {
        Noted::Continue => Ok(()),
        Noted::Restart => {
            log::warn("the attempts of the update are used up: the other slot starts again");
            // In the initial RAM disk there is no systemd yet: its script restarts.
            match stage {
                Stage::Initrd => Err(Failure::error(PHASE, "no attempt is left: restart")),
                _ => restart(root),
            }
        }
    }
}

fn settle(root: &Root, backend: &impl Backend) -> Result<()> {
    let observed = observe(root, backend)?;
    let after = settle::settle(root, backend, &observed)?;
    let after = match after {
        After::Gate => run_gate(root, backend, &observed)?,
        after => after,
    };
    match after {
        After::Restart => restart(root),
        After::Run | After::Gate => {
            if let Some(reason) = Recorded::load(root).journal().back {
                log::warn(format_args!("the newest update did not stay: {reason}"));
            }
            Ok(())
        }
    }
}

/// Compares the health of the slot on trial with that before, until it passes, fails, or
/// the deadline has come.
fn run_gate(root: &Root, backend: &impl Backend, observed: &Observed) -> Result<After> {
    let _ = variables::note(backend, Stage::Gate)?;
    let update = Recorded::load(root).journal().update;
    let before = update.map(|u| u.before).unwrap_or_default();
    let end = Instant::now() + gate::deadline(&before);
    loop {
        let (check, detail) = match gate::verdict(&before, &health::now(root, observed)) {
            Verdict::Passed { not_checked } => {
                settle::commit(root, backend, observed)?;
                for left_out in not_checked {
                    log::info(format_args!("not checked: {left_out}"));
                }
                log::info(format_args!("slot {} is committed", observed.root));
                return Ok(After::Run);
            }
            Verdict::Failed { check, detail } => (check, detail),
            Verdict::Waiting { check, detail } if Instant::now() >= end => {
                (check, format!("{detail}, until the deadline"))
            }
            Verdict::Waiting { .. } => {
                sleep(GATE_INTERVAL);
                continue;
            }
        };
        let cause = Cause::health(&check, &detail, &journal_lines(root));
        log::error(format_args!("the update does not stay: {cause}"));
        return settle::fail(root, backend, observed, cause);
    }
}

/// Returns the last lines of the system's journal with at least the priority of a warning.
fn journal_lines(root: &Root) -> Vec<String> {
    let mut command = root.command("/usr/bin/journalctl");
    command.args(["-b", "-p", "warning", "-n", "20", "-o", "cat", "--no-pager"]);
    let text = command.read().unwrap_or_default();
    text.lines().map(String::from).collect()
}

fn deadline(root: &Root, backend: &impl Backend) -> Result<()> {
    let variables = Variables::read(backend)?;
    let Some(trial) = variables
        .trial
        .filter(|t| Some(t.slot) == variables.started())
    else {
        return Ok(());
    };
    let uptime = file::read_text(&root.path("/proc/uptime"), 1024)?;
    let seconds = uptime.split('.').next().and_then(|s| s.parse().ok());
    let uptime = Duration::from_secs(seconds.context("reading /proc/uptime")?);
    let gate_has_begun = trial.stage >= Stage::Gate;
    if trial.stage == Stage::Passed || (gate_has_begun && uptime < LAST_DEADLINE) {
        return Ok(());
    }
    log::error(format_args!(
        "the update stopped after {}: the other slot starts again",
        trial.stage.words()
    ));
    match variables::go_back(backend, trial.slot)? {
        true => restart(root),
        false => Ok(()),
    }
}

fn rollback(root: &Root, backend: &impl Backend) -> Result<()> {
    let observed = observe(root, backend)?;
    let recorded = Recorded::load(root);
    let decision = decide(&recorded, &observed);
    let mut journal = recorded.journal();
    match decision {
        Decision::Trial => match settle::fail(root, backend, &observed, Cause::Operator)? {
            After::Restart => restart(root),
            _ => Err(Failure::error(
                PHASE,
                "the other slot does not start: nothing to return to",
            )),
        },
        Decision::Awaiting | Decision::Ready | Decision::Interrupted => {
            variables::disarm(backend)?;
            journal.update = None;
            journal.save_standing(root)?;
            log::info("the update is taken back");
            Ok(())
        }
        _ => return_to_previous(root, backend, journal, &observed),
    }
}

fn return_to_previous(
    root: &Root,
    backend: &impl Backend,
    mut journal: Journal,
    observed: &Observed,
) -> Result<()> {
    let target = observed.root.other();
    let Some(previous) = journal.previous.clone().filter(|p| p.slot == target) else {
        return Err(Failure::error(
            PHASE,
            "no update is under way, and the other slot has no OS that was committed",
        ));
    };
    log::info(format_args!(
        "returning to version {} in slot {target}",
        previous.release.version
    ));
    journal.update = Some(Update::new(target, previous.release, health::before(root)));
    journal.save(root, Phase::Written)?;
    settle::arm(root, backend, &observed.boot_id)?;
    restart(root)
}
