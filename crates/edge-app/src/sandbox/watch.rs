//! Watcher of an app's directory, which classifies changed files for `sandbox --watch`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::ignore::Ignored;
use anyhow::{Context, Result};
use edge_app_spec::Mapping;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

/// Pause without events after which a series of changes is complete. Saving one file
/// causes several events, and some editors write a temporary file and rename it.
const QUIET_PERIOD: Duration = Duration::from_millis(25);
/// Maximum duration of a series of changes, so that a program that writes continuously
/// cannot delay the others.
const MAX_SERIES: Duration = Duration::from_millis(200);

/// Watch on a directory, with the changes that were not yet returned.
pub(crate) struct Watcher {
    directory: PathBuf,
    events: UnboundedReceiver<PathBuf>,
    ignored: Ignored,
    seen: Changes,
    _inner: RecommendedWatcher,
}

/// Changes in an app's directory, divided by their consequence: sync or build.
#[derive(Default)]
pub(crate) struct Changes {
    /// Changed paths that `sync` of `app.yaml` maps, relative to the app's directory.
    pub(crate) synced: BTreeSet<PathBuf>,
    /// Whether any other file changed, so that the image must be built again.
    pub(crate) rebuild: bool,
}

impl Watcher {
    /// Starts watching a directory and everything below it.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        // The path is made canonical for comparison with events: FSEvents on macOS
        // reports canonical paths.
        let directory = directory
            .canonicalize()
            .with_context(|| format!("reading {}", directory.display()))?;
        let (sender, events) = unbounded_channel();
        let forward = move |event: notify::Result<Event>| {
            // Access events are ignored: a build reads all files, which would cause the
            // next build.
            let changed = |e: &Event| !matches!(e.kind, EventKind::Access(_));
            for path in event.into_iter().filter(changed).flat_map(|e| e.paths) {
                // An error is ignored: the receiver is dropped only at the end of the
                // program.
                let _ = sender.send(path);
            }
        };
        let context = || format!("watching {}", directory.display());
        let mut inner = notify::recommended_watcher(forward).with_context(context)?;
        inner
            .watch(&directory, RecursiveMode::Recursive)
            .with_context(context)?;
        Ok(Self {
            ignored: Ignored::load(&directory),
            directory,
            events,
            seen: Changes::default(),
            _inner: inner,
        })
    }

    /// Waits for changes and returns a complete series. Safe to cancel, as `select!`
    /// does: changes seen before that are in the next result.
    pub(crate) async fn next(&mut self, sync: &[Mapping]) -> Result<Changes> {
        while self.seen.synced.is_empty() && !self.seen.rebuild {
            let path = self.events.recv().await.context("the watch ended")?;
            self.add(&path, sync);
        }
        let end = Instant::now() + MAX_SERIES;
        while Instant::now() < end {
            match timeout(QUIET_PERIOD, self.events.recv()).await {
                Ok(Some(path)) => self.add(&path, sync),
                _ => break,
            }
        }
        Ok(std::mem::take(&mut self.seen))
    }

    fn add(&mut self, path: &Path, sync: &[Mapping]) {
        if path.extension().is_some_and(|e| e == "dockerignore") || path.ends_with(".dockerignore")
        {
            self.ignored = Ignored::load(&self.directory);
        }
        self.seen.add(&self.directory, path, sync, &self.ignored);
    }
}

impl Changes {
    fn add(&mut self, directory: &Path, path: &Path, sync: &[Mapping], ignored: &Ignored) {
        let Ok(path) = path.strip_prefix(directory) else {
            return;
        };
        if path.as_os_str().is_empty() || is_temporary(path) {
        } else if sync.iter().any(|m| m.target(path).is_some()) {
            self.synced.insert(path.into());
        } else if !ignored.contains(path) {
            self.rebuild = true;
        }
    }
}

/// Returns whether `path` is a file that git or an editor creates and removes by itself.
/// `4913` is the name of the file with which vim tests write access to a directory.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let suffixes = [".swp", ".swx", ".swo", ".tmp", "~"];
    path.components().any(|c| c.as_os_str() == ".git")
        || suffixes.iter().any(|e| name.ends_with(e))
        || name.starts_with(".#")
        || name.starts_with(".goutputstream-")
        || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_and_other_changes() {
        let sync = [Mapping::try_from("web:www".to_string()).unwrap()];
        let directory = Path::new("/p/hello");
        let ignored = Ignored::parse("*.log\nweb\nbuild/\n");
        let seen = |path: &str| {
            let mut changes = Changes::default();
            changes.add(directory, Path::new(path), &sync, &ignored);
            (changes.synced.len(), changes.rebuild)
        };
        assert_eq!(seen("/p/hello/web/a.html"), (1, false));
        assert_eq!(seen("/p/hello/main.rs"), (0, true));
        // docker does not send these, but `sync` does.
        assert_eq!(seen("/p/hello/web/b.html"), (1, false));
        for path in [
            "/p/hello",
            "/p/hello/out.log",
            "/p/hello/build/target/x",
            "/p/other",
            "/p/hello/.git/index",
            "/p/hello/.main.rs.swp",
        ] {
            assert_eq!(seen(path), (0, false), "{path}");
        }
    }
}
