//! Environment of a demo or campaign: local cloud, test VM and build engine, which are
//! stopped at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Local cloud, test VM, edge-app project and build engine of one run, in a temporary
/// directory.
pub(crate) struct Testbed {
    directory: Option<tempfile::TempDir>,
    target: PathBuf,
    release: bool,
    docker_host: Option<String>,
    /// Digest of the deployed container image; empty until the image is pushed.
    pub(crate) digest: String,
}

impl Testbed {
    /// Creates the temporary directory without starting anything. With `release`, the
    /// device gets the programs of the release profile.
    pub(crate) fn new(release: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("edge-ai-").tempdir()?;
        Ok(Self {
            directory: Some(directory),
            target: shell::target()?,
            release,
            docker_host: None,
            digest: String::new(),
        })
    }

    /// Returns the path of `name` in the temporary directory of this run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let directory = self.directory.as_ref().map(tempfile::TempDir::path);
        directory.unwrap_or(Path::new("/nonexistent")).join(name)
    }

    /// Returns a command that runs `edge-sim` with these arguments.
    pub(crate) fn sim(&self, args: &[&str]) -> Command {
        let mut command = shell::command(self.target.join("debug/edge-sim"));
        command.args(args);
        command
    }

    /// Returns the command `edge-sim PART COMMAND --dir …` with the directory of the
    /// part, for example `vm`.
    pub(crate) fn part(&self, part: &str, command: &str) -> Command {
        let mut command = self.sim(&[part, command]);
        command.arg("--dir").arg(self.path(part));
        command
    }

    /// Returns a command that runs `edge-app` with these arguments in the project of this
    /// run.
    pub(crate) fn app(&self, args: &[&str]) -> Command {
        let mut command = shell::command(self.target.join("debug/edge-app"));
        command.args(args);
        self.enter_project(&mut command);
        command
    }

    /// Returns a command that runs `program` in the project of this run, with the programs
    /// of this workspace in the search path.
    pub(crate) fn in_project(&self, program: &str) -> Result<Command> {
        let mut command = shell::command(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = [self.target.join("debug")];
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)));
        command.env("PATH", path.context("extending PATH")?);
        self.enter_project(&mut command);
        Ok(command)
    }

    fn enter_project(&self, command: &mut Command) {
        command.current_dir(self.path("project"));
        command.stdin(Stdio::null());
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        // The host names of the local cloud's servers are known only to its proxy.
        if let Ok(proxy) = self.endpoint("proxy") {
            command.env("HTTPS_PROXY", proxy);
        }
    }

    /// Returns whether the device has the programs of the release profile.
    pub(crate) fn release(&self) -> bool {
        self.release
    }

    /// Returns the directory with the programs to be installed on the device.
    pub(crate) fn programs(&self) -> PathBuf {
        let profile = if self.release { "release" } else { "debug" };
        self.target.join(profile)
    }

    /// Returns a value from `endpoints.json` of the local cloud, for example a port.
    pub(crate) fn endpoint(&self, key: &str) -> Result<String> {
        value(&self.path("cloud/endpoints.json"), key)
    }

    /// Returns a value from `vm.json` of the test VM, for example its thing name.
    pub(crate) fn vm(&self, key: &str) -> Result<String> {
        value(&self.path("vm/vm.json"), key)
    }

    /// Returns an ssh command that runs `script` in the test VM as `host`: `vm` (user
    /// edge) or `vm-root`.
    pub(crate) fn ssh(&self, host: &str, script: &str) -> Result<Command> {
        let mut command = shell::command("ssh");
        command.arg("-F").arg(self.vm("ssh_config")?);
        command.args(["-o", "BatchMode=yes", host, "--", script]);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `script` in the test VM as root and returns its standard output.
    pub(crate) fn root(&self, script: &str) -> Result<String> {
        shell::read(&mut self.ssh("vm-root", script)?)
    }

    /// Uses the docker engine of this machine if it runs, or starts one for builds in a
    /// network namespace of its own.
    pub(crate) fn start_engine(&mut self) -> Result<String> {
        let info = ["info", "--format", "{{.ServerVersion}}"];
        let here = shell::output(shell::command("docker").args(info))?;
        if here.status.success() {
            return Ok("the one of this machine".into());
        }
        let up = shell::read(&mut self.part("engine", "up"))?;
        let host = up.trim().to_string();
        let docker = shell::read(shell::command("docker").args(["--host", &host]).args(info))?;
        self.docker_host = Some(host);
        Ok(format!("an own dockerd {}", docker.trim()))
    }

    /// Prints failed units and warnings from the test VM's journal after a failed step.
    pub(crate) fn explain(&self) {
        let Ok(journal) = self.root(
            "systemctl --failed --no-legend --plain; journalctl -b --no-pager -p warning -n 25",
        ) else {
            let console = fs::read_to_string(self.path("vm/console.log")).unwrap_or_default();
            let lines: Vec<_> = console.lines().collect();
            println!(
                "the end of the test VM's console:\n{}",
                lines[lines.len().saturating_sub(25)..].join("\n")
            );
            return;
        };
        println!("the test VM's journal, warnings and worse:\n{journal}");
    }

    /// Leaves everything running, and prints how to go on and how to remove everything.
    pub(crate) fn keep(mut self) -> Result<()> {
        let environment = self.environment()?;
        let file = self.path("env.sh");
        #[expect(clippy::disallowed_methods, reason = "a temporary file of the demo")]
        fs::write(&file, environment)?;
        let engine = self.docker_host.is_some();
        let (file, directory) = (file.display().to_string(), self.path(""));
        // From here on nothing is removed.
        let kept = self.directory.take().map(tempfile::TempDir::keep);
        let directory = kept.unwrap_or(directory);
        print!("{}", guide(&file, &directory.display().to_string(), engine));
        Ok(())
    }

    /// Returns a script for sh that goes to the project and sets the variables of
    /// [`Self::app`].
    fn environment(&self) -> Result<String> {
        let mut script = format!(
            "# Environment of this demo, for sh: `. FILE`.\ncd {}\nPATH={}:$PATH\n",
            self.path("project").display(),
            self.target.join("debug").display(),
        );
        if let Some(host) = &self.docker_host {
            script += &format!("export DOCKER_HOST={host}\n");
        }
        script += &format!("export HTTPS_PROXY={}\n", self.endpoint("proxy")?);
        Ok(script)
    }
}

