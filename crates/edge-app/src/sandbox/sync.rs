//! Files straight into the directory of a sandbox: one process on the device serves
//! a whole session, and says when each batch is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::log;
use tar::{Builder, EntryType, Header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::device::ssh::Device;
use crate::output::progress::amount;
use crate::project::app::App;
use crate::project::config::Project;

/// As much goes in one batch, unless a single file is larger.
const BATCH: usize = 4 * 1024 * 1024;
/// Largest file, in bytes.
const LARGEST: u64 = 1 << 30;

/// `edge-docker sync` on a device.
pub(crate) struct Session<'a> {
    device: &'a Device,
    app: &'a App,
    pipe: Pipe,
}

struct Pipe {
    child: Child,
    to: ChildStdin,
    lines: BufReader<ChildStdout>,
}

/// What is to be sent: tar archives of some size.
#[derive(Default)]
struct Batch {
    archives: Vec<Vec<u8>>,
    builder: Option<Builder<Vec<u8>>>,
    files: usize,
    bytes: u64,
}

impl<'a> Session<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// Unreachable.
    pub(crate) async fn open(device: &'a Device, app: &'a App) -> Result<Self> {
        let pipe = Pipe::open(device, &app.name).await?;
        Ok(Self { device, app, pipe })
    }

    /// Sends everything that is mapped. What else is there stays.
    ///
    /// # Errors
    /// A file that cannot be read; the device's.
    pub(crate) async fn all(mut self) -> Result<()> {
        let paths = self.app.spec.sync.iter().map(|m| PathBuf::from(&m.local));
        self.pipe
            .send(self.device, self.app, &paths.collect())
            .await
    }
}

/// A session that is kept, and made anew when it was lost.
pub(crate) struct Keeper<'a> {
    project: &'a Project,
    name: &'a str,
    kept: Option<(Device, Pipe)>,
}

impl<'a> Keeper<'a> {
    /// Opens nothing yet.
    pub(crate) fn new(project: &'a Project, name: &'a str) -> Self {
        Self {
            project,
            name,
            kept: None,
        }
    }

    /// Sends `paths`, seen from the app's directory; all that is mapped when the
    /// session was lost.
    ///
    /// # Errors
    /// As [`Session`]'s.
    pub(crate) async fn send(&mut self, app: &App, paths: &BTreeSet<PathBuf>) -> Result<()> {
        let everything = app.spec.sync.iter().map(|m| PathBuf::from(&m.local));
        let everything: BTreeSet<_> = everything.collect();
        let (fresh, (device, mut pipe)) = match self.kept.take() {
            Some(kept) => (false, kept),
            None => {
                let device = Device::new(self.project, self.name)?;
                let pipe = Pipe::open(&device, &app.name).await?;
                (true, (device, pipe))
            }
        };
        pipe.send(&device, app, if fresh { &everything } else { paths })
            .await?;
        self.kept = Some((device, pipe));
        Ok(())
    }

    /// Makes the session, so that the first change does not wait for it.
    ///
    /// # Errors
    /// Unreachable.
    pub(crate) async fn open(&mut self, app: &App) -> Result<()> {
        let device = Device::new(self.project, self.name)?;
        let pipe = Pipe::open(&device, &app.name).await?;
        self.kept = Some((device, pipe));
        Ok(())
    }
}

impl Pipe {
    async fn open(device: &Device, app: &str) -> Result<Self> {
        let mut command = device.edge_docker(&["sync", app], false).await?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("starting ssh")?;
        Ok(Self {
            to: child.stdin.take().context("standard input")?,
            lines: BufReader::new(child.stdout.take().context("standard output")?),
            child,
        })
    }

    async fn send(&mut self, device: &Device, app: &App, paths: &BTreeSet<PathBuf>) -> Result<()> {
        let start = Instant::now();
        let mut batch = Batch::default();
        for path in paths {
            batch.add(app, path)?;
        }
        batch.close()?;
        for archive in &batch.archives {
            let mut line = String::new();
            let sent = self.to.write_all(archive).await;
            let sent = sent.and(self.to.flush().await);
            if sent.is_err() || self.lines.read_line(&mut line).await? == 0 {
                return Err(self.failed(device).await);
            }
        }
        let what = match paths.first() {
            Some(path) if paths.len() == 1 => path.display().to_string(),
            _ => format!("{} files", batch.files),
        };
        log::info(format_args!(
            "synced {what}, {}, in {} ms",
            amount(batch.bytes),
            start.elapsed().as_millis()
        ));
        Ok(())
    }

    async fn failed(&mut self, device: &Device) -> anyhow::Error {
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut said).await;
        }
        match self.child.wait().await {
            Ok(status) => match device.judge(status, said.trim()) {
                Err(error) => error,
                Ok(()) => anyhow::anyhow!("the device ended the session"),
            },
            Err(error) => error.into(),
        }
    }
}

impl Batch {
    /// Takes a file, all of a directory, or that something is gone. Links and what
    /// else is no file stay here.
    fn add(&mut self, app: &App, path: &Path) -> Result<()> {
        let Some(target) = app.spec.sync.iter().find_map(|m| m.target(path)) else {
            return Ok(());
        };
        let full = app.directory.join(path);
        let kind = match fs::symlink_metadata(&full) {
            Ok(data) => data.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.gone(&target);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", full.display()));
            }
        };
        if kind.is_dir() {
            let entries =
                fs::read_dir(&full).with_context(|| format!("reading {}", full.display()))?;
            let mut names = entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<Result<Vec<_>>>()?;
            names.sort();
            for name in names {
                self.add(app, &path.join(name))?;
            }
            return Ok(());
        }
        if !kind.is_file() {
            log::warn(format_args!(
                "not synced, not a regular file: {}",
                full.display()
            ));
            return Ok(());
        }
        self.file(&full, &target)
    }

    fn file(&mut self, full: &Path, target: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let context = || format!("reading {}", full.display());
        let data = fs::metadata(full).with_context(context)?;
        if data.len() > LARGEST {
            bail!("{} is larger than {}", full.display(), amount(LARGEST));
        }
        let content = match fs::read(full) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.with_context(context)?,
        };
        self.put(target, data.permissions().mode() & 0o777, &content)
    }

    fn gone(&mut self, target: &Path) -> Result<()> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        self.put(&target.with_file_name(format!(".wh.{name}")), 0o600, &[])
    }

    fn put(&mut self, target: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let builder = self.builder.get_or_insert_with(|| Builder::new(Vec::new()));
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, target, content)
            .context("packing files")?;
        self.files += 1;
        self.bytes += content.len() as u64;
        if builder.get_ref().len() > BATCH {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            self.archives
                .push(builder.into_inner().context("packing files")?);
        }
        Ok(())
    }
}
