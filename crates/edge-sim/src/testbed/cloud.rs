//! Local cloud and strict endpoint of a single test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::programs::program;
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint};

/// Local cloud in a temporary directory. Dropping it stops the daemons, also if the
/// test fails.
pub struct Cloud {
    directory: TempDir,
}

/// Runs `edge-sim ARGS --dir DIRECTORY` and returns its exit status and output.
pub fn edge_sim(args: &[&str], directory: &Path) -> Output {
    Command::new(program("edge-sim"))
        .args(args)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap()
}

impl Cloud {
    /// Starts a local cloud without the AWS API, which takes longest to start.
    pub fn up() -> Self {
        Self::with(&["--no-aws"])
    }

    /// Starts a local cloud with these arguments of `edge-sim cloud up`.
    pub fn with(args: &[&str]) -> Self {
        let cloud = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let output = edge_sim(&[&["cloud", "up"], args].concat(), cloud.path());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        cloud
    }

    /// Returns the directory of the local cloud's state.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file of the local cloud's state, for example `ca.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Returns the value of a key in the local cloud's `endpoints.json` as text.
    pub fn value(&self, key: &str) -> String {
        let text = fs::read(self.file("endpoints.json")).unwrap();
        let values: Value = serde_json::from_slice(&text).unwrap();
        match &values[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Returns the cloud's repository with the host name `localhost`, which clients
    /// of this machine reach without the cloud's proxy.
    pub fn local_registry(&self) -> String {
        let name = self.value("registry");
        name.replace(cloud::HOST, "localhost")
    }

    /// Returns the password of the user `AWS` at the local cloud's registry.
    pub fn password(&self) -> String {
        let text = fs::read_to_string(self.file("registry.password")).unwrap();
        text.trim().into()
    }

    /// Adds a serial number to the allow-list, so that the device may provision.
    pub fn allow(&self, serial: &str) {
        let output = edge_sim(&["cloud", "allow", serial], self.path());
        assert!(output.status.success(), "{output:?}");
    }

    /// Returns the stored shadow document of a thing.
    pub fn shadow(&self, thing: &str) -> Value {
        let text = fs::read(self.file("shadows").join(format!("{thing}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Cloud {
    /// Returns a stored named shadow of a thing; null if there is none.
    pub fn named_shadow(&self, thing: &str, name: &str) -> Value {
        named_shadow(self.path(), thing, name)
    }
}

/// Returns a stored named shadow of a thing; null if there is none.
pub(super) fn named_shadow(cloud: &Path, thing: &str, name: &str) -> Value {
    let path = cloud
        .join("shadows")
        .join(thing)
        .join(format!("{name}.json"));
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let output = edge_sim(&["cloud", "down"], self.path());
        if !output.status.success() && !std::thread::panicking() {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Strict endpoint with a state directory of its own, in the process of the test.
pub struct StrictEndpoint {
    /// Running endpoint, whose faults and requests the test can access.
    pub endpoint: Endpoint,
    directory: TempDir,
}

impl StrictEndpoint {
    /// Starts a strict endpoint with an empty allow-list.
    pub fn with(behaviour: &Behaviour) -> Self {
        let directory = tempfile::tempdir().unwrap();
        cloud::create(directory.path(), &[]).unwrap();
        let endpoint = Endpoint::start(directory.path(), behaviour).unwrap();
        Self {
            endpoint,
            directory,
        }
    }

    /// Returns the directory of the endpoint's state.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file of the endpoint's state, for example `ca.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Replaces the endpoint by another one with the same state directory and a new
    /// port.
    pub fn restart(&mut self, behaviour: &Behaviour) {
        self.endpoint = Endpoint::start(self.directory.path(), behaviour).unwrap();
    }
}
