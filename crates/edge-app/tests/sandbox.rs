//! edge-app's sandbox loop against a device in namespaces: what is sent, what
//! an interruption leaves, how fast a file is there.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::{Device, Fleet, Link, Settings};
use serde_json::json;
use tempfile::TempDir;

const DOCKERFILE: &str =
    "FROM base\nCOPY hello /\nCOPY change /\nENTRYPOINT [\"/hello\"]\nSTOPSIGNAL SIGKILL\n";
/// Bytes of the layer that changes; they do not compress.
const CHANGE: usize = 200_000;

struct World {
    directory: TempDir,
    laptop: Device,
    device: Device,
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

impl World {
    fn new() -> Self {
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
        let world = Self {
            laptop,
            device,
            directory,
        };
        world.project();
        world
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

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn change(&self, seed: u64) {
        fs::write(self.path("hello/change"), noise(seed, CHANGE)).unwrap();
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(words).env("DOCKER_HOST", self.laptop.engine());
        command
    }

    fn app(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
        command
            .args(words)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command.env("DOCKER_HOST", self.laptop.engine());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn sandbox(&self) -> (u64, String) {
        let before = self.device.traffic().unwrap();
        let output = self.app(&["sandbox", "hello", "device"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let after = self.device.traffic().unwrap();
        (after.0 + after.1 - before.0 - before.1, said)
    }

    fn on_device(&self, words: &[&str]) -> String {
        let output = self.device.command("docker").args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    fn running(&self) -> String {
        self.on_device(&["inspect", "--format={{.Image}} {{.State.Running}}", "hello"])
    }
}

/// Waits for something that happens by itself.
fn until(what: &str, mut good: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !good() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("/bin/kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn the_loop_from_a_change_to_the_device() {
    let mut world = World::new();
    let (whole, said) = world.sandbox();
    assert!(whole > 12_000_000, "{said}");
    assert_eq!(
        fs::read(world.device.path("/data/sandbox/hello/www/index.html")).unwrap(),
        b"one"
    );
    let first = world.running();
    assert!(first.ends_with(" true"), "{first}");

    // Only the layer that changed, and the old image goes.
    world.change(2);
    let (bytes, said) = world.sandbox();
    let target = CHANGE as u64 * 11 / 10 + 50_000;
    assert!(bytes <= target, "{bytes} bytes, target {target}: {said}");
    let second = world.running();
    assert!(second.ends_with(" true") && second != first, "{second}");
    assert_eq!(world.on_device(&["images", "--quiet"]).lines().count(), 1);

    // An interruption while an image is under way changes nothing.
    world.change(3);
    world.device.set_link(Link { rtt: 30, rate: 1 }).unwrap();
    let before = world.device.traffic().unwrap().0;
    let mut app = world.app(&["sandbox", "hello", "device"]).spawn().unwrap();
    until("the image", || {
        world.device.traffic().unwrap().0 > before + 60_000
    });
    interrupt(&app);
    assert_eq!(app.wait().unwrap().code(), Some(130));
    until("the end of load", || {
        let ps = world
            .device
            .command("pgrep")
            .args(["-f", "edge-docker load"])
            .output();
        ps.unwrap().stdout.is_empty()
    });
    assert_eq!(world.running(), second);
    assert_eq!(
        world
            .on_device(&["images", "--all", "--quiet"])
            .lines()
            .count(),
        1
    );

    // And it goes on from there.
    world.device.set_link(Link::default()).unwrap();
    let (bytes, _) = world.sandbox();
    assert!(bytes <= target);
    watch(&world);
}

/// A saved file is on the device in under 300 ms, without a new container.
fn watch(world: &World) {
    let before = world.running();
    let mut command = world.app(&["sandbox", "--watch", "hello", "device"]);
    let mut app = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stderr.take().unwrap()).lines();
    let line = lines.find(|l| l.as_ref().unwrap().contains("watching hello"));
    assert!(line.is_some());
    std::thread::spawn(move || lines.for_each(drop));
    let container = world.on_device(&["ps", "--quiet"]);
    let there = world.device.path("/data/sandbox/hello/www/index.html");
    let mut times: Vec<_> = (0..9)
        .map(|number| {
            let text = format!("version {number}");
            fs::write(world.path("hello/web/index.html"), &text).unwrap();
            until("the file", || {
                fs::read_to_string(&there).is_ok_and(|t| t == text)
            })
        })
        .collect();
    times.sort();
    println!("from save to visible: {times:?}");
    assert!(times[4] < Duration::from_millis(300), "{times:?}");
    fs::remove_file(world.path("hello/web/index.html")).unwrap();
    until("the removal", || !there.exists());
    assert_eq!(world.on_device(&["ps", "--quiet"]), container);

    world.change(4);
    until("the new image", || {
        let now = world.running();
        now.ends_with(" true") && now != before
    });
    interrupt(&app);
    assert_eq!(app.wait().unwrap().code(), Some(130));
    assert!(world.running().ends_with(" true"));
}

/// The new container is refused, or the connection is cut while it takes the
/// place of the old one: an app runs in either case.
#[test]
fn a_device_is_left_with_an_app() {
    let world = World::new();
    // It hears no wish to stop: the old one has a second to live.
    let dockerfile = DOCKERFILE.replace("STOPSIGNAL SIGKILL\n", "");
    fs::write(world.path("hello/Dockerfile"), dockerfile).unwrap();
    world.sandbox();
    let first = world.running();

    let app = "name: hello\nresources: {memory: lots}\n";
    fs::write(world.path("hello/app.yaml"), app).unwrap();
    let output = world.app(&["sandbox", "hello", "device"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("memory"), "{said}");
    assert_eq!(world.running(), first);

    fs::write(world.path("hello/app.yaml"), "name: hello\n").unwrap();
    world.change(2);
    let mut app = world.app(&["sandbox", "hello", "device"]);
    let app = app.stderr(Stdio::piped()).spawn().unwrap();
    until("the stop", || {
        let mut find = world.device.command("pgrep");
        let found = find.args(["-f", "docker.* stop --time=1"]).output();
        !found.unwrap().stdout.is_empty()
    });
    world.device.cut_connections().unwrap();
    let output = app.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    until("the second container", || {
        let now = world.running();
        now.ends_with(" true") && now != first
    });
}

/// A device that does not tell what it has is not one that has nothing; and
/// words of an app arrive as they are.
#[test]
fn a_device_with_a_scripted_edge_docker() {
    let world = World::new();
    let fleet = Fleet::start(1).unwrap();
    let config = fs::read_to_string(world.path("edge-app.yaml")).unwrap();
    let ssh = fleet.ssh_config(0);
    let config = format!("{config}  d00: {{ssh_config: {}}}\n", ssh.display());
    fs::write(world.path("edge-app.yaml"), config).unwrap();
    let sandbox = || {
        let output = world.app(&["sandbox", "hello", "d00"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    let data = |name: &str| fleet.path(0, "/data").join(name);
    fs::write(data("images"), "sha256:1\n").unwrap();
    fs::write(data("trouble"), "1\n2\n3\n4\n").unwrap();
    let (code, said) = sandbox();
    assert!(code == 1 && said.contains("is in trouble"), "{code} {said}");
    assert!(!data("loaded").exists() && !data("run").exists());
    // Once, as when an image goes between two questions.
    fs::write(data("trouble"), "1\n").unwrap();
    let (code, said) = sandbox();
    assert!(code == 0 && data("loaded").exists(), "{code} {said}");

    for value in [
        "$(touch /data/pwned)",
        "'; touch /data/pwned; '",
        "\"`touch /data/pwned`",
        "-oProxyCommand=touch /data/pwned",
        "a  b\\",
    ] {
        let app = json!({
            "name": "hello", "env": { "A": value }, "health": { "command": value },
            "sync": ["web:www"],
        });
        fs::write(world.path("hello/app.yaml"), app.to_string()).unwrap();
        let (code, said) = sandbox();
        assert_eq!(code, 0, "{said}");
        let words = [
            "run",
            "--detach",
            "--name",
            "hello",
            "--restart=unless-stopped",
            &format!("--env=A={value}"),
            &format!("--health-cmd={value}"),
            "sandbox/hello:latest",
        ];
        let told = |verb: &str| {
            let text = fs::read_to_string(data(verb)).unwrap();
            let words = text.split_terminator('\0').map(String::from);
            words.collect::<Vec<_>>()
        };
        assert_eq!(told("explain"), [&["explain"], &words[..]].concat());
        assert_eq!(told("run"), words);
        assert_eq!(told("sync"), ["sync", "hello"]);
        assert!(!data("pwned").exists(), "{value}");
    }
}

#[test]
fn what_is_refused_is_told() {
    let world = World::new();
    let policy = world
        .device
        .path("/etc/edge-ai/container-config/policy.json");
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, text.replace("true", "false")).unwrap();
    let output = world.app(&["sandbox", "hello", "device"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("signed containers only"), "{said}");
}
