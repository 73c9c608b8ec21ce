//! Container engine of a laptop.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::Project;

/// Container engine of this machine, or one that is started for the test.
pub struct Engine {
    child: Option<Child>,
    directory: TempDir,
}

impl Engine {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = Self {
            child: None,
            directory,
        };
        if engine.docker(&["info"]).status().unwrap().success() {
            return engine;
        }
        let mut command = Command::new("/usr/sbin/dockerd");
        command
            .arg("--host")
            .arg(engine.host())
            .args(["--iptables=false", "--bridge=none"]);
        for (flag, name) in [
            ("--data-root", "d"),
            ("--exec-root", "r"),
            ("--pidfile", "p"),
        ] {
            command.arg(flag).arg(engine.directory.path().join(name));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        engine.child = Some(
            command
                .spawn()
                .expect("docker.io is missing: run scripts/setup"),
        );
        let start = Instant::now();
        while !engine.docker(&["info"]).status().unwrap().success() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "dockerd does not answer"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("s").display())
    }

    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(which("docker"));
        if self.child.is_some() {
            command.env("DOCKER_HOST", self.host());
        }
        command
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
        if self.child.is_some() {
            project.variables.push(("DOCKER_HOST", self.host()));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("/bin/kill")
                .arg(child.id().to_string())
                .status();
            let _ = child.wait();
        }
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
