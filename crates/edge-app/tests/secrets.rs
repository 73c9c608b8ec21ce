//! No secret is visible while an app is pushed and deployed: not in the list of processes
//! on the laptop or the device, nor in output, logs or files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge_sim::testbed::Cloud;
use project::Real;
use serde_json::json;

/// Value on a command line for as long as a login takes: the sampler must see it.
const CANARY: &str = "canary-8d1f0a7be5c2";
/// Secret access key of AWS, in a file as `aws configure` writes it.
const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYq3t8EdGeAi";
const SERVE: &str = "trap 'exit 0' TERM; sleep infinity & wait";
/// Size limit of searched files: larger ones are layers of images.
const LARGEST: u64 = 32 * 1024 * 1024;

/// Samples the command line and environment of every process of this machine; the
/// device's processes are among them.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u32, Vec<String>)>,
}

impl Sampler {
    fn start(secrets: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let secrets = secrets.to_vec();
        let thread = std::thread::spawn(move || {
            let (mut samples, mut found) = (0, Vec::new());
            while !flag.load(Ordering::Relaxed) {
                samples += 1;
                sample(&secrets, &mut found);
                std::thread::sleep(Duration::from_millis(1));
            }
            (samples, found)
        });
        Self { stop, thread }
    }

    fn end(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn sample(secrets: &[String], found: &mut Vec<String>) {
    let me = std::process::id().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes()[0].is_ascii_digit() || *name == *me {
            continue;
        }
        for file in ["cmdline", "environ"] {
            // The process may have ended.
            let text = fs::read(entry.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            for secret in secrets.iter().filter(|s| text.contains(*s)) {
                found.push(format!("{secret} in {file} of {text}"));
            }
        }
    }
}

/// Journal of the device, as edge-docker writes it.
struct Journal {
    path: PathBuf,
    thread: std::thread::JoinHandle<Vec<u8>>,
}

impl Journal {
    fn of(real: &Real) -> Self {
        let path = real.device.inside("/run/systemd/journal/socket");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), vec![0; 256 * 1024]);
            while let Ok(length @ 1..) = socket.recv(&mut piece) {
                all.extend_from_slice(&piece[..length]);
            }
            all
        });
        Self { path, thread }
    }

    fn end(self) -> Vec<u8> {
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(b"", &self.path).unwrap();
        self.thread.join().unwrap()
    }
}

/// Lines of the private key, and the other secrets.
fn secrets(cloud: &Cloud) -> Vec<String> {
    let key = fs::read_to_string(cloud.file("signing.key")).unwrap();
    let key = key.lines().filter(|l| !l.starts_with("-----"));
    let mut secrets: Vec<_> = key.map(String::from).collect();
    assert!(secrets.len() >= 3, "a PKCS#8 key has three lines");
    secrets.push(cloud.password());
    secrets.push(AWS_SECRET.into());
    secrets
}

/// Returns the files below `directory` that hold a secret.
fn holding(directory: &Path, secrets: &[String], found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            holding(&path, secrets, found);
        } else if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() < LARGEST) {
            // The engine may have removed it.
            let bytes = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            for secret in secrets.iter().filter(|s| text.contains(*s)) {
                found.push(format!("{secret} in {}", path.display()));
            }
        }
    }
}

/// Types `lines` into a shell that keeps its history; returns everything printed.
fn typed(real: &Real, home: &Path, lines: &[String]) -> String {
    let edge_app = real.project.command(&[]);
    let mut bash = Command::new("bash");
    for (name, value) in edge_app.get_envs() {
        bash.env(name, value.unwrap());
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_edge-app"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", programs.parent().unwrap().display());
    bash.args(["--noprofile", "--norc", "-i"])
        .current_dir(real.project.directory.path())
        .env("PATH", path)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = bash.spawn().unwrap();
    let mut script = String::from("set -o history\n");
    for line in lines {
        script += &format!("{line} </dev/null || echo FAI''LED\n");
    }
    script += "history -a\nexit 0\n";
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap() + &reader.join().unwrap();
    assert!(!printed.contains("FAILED"), "{printed}");
    printed
}

/// Configures registry and key in AWS, with credentials as `aws configure` writes them.
fn with_aws(real: &mut Real, cloud: &Cloud, directory: &Path) {
    let credentials = directory.join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {AWS_SECRET}\n"
    );
    fs::write(&credentials, text).unwrap();
    let credentials = credentials.display().to_string();
    real.project.variables.extend([
        ("AWS_ENDPOINT_URL", cloud.value("aws_endpoint")),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", credentials),
    ]);
    let key = json!({ "kms": "edge-container-signing" });
    real.project.set("signing_key", key);
    let registry = json!({ "ssm": "/edge-ai/ecr/repository-url" });
    real.project.set("registry", registry);
}

/// Stops the sampler once it has seen the canary; returns everything else that it saw.
fn seen(sampler: Sampler) -> Vec<String> {
    let mut canary = Command::new("sleep");
    let canary = canary.args(["0.1"]).env("CANARY", CANARY).status();
    assert!(canary.unwrap().success());
    let (samples, mut found) = sampler.end();
    println!("{samples} samples of the list of processes");
    let all = found.len();
    found.retain(|f| !f.starts_with(CANARY));
    assert!(all > found.len(), "{samples} samples, and nothing seen");
    assert!(samples > 50, "{samples} samples are too few");
    found
}

#[test]
fn no_secret_is_visible_during_push_and_deploy() {
    let cloud = Cloud::with(&[]);
    let mut real = Real::start(&cloud);
    let [home, login] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    with_aws(&mut real, &cloud, login.path());
    real.image("v1", SERVE);
    let secrets = secrets(&cloud);
    let journal = Journal::of(&real);
    let sampler = Sampler::start(&[&secrets[..], &[CANARY.into()]].concat());
    let lines = [
        // With KMS, and with a file, whose key the device trusts.
        "edge-app push hello --version v1".into(),
        format!(
            "edge-app push hello --version v1 --key {}",
            cloud.file("signing.key").display()
        ),
        "edge-app deploy hello jetson --version v1".into(),
        "edge-app status".into(),
        "edge-app list".into(),
    ];
    let printed = typed(&real, home.path(), &lines);
    assert!(printed.contains("hello v1 runs"), "{printed}");
    assert_eq!(printed.matches(": signed ").count(), 2, "{printed}");
    let mut found = seen(sampler);
    assert!(found.is_empty(), "{found:?}");

    let audit = journal.end();
    let audit = String::from_utf8_lossy(&audit);
    assert!(audit.contains("allowed replace"), "{audit}");
    let history = fs::read_to_string(home.path().join(".bash_history")).unwrap();
    assert!(history.contains("push hello"), "{history}");
    let engine = fs::metadata(real.device.path("/var/log/dockerd")).unwrap();
    assert!(engine.len() > 0, "the engine logs");
    for secret in &secrets {
        assert!(!printed.contains(secret), "printed: {printed}");
        assert!(!audit.contains(secret), "in the journal: {audit}");
    }
    let project = real.project.directory.path();
    for directory in [real.device.directory(), home.path(), project] {
        holding(directory, &secrets, &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
}
