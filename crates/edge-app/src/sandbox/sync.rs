//! Copies files into the data directory of a sandbox app on a device. A single process,
//! `edge-docker sync`, receives all batches of a session and confirms each of them:
//! starting a process for each change would take longer than the transfer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::contract::limit::SYNC_FILE_BYTES;
use edge_common::log;
use tar::{Builder, EntryType, Header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::device::ssh::Device;
use crate::output::progress::amount;
use crate::project::app::App;
use crate::project::config::Project;

/// Size in bytes at which a batch is complete; a large file can exceed it. The device
/// confirms each batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Sync session that copies all files under `sync` of `app.yaml` once.
pub(crate) struct Session<'a> {
    device: &'a Device,
    app: &'a App,
    pipe: Pipe,
}

/// Process `edge-docker sync` on a device, with its pipes.
struct Pipe {
    child: Child,
    stdin: ChildStdin,
    confirmations: BufReader<ChildStdout>,
}

/// Files to send, packed into tar archives of limited size.
#[derive(Default)]
struct Batch {
    archives: Vec<Vec<u8>>,
    builder: Option<Builder<Vec<u8>>>,
    files: usize,
    bytes: u64,
}

impl<'a> Session<'a> {
    /// Connects to the device and starts `edge-docker sync` for the app.
    pub(crate) async fn open(device: &'a Device, app: &'a App) -> Result<Self> {
        let pipe = Pipe::open(device, &app.name).await?;
        Ok(Self { device, app, pipe })
    }

    /// Sends all files under `sync` of `app.yaml`. Other files on the device stay, since
    /// the app writes its own data into the same directory.
    pub(crate) async fn send_all(mut self) -> Result<()> {
        let paths = self.app.spec.sync.iter().map(|m| PathBuf::from(&m.local));
        self.pipe
            .send(self.device, self.app, &paths.collect())
            .await
    }
}

/// Sync session of `--watch`: stays open between changes, and is opened again after a
/// broken connection.
pub(crate) struct WatchSession<'a> {
    project: &'a Project,
    name: &'a str,
    open: Option<(Device, Pipe)>,
}

impl<'a> WatchSession<'a> {
    /// Creates the session without connecting to the device.
    pub(crate) fn new(project: &'a Project, name: &'a str) -> Self {
        Self {
            project,
            name,
            open: None,
        }
    }

    /// Sends `paths`, which are relative to the app's directory. After a broken
    /// connection all files under `sync` are sent, since earlier changes may not have
    /// arrived.
    pub(crate) async fn send(&mut self, app: &App, paths: &BTreeSet<PathBuf>) -> Result<()> {
        let everything = app.spec.sync.iter().map(|m| PathBuf::from(&m.local));
        let everything: BTreeSet<_> = everything.collect();
        // The session is taken out of `self.open`: an error drops it, and the next call
        // opens a new one.
        let (reopened, (device, mut pipe)) = match self.open.take() {
            Some(open) => (false, open),
            None => {
                let device = Device::new(self.project, self.name)?;
                let pipe = Pipe::open(&device, &app.name).await?;
                (true, (device, pipe))
            }
        };
        pipe.send(&device, app, if reopened { &everything } else { paths })
            .await?;
        self.open = Some((device, pipe));
        Ok(())
    }

    /// Opens the session in advance, so that the first change need not wait for the
    /// connection.
    pub(crate) async fn open(&mut self, app: &App) -> Result<()> {
        let device = Device::new(self.project, self.name)?;
        let pipe = Pipe::open(&device, &app.name).await?;
        self.open = Some((device, pipe));
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
            stdin: child.stdin.take().context("standard input")?,
            confirmations: BufReader::new(child.stdout.take().context("standard output")?),
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
            let sent = self.stdin.write_all(archive).await;
            let sent = sent.and(self.stdin.flush().await);
            // The device prints a line after it has stored a batch. End of file instead
            // of a line means that the process has ended.
            if sent.is_err() || self.confirmations.read_line(&mut line).await? == 0 {
                return Err(self.error(device).await);
            }
        }
        let label = match paths.first() {
            Some(path) if paths.len() == 1 => path.display().to_string(),
            _ => format!("{} files", batch.files),
        };
        log::info(format_args!(
            "synced {label}, {}, in {} ms",
            amount(batch.bytes),
            start.elapsed().as_millis()
        ));
        Ok(())
    }

    /// Returns the error with which the process on the device ended.
    async fn error(&mut self, device: &Device) -> anyhow::Error {
        let mut output = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut output).await;
        }
        match self.child.wait().await {
            Ok(status) => match device.check(status, output.trim()) {
                Err(error) => error,
                Ok(()) => anyhow::anyhow!("the device ended the session"),
            },
            Err(error) => error.into(),
        }
    }
}

impl Batch {
    /// Adds a file, all files of a directory, or the removal of a path that does not
    /// exist. Symbolic links and special files are omitted with a warning: on the device,
    /// a link could lead out of the app's directory.
    fn add(&mut self, app: &App, path: &Path) -> Result<()> {
        let Some(target) = app.spec.sync.iter().find_map(|m| m.target(path)) else {
            return Ok(());
        };
        let full = app.directory.join(path);
        let kind = match fs::symlink_metadata(&full) {
            Ok(data) => data.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.add_removal(&target);
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
        self.add_file(&full, &target)
    }

    fn add_file(&mut self, full: &Path, target: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let context = || format!("reading {}", full.display());
        let data = fs::metadata(full).with_context(context)?;
        if data.len() > SYNC_FILE_BYTES {
            bail!(
                "{} is larger than {}",
                full.display(),
                amount(SYNC_FILE_BYTES)
            );
        }
        let content = match fs::read(full) {
            // The file was removed after it was listed; the watcher reports the removal
            // separately.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.with_context(context)?,
        };
        self.append(target, data.permissions().mode() & 0o777, &content)
    }

    fn add_removal(&mut self, target: &Path) -> Result<()> {
        // An empty file `.wh.NAME` marks a removal, as in image layers (OCI image
        // specification, "Whiteouts").
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        self.append(&target.with_file_name(format!(".wh.{name}")), 0o600, &[])
    }

    fn append(&mut self, target: &Path, mode: u32, content: &[u8]) -> Result<()> {
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
        if builder.get_ref().len() > BATCH_BYTES {
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
