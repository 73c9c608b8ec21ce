//! What changes in an app's directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_app_spec::Mapping;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

/// Changes that follow one another closer than this are one.
const QUIET: Duration = Duration::from_millis(25);
/// However many there are, they are told after this time.
const LONGEST: Duration = Duration::from_millis(200);

/// Watches a directory.
pub(crate) struct Watcher {
    directory: PathBuf,
    events: UnboundedReceiver<PathBuf>,
    seen: Changes,
    _inner: RecommendedWatcher,
}

/// What changed.
#[derive(Default)]
pub(crate) struct Changes {
    /// Paths, seen from the directory, that are mapped.
    pub(crate) synced: BTreeSet<PathBuf>,
    /// Something else: the image is to be built again.
    pub(crate) rebuild: bool,
}

impl Watcher {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system has no watches left, or no such directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("reading {}", directory.display()))?;
        let (sender, events) = unbounded_channel();
        let tell = move |event: notify::Result<Event>| {
            let changed = |e: &Event| !matches!(e.kind, EventKind::Access(_));
            for path in event.into_iter().filter(changed).flat_map(|e| e.paths) {
                // It fails when nobody listens any more.
                let _ = sender.send(path);
            }
        };
        let context = || format!("watching {}", directory.display());
        let mut inner = notify::recommended_watcher(tell).with_context(context)?;
        inner
            .watch(&directory, RecursiveMode::Recursive)
            .with_context(context)?;
        Ok(Self {
            directory,
            events,
            seen: Changes::default(),
            _inner: inner,
        })
    }

    /// Waits for changes. When it is not waited for to the end, nothing that it
    /// saw is lost.
    ///
    /// # Errors
    /// The watch ended.
    pub(crate) async fn next(&mut self, sync: &[Mapping]) -> Result<Changes> {
        while self.seen.synced.is_empty() && !self.seen.rebuild {
            let path = self.events.recv().await.context("the watch ended")?;
            self.seen.add(&self.directory, &path, sync);
        }
        let end = Instant::now() + LONGEST;
        while Instant::now() < end {
            match timeout(QUIET, self.events.recv()).await {
                Ok(Some(path)) => self.seen.add(&self.directory, &path, sync),
                _ => break,
            }
        }
        Ok(std::mem::take(&mut self.seen))
    }
}

impl Changes {
    fn add(&mut self, directory: &Path, path: &Path, sync: &[Mapping]) {
        let Ok(path) = path.strip_prefix(directory) else {
            return;
        };
        if path.as_os_str().is_empty() || passing(path) {
        } else if sync.iter().any(|m| m.target(path).is_some()) {
            self.synced.insert(path.into());
        } else {
            self.rebuild = true;
        }
    }
}

/// What editors and git leave for a moment.
fn passing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = [".swp", ".swx", ".swo", ".tmp", "~"];
    path.components().any(|c| c.as_os_str() == ".git")
        || end.iter().any(|e| name.ends_with(e))
        || name.starts_with(".#")
        || name.starts_with(".goutputstream-")
        || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart() {
        let sync = [Mapping::try_from("web:www".to_string()).unwrap()];
        let directory = Path::new("/p/hello");
        let seen = |path: &str| {
            let mut changes = Changes::default();
            changes.add(directory, Path::new(path), &sync);
            (changes.synced.len(), changes.rebuild)
        };
        assert_eq!(seen("/p/hello/web/a.html"), (1, false));
        assert_eq!(seen("/p/hello/main.rs"), (0, true));
        for path in [
            "/p/hello",
            "/p/other",
            "/p/hello/.git/index",
            "/p/hello/.main.rs.swp",
        ] {
            assert_eq!(seen(path), (0, false), "{path}");
        }
    }
}
