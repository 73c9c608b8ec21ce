//! Start and stop of the local cloud's daemons. If one of them fails to start, all
//! are killed.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};

use crate::host::find;
use crate::process::{self, Process};
use crate::signals;

/// Time in which a daemon must listen on its port after its start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Daemons that were started. Dropping the list kills them unless [`Daemons::keep`]
/// is called.
pub(crate) struct Daemons {
    dir: PathBuf,
    children: Vec<Child>,
    kept: bool,
}

impl Daemons {
    /// Creates an empty list of daemons, whose logs will be in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            children: Vec::new(),
            kept: false,
        }
    }

    /// Starts a daemon, with its output in `PROGRAM.log`.
    pub(crate) fn start(&mut self, program: &str, args: &[&str]) -> Result<()> {
        let path = find(program)?;
        let mut command = Root::system().command(path);
        self.spawn(program, command.args(args))
    }

    /// Starts the responder: another process of this program, with the arguments
    /// `args`.
    pub(crate) fn start_responder(&mut self, args: &[&str]) -> Result<()> {
        let edge_sim = std::env::current_exe().context("finding edge-sim")?;
        self.spawn("responder", Root::system().command(edge_sim).args(args))
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = File::create(self.dir.join(format!("{name}.log"))).context("creating a log")?;
        let error = log.try_clone().context("creating a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error)
            .process_group(0)
            .spawn();
        self.children
            .push(child.with_context(|| format!("starting {name}"))?);
        Ok(())
    }

    /// Waits until a daemon listens on `port`. The end of any daemon is an error.
    pub(crate) fn wait_for(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            signals::check()?;
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "a daemon ended: {status}; see the logs in {}",
                        self.dir.display()
                    );
                }
            }
            if start.elapsed() > START_TIMEOUT {
                bail!(
                    "nothing listens on port {port}; see the logs in {}",
                    self.dir.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Writes the PIDs of the daemons to `pids.json` and leaves the daemons
    /// running.
    pub(crate) fn keep(mut self) -> Result<()> {
        let processes: Result<Vec<_>> = self.children.iter().map(|c| Process::of(c.id())).collect();
        file::write(
            &self.dir.join("pids.json"),
            &serde_json::to_vec(&processes?)?,
            0o600,
        )?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.children.iter_mut().filter(|_| !self.kept) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn processes(dir: &Path) -> Vec<Process> {
    let text = file::read(&dir.join("pids.json"), 64 * 1024).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Returns whether all daemons of the local cloud in `dir` run.
pub(crate) fn running(dir: &Path) -> bool {
    let processes = processes(dir);
    !processes.is_empty() && processes.iter().all(Process::alive)
}

/// Stops the daemons of the local cloud in `dir` and waits for their end.
pub(crate) fn stop(dir: &Path) -> Result<()> {
    process::stop(&processes(dir))?;
    let _ = fs::remove_file(dir.join("pids.json"));
    Ok(())
}

/// Returns a line of an htpasswd file with the bcrypt hash of a password. htpasswd
/// receives the password through a pipe, since every user can read command lines.
pub(crate) fn htpasswd(user: &str, password: &str) -> Result<String> {
    let mut command = Root::system().command(find("htpasswd")?);
    command
        .args(["-inB", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("starting htpasswd")?;
    child
        .stdin
        .take()
        .context("standard input")?
        .write_all(password.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_string() + "\n")
}
