//! Processes in the background: all of them, or none.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};

use crate::process::{self, Process, find};

/// How long a daemon may take to listen.
const LIMIT: Duration = Duration::from_secs(60);

/// Daemons that are stopped again unless [`Daemons::keep`] is called.
pub struct Daemons {
    dir: PathBuf,
    children: Vec<Child>,
    kept: bool,
}

impl Daemons {
    /// None yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            children: Vec::new(),
            kept: false,
        }
    }

    /// Starts a program, with its words in `<name>.log`.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(&mut self, program: &str, args: &[&str]) -> Result<()> {
        let path = find(program)?;
        let mut command = Root::system().command(path);
        self.spawn(program, command.args(args))
    }

    /// Starts this program again.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_ourselves(&mut self, args: &[&str]) -> Result<()> {
        let me = std::env::current_exe().context("finding this program")?;
        self.spawn("responder", Root::system().command(me).args(args))
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = File::create(self.dir.join(format!("{name}.log"))).context("making a log")?;
        let error = log.try_clone().context("making a log")?;
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

    /// Waits until something listens on `port`.
    ///
    /// # Errors
    /// A daemon ended, or nothing listens in time.
    pub fn wait_for(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            process::going_on()?;
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "a daemon ended: {status}; see the logs in {}",
                        self.dir.display()
                    );
                }
            }
            if start.elapsed() > LIMIT {
                bail!(
                    "nothing listens on port {port}; see the logs in {}",
                    self.dir.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Leaves them running and notes who they are.
    ///
    /// # Errors
    /// The note cannot be written; they are stopped then.
    pub fn keep(mut self) -> Result<()> {
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

/// Is all of it there?
pub fn running(dir: &Path) -> bool {
    let processes = processes(dir);
    !processes.is_empty() && processes.iter().all(Process::alive)
}

/// Stops all that is there and waits for its end.
///
/// # Errors
/// Something does not end.
pub fn stop(dir: &Path) -> Result<()> {
    process::stop(&processes(dir))?;
    let _ = fs::remove_file(dir.join("pids.json"));
    Ok(())
}

/// One line of a password file, bcrypt. The password goes through a pipe.
///
/// # Errors
/// `htpasswd` is missing.
pub fn htpasswd(user: &str, password: &str) -> Result<String> {
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
