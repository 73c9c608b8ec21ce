//! A device in namespaces of its own: a root with `/data`, trust anchors, a
//! container engine, and the edge-docker that was built.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

const SETUP: &str = r#"
set -eu
root=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir usr proc sys dev etc data run tmp opt var old
ln -s /run var/run
for name in bin sbin lib lib32 lib64 libx32; do
	[ ! -h "/$name" ] || cp -P "/$name" .
	[ -h "/$name" ] || [ ! -d "/$name" ] || { mkdir "$name"; mount --rbind "/$name" "$name"; }
done
for name in usr sys dev; do mount --rbind "/$name" "$name"; done
mount -t proc proc proc
cp -a /etc/ld.so.cache /etc/alternatives etc/ 2>/dev/null || :
cp -a "$2/." .
pivot_root . old
umount -l /old
ip link set lo up
: >/run/ready
exec sleep infinity
"#;

/// The device; it is gone with this value.
pub struct Device {
    holder: Child,
    init: u32,
    engine: Option<Child>,
    _directory: TempDir,
}

impl Device {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, content) = (
            directory.path().join("root"),
            directory.path().join("content"),
        );
        fs::create_dir(&root).unwrap();
        write_content(&content);
        let holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"])
            .args(["sh", "-c", SETUP, "sh"])
            .args([&root, &content])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let init = until("namespaces", || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        let ready = PathBuf::from(format!("/proc/{init}/root/run/ready"));
        until("the device's root", || ready.exists().then_some(()));
        let mut device = Self {
            holder,
            init,
            engine: None,
            _directory: directory,
        };
        device.start_engine();
        device.import();
        device
    }

    /// A command inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string()]);
        command.args(["--mount", "--net", "--pid", "--root", "--wd=/", "--"]);
        // The caller's TMPDIR does not exist inside, and runc would fail for it.
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(words).stdin(Stdio::null());
        command
    }

    pub fn edge_docker(&self, words: &[&str]) -> Command {
        self.command(&[&["/opt/edge-docker"], words].concat())
    }

    /// Exit code and all that was said.
    pub fn run(&self, words: &[&str]) -> (i32, String) {
        said(&self.edge_docker(words).output().unwrap())
    }

    pub fn docker(&self, words: &[&str]) -> String {
        let output = self.command(&[&["docker"], words].concat()).output();
        let (code, said) = said(&output.unwrap());
        assert_eq!(code, 0, "{words:?}: {said}");
        said.trim().into()
    }

    pub fn start_engine(&mut self) {
        let command = ["dockerd", "--iptables=false", "--data-root=/data/docker"];
        let log = fs::File::create(format!("/proc/{}/root/run/dockerd.log", self.init)).unwrap();
        let engine = self
            .command(&command)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.engine = Some(engine.unwrap());
        until("dockerd", || {
            let output = self.command(&["docker", "version"]).output().unwrap();
            output.status.success().then_some(())
        });
    }

    /// `systemctl stop docker`, as far as containers see it.
    pub fn stop_engine(&mut self) {
        let output = self.command(&["sh", "-c", "kill $(cat /run/docker.pid)"]);
        assert!({ output }.status().unwrap().success());
        self.engine.take().unwrap().wait().unwrap();
    }

    /// Everything ends at once; what is on /data stays.
    pub fn power_cut(&mut self) {
        let _ = self.command(&["sh", "-c", "kill -9 -1"]).status();
        self.engine.take().unwrap().wait().unwrap();
        let clean = "for m in $(sed -n 's,^[^ ]* \\(/\\(data\\|run\\)/docker/[^ ]*\\) .*,\\1,p' /proc/mounts)
            do umount -l $m; done; rm -rf /run/docker* /run/containerd";
        assert!(
            self.command(&["sh", "-c", clean])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// `sandbox/APP` for every app of the tests: a server, and a shell.
    fn import(&self) {
        let mut child = self
            .command(&[
                "docker",
                "import",
                "--change",
                r#"ENTRYPOINT ["/hello"]"#,
                "-",
                "sandbox/hello",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(archive()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Asks the app on `port` of the device once.
    pub fn get(&self, port: u16) -> Option<String> {
        let init = self.init;
        std::thread::spawn(move || {
            enter(init);
            get(port)
        })
        .join()
        .unwrap()
    }

    /// What answers on `port`, as soon as something does.
    pub fn answer(&self, port: u16) -> String {
        until("an answer", || self.get(port))
    }

    /// Asks again and again, until the counter is dropped.
    pub fn count(&self, port: u16) -> Counter {
        let stop = Arc::new(AtomicBool::new(false));
        let (init, flag) = (self.init, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            enter(init);
            let mut counts = (0, 0);
            while !flag.load(Ordering::Relaxed) {
                counts.0 += 1;
                counts.1 += u32::from(get(port).is_none());
                std::thread::sleep(Duration::from_millis(10));
            }
            counts
        });
        Counter { stop, thread }
    }

    /// A container's value, as `docker inspect` gives it.
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, name])
    }

    pub fn names(&self) -> Vec<String> {
        let list = self.docker(&["ps", "--all", "--format", "{{.Names}}"]);
        let mut names: Vec<_> = list.lines().map(String::from).collect();
        names.sort();
        names
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if let Some(mut engine) = self.engine.take() {
            let _ = engine.wait();
        }
    }
}

/// Requests that are counted.
pub struct Counter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Counter {
    /// Made, and lost.
    pub fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn enter(init: u32) {
    let file = fs::File::open(format!("/proc/{init}/ns/net")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn get(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let body = text.split_once("\r\n\r\n")?.1.trim().to_string();
    (!body.is_empty()).then_some(body)
}

/// Waits for what gives no event.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn said(output: &Output) -> (i32, String) {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

fn write_content(content: &Path) {
    let put = |path: &str, bytes: &[u8], mode: u32| {
        let path = content.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let program = fs::read(env!("CARGO_BIN_EXE_edge-docker")).unwrap();
    put("opt/edge-docker", &program, 0o755);
    let anchors = "etc/edge-ai/container-config";
    let key = include_bytes!("key.pub");
    put(&format!("{anchors}/container-signing.pub"), key, 0o644);
    put(&format!("{anchors}/ecr-url.txt"), b"r.test/team\n", 0o644);
    put(
        &format!("{anchors}/policy.json"),
        b"{\"sandbox\": true}",
        0o644,
    );
    for directory in ["data/apps", "data/sandbox", "data/config"] {
        fs::create_dir_all(content.join(directory)).unwrap();
    }
}

/// The image's files: the sample app, built once, and this machine's shell.
fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/hello/main.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition=2021", "-Ctarget-feature=+crt-static", "-o"])
            .arg(directory.path().join("hello"))
            .arg(source)
            .status();
        assert!(status.unwrap().success());
        let libraries = Command::new("ldd").arg("/bin/sh").output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let libraries = libraries
            .split_whitespace()
            .filter(|w| w.starts_with('/'))
            .map(|w| w.trim_start_matches('/'));
        let output = Command::new("tar")
            .args(["-ch", "-C"])
            .arg(directory.path())
            .args(["hello", "-C", "/", "bin/sh"])
            .args(libraries)
            .output();
        output.unwrap().stdout
    })
}
