//! Dispatch of commands: one match over all variants of `Command` in
//! `edge_docker_policy::cli::commands`, so that a command without an implementation does
//! not compile.

mod copy;
mod exec;
mod explain;
mod help;
mod list;
mod operate;
mod passthrough;
mod prune;
mod set;
mod ssh_key;
mod storage_column;
mod tag;
mod ticket;
mod why;

use std::process::ExitCode;

use anyhow::Result;
use edge_common::Root;
use edge_common::level::{Level, RunMode};
use edge_common::policy::Policy;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::levels;
use edge_docker_policy::refusal::{Refusal, refuse};

use crate::image::{build, load, login, push};
use crate::ledger::{self, Decision, Verdict};
use crate::mounts::sync;
use crate::stored::{self, fsck};
use crate::{authz, caller, create, deploy, network, start};

/// Carries out the command in `args` and returns its exit code. A refusal or failure is
/// also recorded in the ledger.
pub(crate) fn run(root: &Root, args: &[&str]) -> Result<ExitCode> {
    ledger::begin(args);
    match args {
        [] | ["--help" | "-h", ..] => return done(help::print(&[])),
        ["--version" | "-v", ..] => {
            help::print_version();
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let (command, rest) = Command::find(args).inspect_err(|e| audit(root, args[0], e))?;
    caller::require_root(command, args)?;
    let result = carry_out(root, command, rest);
    let entry = command.entry();
    result.inspect_err(|error| {
        // Hidden commands are called by units and record their own decisions.
        // A look that failed is still no more than a look.
        if !entry.is_hidden() && (error.is::<Refusal>() || !entry.only_looks()) {
            audit(root, entry.name, error);
        }
    })
}

fn carry_out(root: &Root, command: Command, args: &[&str]) -> Result<ExitCode> {
    // In `exec`, a `--help` after the name of a container belongs to the command in it.
    if args.first() == Some(&"--help") {
        help::print_command(command);
        return Ok(ExitCode::SUCCESS);
    }
    require_level(root, command, args)?;
    let parsed = command.entry().parse(args)?;
    // A single thread: blocking work on a standard stream is done in separate threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    start::handle_signals();
    runtime.block_on(dispatch(root, command, &parsed))
}

/// Refuses a command that the policy of the device does not permit to this caller.
fn require_level(root: &Root, command: Command, args: &[&str]) -> Result<()> {
    // Hidden commands are called by systemd, before `/data` or the engine are there.
    if command.entry().is_hidden() {
        return Ok(());
    }
    match level(root) {
        Ok((level, mode)) => {
            let required = levels::require(command, args, level, mode);
            required.or_else(
                |refusal| match ticket::permits(root, command, args, mode)? {
                    true => Ok(()),
                    false => Err(refusal),
                },
            )
        }
        // Without a policy the strictest one holds: looking helps to find the cause.
        Err(unreadable) => {
            let required = levels::require(command, args, Level::Look, RunMode::Signed);
            required.map_err(|_| {
                let name = command.entry().name;
                refuse(format_args!(
                    "{name} is refused without a policy: {unreadable:#}"
                ))
            })
        }
    }
}

/// Returns the level of the caller and the origin of container settings, from the policy
/// of the device.
fn level(root: &Root) -> Result<(Level, RunMode)> {
    let policy = Policy::load(root)?;
    Ok((policy.engineer.max(caller::least_level(root)), policy.run))
}

/// Records a refused or failed command in the ledger, with the error as the rule.
fn audit(root: &Root, verb: &str, error: &anyhow::Error) {
    let verdict = match error.is::<Refusal>() {
        true => Verdict::Denied,
        false => Verdict::Failed,
    };
    let decision = Decision {
        verb,
        ..Decision::default()
    };
    decision.record_failure(root, verdict, &format!("{error:#}"));
}

/// Returns exit code 0 after the success of a command without exit codes of its own.
fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

async fn dispatch(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let args = &parsed.arguments[..];
    match command {
        Command::Run => create::run(root, args).await,
        Command::Create => done(create::create(root, args).await),
        Command::Explain => done(explain::run(root, args).await),
        Command::Replace => done(deploy::replace(root, args).await),
        Command::Rollback => done(deploy::rollback(root, args).await),
        Command::Exec => done(exec::run(root, parsed).await),
        Command::Copy => copy::run(root, parsed).await,
        Command::Remove => operate::remove(root, parsed).await,
        Command::Pull => done(deploy::repair::pull(root, parsed).await),
        Command::Push => done(push::run(root, args).await),
        Command::Login => done(login::login(root, parsed).await),
        Command::Logout => done(login::logout(root, args)),
        Command::Build => done(build::run(root, parsed).await),
        Command::Load => done(load::run(root, args).await),
        Command::Tag => done(tag::run(root, args).await),
        Command::Sync => done(sync::run(root, args)),
        Command::Fsck => done(fsck::run(root, args)),
        Command::Why => done(why::run(root, parsed).await),
        Command::Ledger => ledger::show::run(root, parsed),
        Command::Help => done(help::print(args)),
        Command::Start | Command::Restart | Command::Unpause => {
            operate::start(root, command, parsed).await
        }
        Command::Stop | Command::Kill | Command::Pause => {
            operate::stop(root, command, parsed).await
        }
        Command::SystemPrune | Command::ContainerPrune | Command::ImagePrune => {
            done(prune::run(root, command, parsed).await)
        }
        Command::Network => done(network::run(root, parsed)),
        Command::Set => done(set::run(root, parsed).await),
        Command::Ticket => done(ticket::run(root, parsed).await),
        Command::RemoveImage => prune::remove_images(root, parsed).await,
        Command::Wait => operate::wait(root, parsed).await,
        Command::Ps => list::containers(root, parsed),
        Command::Images => list::images(root, parsed),
        Command::Logs
        | Command::Top
        | Command::Stats
        | Command::Port
        | Command::Inspect
        | Command::Diff
        | Command::Version
        | Command::Info
        | Command::SystemDf
        | Command::SystemInfo
        | Command::History => done(passthrough::become_client(root, command, parsed)),
        Command::Authz => done(authz::serve(root)),
        Command::NoteSshKey => done(ssh_key::run(root, args)),
        Command::AuditStored
        | Command::CheckLayers
        | Command::TryNetwork
        | Command::RestoreNetwork => done(of_service_manager(root, command).await),
    }
}

/// Carries out a command that only systemd gives.
async fn of_service_manager(root: &Root, command: Command) -> Result<()> {
    let name = command.entry().name;
    caller::require_service_manager(root, name).inspect_err(|e| audit(root, name, e))?;
    ledger::record(root, name)?;
    match command {
        Command::CheckLayers => deploy::damaged::check(root).await,
        Command::TryNetwork => network::run_trial(root),
        Command::RestoreNetwork => network::restore(root),
        _ => stored::audit::run(root),
    }
}
