//! Directories of a device in a test root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use edge_common::Root;
use edge_generator::{Args, run};

pub const UNIT: &str =
    "[Service]\nExecStart=/usr/bin/edge-docker run --rm x\n[Install]\nWantedBy=multi-user.target\n";

pub struct Testbed {
    pub directory: tempfile::TempDir,
}

impl Testbed {
    pub fn new() -> Self {
        let testbed = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in [
            "data/services",
            "dev",
            "proc",
            "normal",
            "early",
            "late",
            "usr/lib/systemd/system",
            "usr/bin",
            "etc/edge-ai/container-config",
        ] {
            fs::create_dir_all(testbed.path(directory)).unwrap();
        }
        fs::set_permissions(
            testbed.path("data/services"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        fs::create_dir(testbed.path("data/log")).unwrap();
        fs::write(testbed.path("dev/kmsg"), "").unwrap();
        let memory = "MemTotal:        7990144 kB\nMemFree:         1000 kB\n";
        fs::write(testbed.path("proc/meminfo"), memory).unwrap();
        testbed.tool("systemctl", "echo \"$@\" >> \"$(dirname \"$0\")/calls\"");
        testbed
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn tool(&self, name: &str, script: &str) {
        let path = self.path("usr/bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn unit(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path("data/services").join(name), text).unwrap();
    }

    pub fn generate(&self) -> BTreeMap<String, String> {
        let directories = ["normal", "early", "late"].map(|f| self.path(f));
        let args = [Path::new("x")]
            .into_iter()
            .chain(directories.iter().map(PathBuf::as_path));
        run(&Root::at(self.directory.path()), &Args::parse_from(args)).unwrap();
        assert_eq!(fs::read_dir(self.path("early")).unwrap().count(), 0);
        let mut links = BTreeMap::new();
        collect(&self.path("normal"), "", &mut links);
        links
    }

    pub fn activate(&self) -> anyhow::Result<()> {
        run(
            &Root::at(self.directory.path()),
            &Args::parse_from(["x", "activate"]),
        )
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

pub fn collect(directory: &Path, prefix: &str, links: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match fs::read_link(entry.path()) {
            Ok(target) => drop(links.insert(name, target.display().to_string())),
            Err(_) if entry.path().is_file() => {}
            Err(_) => collect(&entry.path(), &format!("{name}/"), links),
        }
    }
}
