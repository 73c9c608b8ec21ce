//! `edge-app deploy` to many devices: one after another, and at once.
//!
//! The devices have the real sshd and sudo rule; a pull and a switch are a
//! stand-in's and take as long as they are told, since this machine could not
//! run so many engines. What is measured is what edge-app and ssh make of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file, log};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cloud::HOST;
use crate::namespaces::Fleet;
use crate::process::{going_on, notice_signals};
use crate::testbed::push_image;

/// Arguments of `bench devices`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the programs, built for release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// How many
    #[arg(long, default_value_t = 20)]
    devices: usize,
    /// Seconds that a pull takes, and again the switch: one without a health
    /// check is watched for five seconds
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// Prints the table.
///
/// # Errors
/// Something that is measured does not work.
pub fn run(args: &Args) -> Result<()> {
    notice_signals()?;
    let cloud = Cloud::up()?;
    let fleet = Fleet::start(args.devices, &std::env::current_exe()?)?;
    push_image(cloud.0.path(), &cloud.registry()?)?;
    let project = project(&cloud, &fleet)?;
    println!(
        "{} devices; a pull takes {seconds} s and a switch {seconds} s.\n",
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
    println!("| devices at a time | most under way, by the devices | s | times faster |");
    println!("|--:|--:|--:|--:|");
    let mut one = None;
    for jobs in [1, 5, args.devices] {
        going_on()?;
        fleet.forget()?;
        let time = deploy(args, &project, &cloud, jobs)?;
        let one = *one.get_or_insert(time);
        println!(
            "| {jobs} | {} | {:.1} | {:.1} |",
            fleet.most_at_once()?,
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

/// A project whose one app is `hello`.
fn project(cloud: &Cloud, fleet: &Fleet) -> Result<TempDir> {
    let directory = tempfile::tempdir().context("making a directory")?;
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

/// A stand-in cloud without the AWS API, which ends when it is dropped.
struct Cloud(TempDir);

impl Cloud {
    fn up() -> Result<Self> {
        let cloud = Self(tempfile::tempdir().context("making a directory")?);
        cloud.command("up")?.arg("--no-aws").read()?;
        Ok(cloud)
    }

    fn command(&self, verb: &str) -> Result<std::process::Command> {
        let mut command = Root::system().command(std::env::current_exe()?);
        command.args(["cloud", verb, "--dir"]).arg(self.0.path());
        Ok(command)
    }

    fn value(&self, key: &str) -> Result<String> {
        let text = file::read(&self.0.path().join("endpoints.json"), 64 * 1024)?;
        let values: Value = serde_json::from_slice(&text)?;
        let value = values[key].as_str();
        Ok(value.with_context(|| format!("no {key}"))?.into())
    }

    /// Its registry, by a name that needs no proxy.
    fn registry(&self) -> Result<String> {
        Ok(self.value("registry")?.replace(HOST, "localhost"))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It is told on standard error, and nothing more can be done.
        let down = self.command("down").and_then(|mut c| c.run());
        if let Err(error) = down {
            log::warn(format_args!("{error:#}"));
        }
    }
}
