//! Replaces: the `edge-app.sh` script.
//! Reads: `edge-app.yaml` of the project, `app.yaml` of an app, docker's images.
//! Writes: the registry; asks `edge-docker` on devices, over the user's `ssh`.
//! Runs when: a developer types it.
//! Exits: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the device, 7 signature, 8 switched back, 9 not
//! running, 10 some of several devices failed, 130 interrupted.

mod app;
mod args;
mod aws;
mod config;
mod deploy;
mod diff;
mod docker;
mod doctor;
mod fleet;
mod init;
mod layers;
mod list;
mod mirror;
mod pack;
mod pages;
mod progress;
mod push;
mod sandbox;
mod send;
mod sign;
mod ssh;
mod status;
mod sync;
mod table;
mod thin;
mod upload;
mod watch;

use std::path::Path;

use anyhow::Result;
use edge_common::exit::Failure;

use app::App;
pub use args::Args;
use args::{Alone, InProject, OfApp, Verb};
use config::Project;

/// Exit code: `edge-app.yaml` or `app.yaml` is absent or malformed.
pub const CONFIGURATION: u8 = 3;
/// Exit code: the registry, or AWS, refused or does not answer.
pub const REGISTRY: u8 = 4;
/// Exit code: ssh does not reach the device.
pub const UNREACHABLE: u8 = 5;
/// Exit code: the device refused.
pub const REFUSED: u8 = 6;
/// Exit code: a signature that cannot be made or does not verify.
pub const SIGNATURE: u8 = 7;
/// Exit code: the new version does not work; the old one is back.
pub const SWITCHED_BACK: u8 = 8;
/// Exit code: the new version does not work and nothing is in its place.
pub const NOT_RUNNING: u8 = 9;
/// Exit code: of several devices some failed.
pub const PARTIAL: u8 = 10;
const INTERRUPTED: u8 = 130;

/// Does what the command line asks for.
///
/// # Errors
/// As the exit codes say.
pub fn run(args: Args) -> Result<()> {
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
        Alone::Keygen { file } => sign::keygen(&file),
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
            deploy::logs(project, &at.app, &at.device, follow, tail).await
        }
        InProject::Stop(at) => deploy::stop(project, &at.app, &at.device).await,
        InProject::Remove(at) => deploy::remove(project, &at.app, &at.device).await,
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
            let image = push::named(project, &app, version.as_deref()).await?;
            push::verify(project, &image).await
        }
    }
}
