//! Project with one app, the engine of its laptop, and a device.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::{Device, Settings};
use tempfile::TempDir;

pub const DOCKERFILE: &str =
    "FROM base\nCOPY hello /\nCOPY change /\nENTRYPOINT [\"/hello\"]\nSTOPSIGNAL SIGKILL\n";
/// Size of the layer that changes, in bytes that do not compress.
pub const CHANGE: usize = 200_000;

pub struct Testbed {
    directory: TempDir,
    laptop: Device,
    pub device: Device,
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

impl Testbed {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let start = |name: &str| {
            let settings = Settings {
                name,
                ..Settings::default()
            };
            let at = directory.path().join(name);
            fs::create_dir(&at).unwrap();
            Device::start(&at, &settings).unwrap()
        };
        let (laptop, device) = (start("laptop"), start("device"));
        let testbed = Self {
            laptop,
            device,
            directory,
        };
        testbed.project();
        testbed
    }

    /// Runs `edge-app sandbox`; returns its exit code and what it printed as an error.
    pub fn failing_sandbox(&self) -> (Option<i32>, String) {
        let output = self.app(&["sandbox", "hello", "device"]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), printed)
    }

    fn project(&self) {
        fs::create_dir_all(self.path("hello/web")).unwrap();
        let arch = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = format!(
            "registry: r.io/team\nplatform: linux/{arch}\ndevices:\n  device: {{ssh_config: {}}}\n",
            self.device.ssh_config().display()
        );
        let app = "name: hello\nports: ['8080:8080']\nvolumes: ['.:/data']\nsync: ['web:www']\n";
        fs::write(self.path("edge-app.yaml"), config).unwrap();
        fs::write(self.path("hello/app.yaml"), app).unwrap();
        fs::write(self.path("hello/Dockerfile"), DOCKERFILE).unwrap();
        fs::write(self.path("hello/web/index.html"), "one").unwrap();
        self.change(1);
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/examples/hello/main.rs"
        );
        let mut rustc = Command::new("rustc");
        rustc.args([
            "-O",
            "-C",
            "strip=symbols",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ]);
        assert!(
            rustc
                .arg(self.path("hello/hello"))
                .arg(source)
                .status()
                .unwrap()
                .success()
        );
        let mut archive = tar::Builder::new(Vec::new());
        let content = noise(99, 12_000_000);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, "lib", &content[..])
            .unwrap();
        let mut import = self.docker(&["import", "-", "base"]);
        let mut child = import
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let bytes = archive.into_inner().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn change(&self, seed: u64) {
        fs::write(self.path("hello/change"), noise(seed, CHANGE)).unwrap();
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", self.laptop.engine());
        command
    }

    pub fn app(&self, arguments: &[&str]) -> Command {
        // The engine pushes to edge-app, so both are in one network namespace.
        let network = format!("--net=/proc/{}/ns/net", self.laptop.pid());
        let mut command = Command::new("nsenter");
        command
            .args([&network, "--", env!("CARGO_BIN_EXE_edge-app")])
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command.env("DOCKER_HOST", self.laptop.engine());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    pub fn sandbox(&self) -> (u64, String) {
        let before = self.device.traffic().unwrap();
        let output = self.app(&["sandbox", "hello", "device"]).output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{printed}");
        let after = self.device.traffic().unwrap();
        (after.0 + after.1 - before.0 - before.1, printed)
    }

    pub fn on_device(&self, arguments: &[&str]) -> String {
        let output = self
            .device
            .command("docker")
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    /// Names of the images in the laptop's engine.
    pub fn laptop_images(&self) -> String {
        let output = self
            .docker(&["images", "--format={{.Repository}}"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    pub fn running(&self) -> String {
        self.on_device(&["inspect", "--format={{.Image}} {{.State.Running}}", "hello"])
    }
}

/// Waits until `done` returns true; returns the time that took.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

pub fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("/bin/kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
}
