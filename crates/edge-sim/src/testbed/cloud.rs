//! Local cloud of one test, and the strict endpoint of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::programs::program;
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint};

/// A local cloud in a temporary directory. It ends with its test, also when the
/// test fails.
pub struct Cloud {
    directory: TempDir,
}

/// Runs `edge-sim ARGS --dir DIRECTORY`.
pub fn edge_sim(args: &[&str], directory: &Path) -> Output {
    Command::new(program("edge-sim"))
        .args(args)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap()
}

impl Cloud {
    /// Starts one without the AWS API, which takes longest to start.
    pub fn up() -> Self {
        Self::with(&["--no-aws"])
    }

    /// Starts one with these arguments of `edge-sim cloud up`.
    pub fn with(args: &[&str]) -> Self {
        let cloud = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let output = edge_sim(&[&["cloud", "up"], args].concat(), cloud.path());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        cloud
    }

    /// Directory of its state.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Path of a file of its state.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Value of `endpoints.json` as text.
    pub fn value(&self, key: &str) -> String {
        let text = fs::read(self.file("endpoints.json")).unwrap();
        let values: Value = serde_json::from_slice(&text).unwrap();
        match &values[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Its repository, by a host name that needs no proxy.
    pub fn local_registry(&self) -> String {
        let name = self.value("registry");
        name.replace(cloud::HOST, "localhost")
    }

    /// Password of its registry.
    pub fn password(&self) -> String {
        let text = fs::read_to_string(self.file("registry.password")).unwrap();
        text.trim().into()
    }

    /// Puts a serial number on the allow-list.
    pub fn allow(&self, serial: &str) {
        let output = edge_sim(&["cloud", "allow", serial], self.path());
        assert!(output.status.success(), "{output:?}");
    }

    /// Shadow of a thing.
    pub fn shadow(&self, thing: &str) -> Value {
        let text = fs::read(self.file("shadows").join(format!("{thing}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let output = edge_sim(&["cloud", "down"], self.path());
        if !output.status.success() && !std::thread::panicking() {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The strict endpoint on a directory of its own, in the process of the test.
pub struct StrictEndpoint {
    /// The running endpoint.
    pub endpoint: Endpoint,
    directory: TempDir,
}

impl StrictEndpoint {
    /// Starts one on an empty allow-list.
    pub fn with(behaviour: &Behaviour) -> Self {
        let directory = tempfile::tempdir().unwrap();
        cloud::create(directory.path(), &[]).unwrap();
        let endpoint = Endpoint::start(directory.path(), behaviour).unwrap();
        Self {
            endpoint,
            directory,
        }
    }

    /// Directory of its state.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Path of a file of its state.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Replaces it by another endpoint on the same directory.
    pub fn restart(&mut self, behaviour: &Behaviour) {
        self.endpoint = Endpoint::start(self.directory.path(), behaviour).unwrap();
    }
}
