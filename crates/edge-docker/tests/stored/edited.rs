//! A container at container that is edited, audited, and put back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::device::{self, Device};
use crate::edits::put;

pub struct StoredContainer<'a> {
    pub device: &'a Device,
    /// The container's directory.
    pub directory: PathBuf,
}

impl<'a> StoredContainer<'a> {
    /// The container `id`.
    pub fn of(device: &'a Device, id: &str) -> Self {
        let directory = device.path(&format!("/data/docker/containers/{id}"));
        Self { device, directory }
    }

    /// Runs the audit; returns its messages, and whether the container is still there.
    pub fn audit(&self) -> (String, bool) {
        let output = self.device.run(&["edge-docker", "audit-stored"]);
        let messages = device::output_text(&output);
        assert!(output.status.success(), "{messages}");
        (messages, self.directory.exists())
    }

    /// What is kept of each container; it goes with the container.
    fn records(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let directories = ["containers", "pins"].map(|f| format!("/data/config/edge-docker/{f}"));
        let entries = directories
            .iter()
            .flat_map(|f| fs::read_dir(self.device.path(f)).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect()
    }

    /// Writes `text` over a file; the container must go, by that rule. Then all
    /// is as before.
    pub fn overwritten(&self, path: &Path, text: &[u8], rule: &str) {
        let original = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        self.caught(&path.display().to_string(), rule);
        fs::write(path, original).unwrap();
    }

    /// The same with a link in the place of whatever lies there.
    pub fn linked(&self, path: &Path, to: &str, rule: &str) {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        symlink(to, path).unwrap();
        self.caught(&path.display().to_string(), rule);
        fs::remove_file(path).unwrap();
        fs::rename(aside, path).unwrap();
    }

    /// The same with one value of a JSON file.
    pub fn edited(&self, file: &str, pointer: &str, new: Value, rule: &str) {
        let path = self.directory.join(file);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let old = value.clone();
        put(&mut value, pointer, new);
        assert_ne!(value, old, "{pointer}");
        self.overwritten(&path, value.to_string().as_bytes(), rule);
    }

    /// Audits an edited container; it must go, by that rule, and is put back.
    pub fn caught(&self, what: &str, rule: &str) {
        let records = self.records();
        let (messages, kept) = self.audit();
        for (path, content) in records {
            fs::write(path, content).unwrap();
        }
        assert!(!kept, "{what} is left in its place: {messages}");
        // Others of the same image may go with it; all are put back.
        let own = self.directory.file_name().unwrap();
        let data = |name: &str| self.device.path(&format!("/data/docker/{name}"));
        for place in entries(&data("quarantine")) {
            let reason = fs::read_to_string(place.join("rule")).unwrap();
            let moved = entries(&place).into_iter().find(|p| !p.ends_with("rule"));
            let moved = moved.unwrap();
            let name = moved.file_name().unwrap();
            if name == own {
                assert!(reason.contains(rule), "{what}: {reason}");
                assert!(
                    messages.contains(reason.trim().rsplit_once(": ").unwrap().1),
                    "{messages}"
                );
            }
            fs::rename(&moved, self.directory.with_file_name(name)).unwrap();
            fs::remove_dir_all(place).unwrap();
        }
        // One that could not be read would come back by itself.
        for moved in entries(&data("withheld")) {
            let name = moved.file_name().unwrap();
            if name == own {
                assert!(messages.contains(rule), "{what}: {messages}");
            }
            fs::rename(&moved, self.directory.with_file_name(name)).unwrap();
        }
    }
}

/// Paths in a directory that need not exist.
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Every file below a directory with its content, mode and time of change.
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            let data = fs::metadata(&path).unwrap();
            files.insert(
                path.clone(),
                (fs::read(&path).unwrap(), data.mode(), data.mtime_nsec()),
            );
        }
    }
    files
}
