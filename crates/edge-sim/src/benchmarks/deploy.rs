//! Benchmark of `edge-app deploy` to many devices: one after another, and in
//! parallel.
//!
//! The devices have the real sshd and sudo rule but a scripted edge-docker, whose
//! `pull` and `replace` take a fixed time, since this machine could not run so many
//! container engines. The table shows the concurrency of edge-app and ssh.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file, log};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cloud::HOST;
use crate::namespaces::Fleet;
use crate::signals;
use crate::testbed::push_image;

/// Arguments of `edge-sim bench devices`, which measures parallel deployments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the programs of this repository, built with --release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Number of devices
    #[arg(long, default_value_t = 20)]
    devices: usize,
    /// Duration of each pull and each replace in seconds; the default is the time
    /// for which edge-docker watches a container without a health check
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// Runs the benchmark and prints a table with one row for each number of parallel
/// deployments.
pub(crate) fn run(args: &Args) -> Result<()> {
    signals::notice()?;
    let cloud = Cloud::up()?;
    let fleet = Fleet::start(args.devices)?;
    push_image(cloud.0.path(), &cloud.registry()?)?;
    let project = project(&cloud, &fleet)?;
    println!(
        "{} devices; a pull takes {seconds} s and a replace {seconds} s.\n",
        args.devices,
        seconds = args.seconds
    );
    for number in 0..args.devices {
        let seconds = args.seconds.to_string();
        file::write(
            &fleet.path(number, "/data/seconds"),
            seconds.as_bytes(),
            0o644,
        )?;
    }
    println!("| devices at a time | maximum under way, by the devices | s | times faster |");
    println!("|--:|--:|--:|--:|");
    let mut one = None;
    for jobs in [1, 5, args.devices] {
        signals::check()?;
        fleet.clear_records()?;
        let time = deploy(args, &project, &cloud, jobs)?;
        let one = *one.get_or_insert(time);
        println!(
            "| {jobs} | {} | {:.1} | {:.1} |",
            fleet.max_concurrent()?,
            time.as_secs_f64(),
            one.as_secs_f64() / time.as_secs_f64()
        );
    }
    Ok(())
}

fn deploy(args: &Args, project: &TempDir, cloud: &Cloud, jobs: usize) -> Result<Duration> {
    let mut command = Root::system().command(args.programs.join("edge-app"));
    command.args(["deploy", "hello", "--version=v1", "--all"]);
    command
        .arg(format!("--jobs={jobs}"))
        .current_dir(project.path());
    command.env("HTTPS_PROXY", cloud.value("proxy")?);
    command.env("NO_PROXY", "localhost");
    let start = Instant::now();
    command.read()?;
    Ok(start.elapsed())
}

/// Creates a project directory for edge-app with the app `hello` and the devices of
/// `fleet`.
fn project(cloud: &Cloud, fleet: &Fleet) -> Result<TempDir> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let put = |name: &str, text: &str| {
        let path = directory.path().join(name);
        file::create_directory(path.parent().unwrap_or(Path::new("")), 0o755)?;
        file::write(&path, text.as_bytes(), 0o644)
    };
    let config = json!({
        "registry": cloud.registry()?, "ca": cloud.0.path().join("ca.pem"),
        "credentials": {
            "username": "AWS", "password_file": cloud.value("registry_password_file")?,
        },
        "devices": fleet.config(),
    });
    put("edge-app.yaml", &config.to_string())?;
    put("hello/Dockerfile", "FROM scratch\n")?;
    put("hello/app.yaml", "name: hello\n")?;
    Ok(directory)
}

/// Local cloud without the AWS API, in a temporary directory. Dropping it stops the
/// daemons.
pub(super) struct Cloud(TempDir);

impl Cloud {
    /// Starts the local cloud.
    pub(super) fn up() -> Result<Self> {
        let cloud = Self(tempfile::tempdir().context("creating a temporary directory")?);
        cloud.command("up")?.arg("--no-aws").read()?;
        Ok(cloud)
    }

    fn command(&self, name: &str) -> Result<std::process::Command> {
        let mut command = Root::system().command(std::env::current_exe()?);
        command.args(["cloud", name, "--dir"]).arg(self.0.path());
        Ok(command)
    }

    /// Returns the path of a file of the local cloud.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a value of `endpoints.json`.
    pub(super) fn value(&self, key: &str) -> Result<String> {
        let text = file::read(&self.0.path().join("endpoints.json"), 64 * 1024)?;
        let values: Value = serde_json::from_slice(&text)?;
        let value = values[key].as_str();
        Ok(value
            .with_context(|| format!("endpoints.json has no {key}"))?
            .into())
    }

    /// Returns the cloud's repository with the host name `localhost`, which clients
    /// of this machine reach without the cloud's proxy.
    pub(super) fn registry(&self) -> Result<String> {
        Ok(self.value("registry")?.replace(HOST, "localhost"))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // `drop` cannot return the error, so the error is logged.
        let down = self.command("down").and_then(|mut c| c.run());
        if let Err(error) = down {
            log::warn(format_args!("{error:#}"));
        }
    }
}
