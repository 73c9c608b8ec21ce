//! Commands of edge-app, one module each, and the dispatch from the command line to them.

mod check;
mod consent;
mod containers;
mod deploy;
mod diff;
mod doctor;
mod keygen;
mod list;
mod network;
mod os;
mod push;
mod release;
mod release_number;
mod rollout;
mod status;
mod ticket;
mod verify;

use std::path::Path;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;

use crate::cli::args::{AppCommand, AppVersion, Args, Command, OtherCommand, ProjectCommand};
use crate::cli::pages;
use crate::commands::containers::Action;
use crate::exit_code::INTERRUPTED;
use crate::image::docker;
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::init;
use crate::sandbox;

/// Runs the command in `args`, with the project loaded if the command needs one.
pub(crate) fn run(args: Args) -> Result<()> {
    let directory = args.project.as_deref();
    match args.command {
        Command::App(command) => block_on(run_app(&Project::find(directory)?, command)),
        Command::Project(command) => block_on(run_project(&Project::find(directory)?, command)),
        Command::Other(command) => run_other(directory, command),
    }
}

/// Runs `work` until it ends or the user presses Ctrl-C. Dropping the future kills its
/// child processes and removes its temporary files; without the handler, SIGINT would
/// kill this process alone and leave both behind.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // One thread suffices: the commands mostly wait for ssh, docker and the registry, and
    // compression starts threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::error(INTERRUPTED, "interrupted")),
        }
    })
}

fn run_other(directory: Option<&Path>, command: OtherCommand) -> Result<()> {
    match command {
        OtherCommand::Init { name, template } => init::init(directory, &name, template),
        OtherCommand::Doctor(output) => {
            // `doctor` reports an invalid project as a failed check and continues.
            block_on(doctor::doctor(Project::find(directory), output.json))
        }
        OtherCommand::Keygen { file } => keygen::keygen(&file),
        OtherCommand::Completions { shell } => pages::print_completions(shell),
        OtherCommand::Man { directory } => pages::write_man_pages(&directory),
    }
}

async fn run_project(project: &Project, command: ProjectCommand) -> Result<()> {
    match command {
        ProjectCommand::List(output) => list::list(project, output.json).await,
        ProjectCommand::Status { targets, output } => {
            status::status(project, &targets.or_all(project)?, output.json).await
        }
        ProjectCommand::Logs {
            target,
            follow,
            tail,
        } => containers::logs(project, &target.app, &target.device, follow, tail).await,
        ProjectCommand::Group { command } => rollout::group::run(project, command).await,
        ProjectCommand::Rollout { command } => rollout::run(project, command).await,
        ProjectCommand::Network { command } => network::run(project, command).await,
        ProjectCommand::Os { command } => os::run(project, command).await,
        ProjectCommand::Ticket {
            command: Some(command),
            ..
        } => ticket::run(project, command).await,
        ProjectCommand::Ticket {
            device, options, ..
        } => ticket::give(project, &device.unwrap_or_default(), &options).await,
        ProjectCommand::Release { group, options } => {
            release::release(project, &group, &options).await
        }
        ProjectCommand::Bundle { group, options } => {
            release::bundle::bundle(project, &group, &options).await
        }
        ProjectCommand::Revoke {
            images,
            restore,
            options,
        } => release::revoke(project, &images, &restore, &options).await,
        ProjectCommand::Start(apps) => containers::act(project, &apps, Action::Start).await,
        ProjectCommand::Restart(apps) => containers::act(project, &apps, Action::Restart).await,
        ProjectCommand::Stop(apps) => containers::act(project, &apps, Action::Stop).await,
        ProjectCommand::Remove(apps) => containers::act(project, &apps, Action::Remove).await,
        ProjectCommand::Rollback { app, rollout } => {
            let names = rollout.targets.names(project)?;
            deploy::rollback(project, &app, &names, &rollout.limits, rollout.timeout).await
        }
    }
}

async fn run_app(project: &Project, command: AppCommand) -> Result<()> {
    match command {
        AppCommand::Build(requested) => {
            let (app, version) = load(project, &requested).await?;
            let image = project.image(&app.name, &version).await?;
            docker::build(&app, &image.to_string(), &project.config.platform).await?;
            println!("{image}");
            Ok(())
        }
        AppCommand::Push {
            app: requested,
            options,
        } => {
            let (app, version) = load(project, &requested).await?;
            for warning in app.spec.warnings() {
                log::warn(warning);
            }
            push::push(project, &app, &version, &options).await
        }
        AppCommand::Deploy {
            app: requested,
            rollout,
            allow_downgrade,
            force,
        } => {
            let (app, version) = load(project, &requested).await?;
            let options = deploy::Options {
                timeout: rollout.timeout,
                allow_downgrade,
                force,
            };
            let names = rollout.targets.names(project)?;
            deploy::deploy(project, &app, &version, &names, &rollout.limits, options).await
        }
        AppCommand::Check {
            app,
            devices,
            output,
        } => check::check(project, &app, devices.as_deref(), output.json).await,
        AppCommand::Diff {
            target,
            version,
            output,
        } => {
            let app = App::load(project, &target.app)?;
            let version = app.version(version.as_deref()).await?;
            diff::diff(project, &app, &version, &target.device, output.json).await
        }
        AppCommand::Sandbox { target, watch } => {
            sandbox::run(project, &target.app, &target.device, watch).await
        }
        AppCommand::Verify { app, version } => {
            let image = verify::image(project, &app, version.as_deref()).await?;
            verify::verify(project, &image).await
        }
    }
}

async fn load(project: &Project, requested: &AppVersion) -> Result<(App, String)> {
    let app = App::load(project, &requested.app)?;
    let version = app.version(requested.version.as_deref()).await?;
    Ok((app, version))
}
