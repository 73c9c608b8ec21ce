//! Container engine of a laptop.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use edge_sim::testbed::edge_sim;
use serde_json::json;
use tempfile::TempDir;

use super::Project;

/// Container engine in a network namespace of its own.
pub struct Engine {
    directory: TempDir,
    host: String,
}

impl Engine {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let up = edge_sim(&["engine", "up"], &directory.path().join("engine"));
        let message = String::from_utf8_lossy(&up.stderr);
        assert!(up.status.success(), "{message}");
        let host = String::from_utf8(up.stdout).unwrap().trim().to_string();
        Self { directory, host }
    }

    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(which("docker"));
        command
            .env("DOCKER_HOST", &self.host)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Creates an image with one file, `content`.
    pub fn image(&self, name: &str, content: &str) {
        self.import(name, content, &[]);
    }

    /// Creates an image with one file, `content`, and options of `docker import`.
    pub fn import(&self, name: &str, content: &str, options: &[&str]) {
        let bytes = tarball(&[("file", content.as_bytes())]);
        let mut command = self.docker(&[&["import"], options, &["-", name]].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Loads an image of one file for `architecture` and `variant`.
    pub fn load(&self, name: &str, architecture: &str, variant: &str) {
        let layer = tarball(&[("file", architecture.as_bytes())]);
        let config = json!({
            "os": "linux", "architecture": architecture, "variant": variant, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [edge_signature::Digest::of(&layer)] },
        });
        let contents = json!([{ "Config": "c.json", "RepoTags": [name], "Layers": ["l.tar"] }]);
        let archive = tarball(&[
            ("c.json", config.to_string().as_bytes()),
            ("l.tar", &layer),
            ("manifest.json", contents.to_string().as_bytes()),
        ]);
        let mut command = self.docker(&["load"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub fn lend(&self, project: &mut Project) {
        project.variables.push(("DOCKER_HOST", self.host.clone()));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        edge_sim(&["engine", "down"], &self.directory.path().join("engine"));
    }
}

pub fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|p| p.join(program))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("{program} is missing: run scripts/setup"))
}

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}
