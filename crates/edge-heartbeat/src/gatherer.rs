//! Gathering of the state within one time limit. A disk that fails, a sensor or an engine
//! may hang for ever; the others are reported all the same, and the watchdog is notified.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use edge_common::{Root, log};
use serde_json::{Map, Value, json};

use crate::reported_state::{SOURCES, Source};

/// Values of the source with this index in [`SOURCES`].
type Reading = (usize, Vec<Option<Value>>);

/// Threads that read the sources of a report, one for each.
pub(crate) struct Gatherer {
    root: Root,
    sender: Sender<Reading>,
    receiver: Receiver<Reading>,
    /// Sources whose last reading has not ended.
    busy: HashSet<usize>,
}

impl Gatherer {
    pub(crate) fn new(root: &Root) -> Self {
        let (sender, receiver) = channel();
        Self {
            root: root.clone(),
            sender,
            receiver,
            busy: HashSet::new(),
        }
    }

    /// Returns the state to report, read within `limit`. A value that cannot be read is
    /// null, and a source that does not answer is listed in `unanswered`.
    pub(crate) fn gather(&mut self, limit: Duration) -> Map<String, Value> {
        self.gather_from(&SOURCES.each_ref().map(|source| source.name), limit)
    }

    /// Returns the state of these sources, as [`Gatherer::gather`] does.
    pub(crate) fn gather_from(&mut self, names: &[&str], limit: Duration) -> Map<String, Value> {
        let end = Instant::now() + limit;
        // Null removes the value of an earlier report from the shadow; a missing key
        // would keep it.
        let sources = SOURCES.iter().filter(|source| names.contains(&source.name));
        let keys = sources.flat_map(|source| source.keys);
        let mut state: Map<_, _> = keys.map(|key| (key.to_string(), Value::Null)).collect();
        // A late reading of an earlier report is out of date.
        while let Ok((late, _)) = self.receiver.try_recv() {
            self.busy.remove(&late);
        }
        let hanging = self.busy.clone();
        for (index, source) in SOURCES.iter().enumerate() {
            if !hanging.contains(&index) && names.contains(&source.name) {
                self.start(index, source);
            }
        }
        while self.busy.len() > hanging.iter().filter(|i| self.busy.contains(i)).count() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok((index, values)) = self.receiver.recv_timeout(left) else {
                break;
            };
            self.busy.remove(&index);
            if hanging.contains(&index) {
                continue;
            }
            for (key, value) in SOURCES[index].keys.iter().zip(values) {
                state.insert(key.to_string(), value.unwrap_or_default());
            }
        }
        state.insert("unanswered".into(), self.unanswered(&hanging));
        state
    }

    /// Reads a source in a thread of its own. A thread that hangs is left alone, and no
    /// second one is started for its source.
    fn start(&mut self, index: usize, source: &'static Source) {
        let (sender, root) = (self.sender.clone(), self.root.clone());
        let read = move || {
            let values = (source.read)(&root);
            // Nobody receives it if the program ends.
            let _ = sender.send((index, values));
        };
        let thread = std::thread::Builder::new().name(source.name.into());
        if thread.spawn(read).is_ok() {
            self.busy.insert(index);
        }
    }

    fn unanswered(&self, before: &HashSet<usize>) -> Value {
        let mut names = Vec::new();
        for (index, source) in SOURCES.iter().enumerate() {
            if self.busy.contains(&index) {
                names.push(source.name);
                if !before.contains(&index) {
                    log::warn(format_args!(
                        "{} does not answer and is not reported",
                        source.name
                    ));
                }
            }
        }
        if names.is_empty() {
            Value::Null
        } else {
            json!(names)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn what_hangs_is_named_once_and_the_rest_is_reported() {
        let (_directory, root) =
            root_with(&[("/proc/loadavg", "0.1 0.2 0.3 1/2 3\n"), ("/data/x", "")]);
        // Opening a pipe without a writer waits for ever.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path("/proc/uptime"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let mut gatherer = Gatherer::new(&root);
        let begun = Instant::now();
        let before = threads();
        for _ in 0..20 {
            let state = gatherer.gather(Duration::from_millis(100));
            assert_eq!(state["unanswered"], json!(["system"]));
            assert!(state["uptime_seconds"].is_null() && state["load"].is_null());
            assert!(state["disk"]["total_mb"].is_u64(), "{state:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert!(threads() < before + 15, "{} threads", threads());
        // Once it answers again, so does the report.
        std::fs::File::options()
            .write(true)
            .open(root.path("/proc/uptime"))
            .unwrap();
        std::fs::remove_file(root.path("/proc/uptime")).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while gatherer.gather(Duration::from_secs(10))["unanswered"] != Value::Null {
            assert!(Instant::now() < end, "still unanswered");
        }
        assert!(gatherer.gather(Duration::from_secs(10))["load"].is_array());
    }
}
