//! The commands, one module each, and the dispatch from the command line.

mod containers;
mod deploy;
mod diff;
mod doctor;
mod keygen;
mod list;
mod push;
mod status;
mod verify;

use std::path::Path;

use anyhow::Result;
use edge_common::exit::Failure;

use crate::cli::args::{Alone, Args, InProject, OfApp, Verb};
use crate::cli::pages;
use crate::exit_code::INTERRUPTED;
use crate::image::docker;
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::init;
use crate::sandbox;

/// Carries out the command of `args`.
pub(crate) fn run(args: Args) -> Result<()> {
    let directory = args.project.as_deref();
    match args.verb {
        Verb::App(verb) => wait(of_app(&Project::find(directory)?, verb)),
        Verb::Project(verb) => wait(in_project(&Project::find(directory)?, verb)),
        Verb::Alone(verb) => alone(directory, verb),
    }
}

/// Does `work` to its end, or until we are interrupted: dropping it ends its
/// processes and removes its files.
fn wait(work: impl Future<Output = Result<()>>) -> Result<()> {
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

fn alone(directory: Option<&Path>, verb: Alone) -> Result<()> {
    match verb {
        Alone::Init { name, template } => init::init(directory, &name, template),
        Alone::Doctor(json) => wait(doctor::doctor(Project::find(directory), json.json)),
        Alone::Keygen { file } => keygen::keygen(&file),
        Alone::Completions { shell } => pages::completions(shell),
        Alone::Man { directory } => pages::man(&directory),
    }
}

async fn in_project(project: &Project, verb: InProject) -> Result<()> {
    match verb {
        InProject::List(json) => list::list(project, json.json).await,
        InProject::Status { targets, json } => {
            status::status(project, &targets.or_all(project)?, json.json).await
        }
        InProject::Logs { at, follow, tail } => {
            containers::logs(project, &at.app, &at.device, follow, tail).await
        }
        InProject::Stop(at) => containers::stop(project, &at.app, &at.device).await,
        InProject::Remove(at) => containers::remove(project, &at.app, &at.device).await,
        InProject::Rollback { app, fleet } => {
            let names = fleet.targets.names(project)?;
            deploy::rollback(project, &app, &names, &fleet.limits, fleet.timeout).await
        }
    }
}

async fn of_app(project: &Project, verb: OfApp) -> Result<()> {
    let app = |name: &str| App::load(project, name);
    match verb {
        OfApp::Build(v) => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            let image = project.image(&app.name, &version).await?;
            docker::build(&app, &image.to_string(), &project.config.platform).await?;
            println!("{image}");
            Ok(())
        }
        OfApp::Push { app: v, options } => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            push::push(project, &app, &version, &options).await
        }
        OfApp::Deploy {
            app: v,
            fleet,
            allow_downgrade,
        } => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            let how = deploy::How {
                timeout: fleet.timeout,
                allow_downgrade,
            };
            let names = fleet.targets.names(project)?;
            deploy::deploy(project, &app, &version, &names, &fleet.limits, how).await
        }
        OfApp::Diff { at, version, json } => {
            let app = app(&at.app)?;
            let version = app.version(version.as_deref()).await?;
            diff::diff(project, &app, &version, &at.device, json.json).await
        }
        OfApp::Sandbox { at, watch } => sandbox::run(project, &at.app, &at.device, watch).await,
        OfApp::Verify { app, version } => {
            let image = verify::named(project, &app, version.as_deref()).await?;
            verify::verify(project, &image).await
        }
    }
}