/// Returns what a user can do with a demo that was kept in `directory`: one change of the
/// app from the build to the way back, a shell, and the end.
fn guide(environment: &str, directory: &str, engine: bool) -> String {
    let engine = if engine {
        format!("  edge-sim engine down --purge --dir {directory}/engine\n")
    } else {
        String::new()
    };
    format!(
        "\nLeft running. In a shell of your own, first\n  \
         . {environment}\n\
         which goes to the project and sets PATH, HTTPS_PROXY and DOCKER_HOST. Then, for example,\n\
         a changed app, and the way back:\n  \
         sed -i 's/hello from/good day from/' hello/app.yaml\n  \
         edge-app build hello --version v2\n  \
         edge-app push hello --version v2\n  \
         edge-app deploy hello vm --version v2\n  \
         edge-app status\n  \
         edge-sim vm ssh --dir {directory}/vm -- curl -s http://127.0.0.1:8080/\n  \
         edge-app rollback hello vm\n\
         A shell in the test VM, as user edge, or with --root:\n  \
         edge-sim vm ssh --dir {directory}/vm\n\
         The end:\n  \
         edge-sim vm stop --dir {directory}/vm\n  \
         edge-sim cloud down --dir {directory}/cloud\n\
         {engine}  \
         rm -r {directory}\n"
    )
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if self.directory.is_none() {
            return;
        }
        if self.path("vm").exists() {
            let _ = self.part("vm", "stop").arg("--kill").output();
        }
        if self.path("cloud").exists() {
            let _ = self.part("cloud", "down").output();
        }
        if self.path("engine").exists() {
            let _ = self.part("engine", "down").arg("--purge").output();
        }
    }
}

/// Calls `ask` every half second until it returns a value; an error after `limit`.
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < limit {
        shell::going_on()?;
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("{what}: nothing within {} s", limit.as_secs())
}

fn value(file: &Path, key: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let values: Value =
        serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    match &values[key] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => bail!("{} has no {key}", file.display()),
        other => Ok(other.to_string()),
    }
}
