//! Pushes by an engine that reaches edge-app: only the layers that changed are sent, and
//! nothing is written to temporary files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::Cloud;
use project::Project;
use serde_json::json;
use tempfile::TempDir;

const BASE_BYTES: usize = 12_000_000;
const CHANGE_BYTES: usize = 200_000;

/// Laptop with an engine, from which the registries of local clouds can be reached.
struct Laptop {
    device: Device,
    directory: TempDir,
}

impl Laptop {
    fn start(clouds: &[&Cloud]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<_> = clouds.iter().map(|cloud| port(cloud)).collect();
        let settings = Settings {
            name: "laptop",
            ports: &ports,
            ..Settings::default()
        };
        let at = directory.path().join("laptop");
        fs::create_dir(&at).unwrap();
        let device = Device::start(&at, &settings).unwrap();
        Self { device, directory }
    }

    fn project<'a>(&self, cloud: &'a Cloud) -> Project<'a> {
        let mut project = Project::new(cloud, cloud.local_registry(), &json!({}));
        project.network = Some(self.device.pid());
        project
            .variables
            .push(("DOCKER_HOST", self.device.engine()));
        let cache = self.directory.path().join("cache").display().to_string();
        project.variables.push(("XDG_CACHE_HOME", cache));
        // Any attempt to write a temporary file fails.
        project.variables.push(("TMPDIR", "/nonexistent".into()));
        let dockerfile = "FROM base\nCOPY change /\nENV A=b\n";
        project.put("hello/Dockerfile", dockerfile);
        project
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", self.device.engine());
        command
    }

    fn base(&self) {
        let mut archive = tar::Builder::new(Vec::new());
        let content = noise(99, BASE_BYTES);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, "lib", &content[..])
            .unwrap();
        let mut import = self.docker(&["import", "-", "base"]);
        let child = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let bytes = archive.into_inner().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn images(&self) -> String {
        let output = self
            .docker(&["images", "--format={{.Repository}}"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

fn port(cloud: &Cloud) -> u16 {
    let registry = cloud.value("registry");
    registry.split(['/', ':']).nth(1).unwrap().parse().unwrap()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Returns the bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    // The registry creates its directory with the first upload.
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let entries = entries.map(Result::unwrap);
    let size = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        data if data.is_dir() => bytes_below(&entry.path()),
        data => data.len(),
    };
    entries.map(size).sum()
}

/// Builds and pushes a version with another content of its topmost layer; returns the
/// bytes that the registry grew by, and what was printed.
fn push(project: &Project, version: &str, seed: u64) -> (u64, String) {
    let change = project.directory.path().join("hello/change");
    fs::write(change, noise(seed, CHANGE_BYTES)).unwrap();
    let (code, _, printed) = project.run(&["build", "hello", "--version", version]);
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("DEPRECATED"), "{printed}");
    let storage = project.cloud.file("registry");
    let before = bytes_below(&storage);
    let (code, _, printed) = project.run(&["push", "hello", "--version", version]);
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("cannot push to edge-app"), "{printed}");
    project.succeeds(&["verify", "hello", "--version", version]);
    (bytes_below(&storage) - before, printed)
}

#[test]
fn a_change_costs_what_the_change_is() {
    let clouds = [Cloud::up(), Cloud::up()];
    let laptop = Laptop::start(&[&clouds[0], &clouds[1]]);
    laptop.base();
    let project = laptop.project(&clouds[0]);
    let (first, printed) = push(&project, "v1", 1);
    assert!(first > BASE_BYTES as u64, "{first}: {printed}");
    let limit = CHANGE_BYTES as u64 + 50_000;
    let (second, printed) = push(&project, "v2", 2);
    assert!(second <= limit, "{second} bytes: {printed}");
    assert!(
        !laptop.images().contains("127.0.0.1"),
        "{}",
        laptop.images()
    );

    // Without the cache: the registry has what docker pushed before.
    fs::remove_dir_all(laptop.directory.path().join("cache")).unwrap();
    let (third, printed) = push(&project, "v3", 3);
    assert!(third <= limit, "{third} bytes: {printed}");

    // The same version again sends nothing, and another content is refused.
    let again = ["push", "hello", "--version", "v3"];
    assert!(project.run(&again).2.contains("already signed"));
    let other = format!("{}:hello-v3", project.registry);
    let old = format!("{}:hello-v2", project.registry);
    assert!(
        laptop
            .docker(&["tag", &old, &other])
            .status()
            .unwrap()
            .success()
    );
    project.fails(&again, 4, "is there with other content");

    // Docker knows digests of the layers, but this registry does not have them.
    let elsewhere = laptop.project(&clouds[1]);
    let (all, printed) = push(&elsewhere, "v1", 1);
    assert!(all > BASE_BYTES as u64, "{all}: {printed}");
    let (change, printed) = push(&elsewhere, "v2", 5);
    assert!(change <= limit, "{change} bytes: {printed}");

    // A registry that does not answer is the error, and docker does not try again.
    edge_sim::testbed::edge_sim(&["cloud", "down"], clouds[1].path());
    elsewhere.fails(&["push", "hello", "--version", "v2"], 4, "does not answer");
    assert!(
        !laptop.images().contains("127.0.0.1"),
        "{}",
        laptop.images()
    );
}
