//! edge-app as a developer runs it: mistakes, and pushes to a real registry.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod bench;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::Cloud;
use tempfile::TempDir;

const APP: &str = "name: hello\nports: ['8080:8080']\n";

/// A project with one app, `hello`.
struct Project {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Project {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("edge-app.yaml"), config).unwrap();
        fs::create_dir(folder.path().join("hello")).unwrap();
        let project = Self {
            folder,
            variables: Vec::new(),
        };
        project.put("hello/app.yaml", APP);
        project.put("hello/Dockerfile", "FROM scratch\nCOPY app.yaml /\n");
        project
    }

    /// One that pushes to `cloud` and signs as `key` says.
    fn of(cloud: &Cloud, key: &str) -> Self {
        let mut project = Self::new(&format!(
            "registry: {}\nca: {}\ncredentials:\n  username: AWS\n  password_file: {}\n\
             signing_key: {key}\nplatform: linux/amd64\n",
            cloud.value("registry"),
            cloud.value("ca_file"),
            cloud.value("registry_password_file"),
        ));
        project
            .variables
            .push(("HTTPS_PROXY", cloud.value("proxy")));
        project
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let me = Path::new(env!("CARGO_BIN_EXE_edge-sim"));
        let program = me.with_file_name("edge-app");
        assert!(
            program.exists(),
            "edge-app is missing: cargo build -p edge-app"
        );
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn fails(&self, words: &[&str], code: i32, wanted: &str) {
        let (got, _, said) = self.run(words);
        assert_eq!(got, code, "{words:?}: {said}");
        assert!(said.contains(wanted), "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

const PLAIN: &str = "registry: r.io/team\n";

#[test]
fn help_fits_and_shows_an_example() {
    let project = Project::new(PLAIN);
    for verb in [
        "",
        "init",
        "doctor",
        "list",
        "build",
        "push",
        "deploy",
        "rollback",
        "status",
        "diff",
        "sandbox",
        "logs",
        "stop",
        "remove",
        "verify",
        "keygen",
        "completions",
        "man",
    ] {
        let words: Vec<_> = [verb, "--help"]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        let (code, help, _) = project.run(&words);
        assert_eq!(code, 0);
        assert!(help.contains("Example"), "{help}");
        assert!(help.lines().all(|l| l.chars().count() <= 80), "{help}");
    }
}

#[test]
fn a_new_app_is_one() {
    let project = Project::new(PLAIN);
    for template in ["plain", "python", "gpu"] {
        let words = ["init", template, "--template", template];
        assert_eq!(project.run(&words).0, 0);
        project.fails(&words, 2, "not overwritten");
        // It is read, and what is wrong is only the version.
        project.fails(&["build", template, "--version", "v 1"], 2, "version");
    }
    project.fails(&["init", "../x"], 2, "is not the name of an app");
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    assert_eq!(project.run(&["--project", folder, "init", "new"]).0, 0);
    let words = ["--project", folder, "status", "--json"];
    project.fails(&words, 2, "no device is named");
    let (code, found, _) = project.run(&["doctor", "--json"]);
    assert!(code == 1 && found.contains("\"next\""), "{found}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(project.run(&["completions", shell]).1.contains("rollback"));
    }
    assert_eq!(project.run(&["man", "pages"]).0, 0);
    assert!(
        project
            .folder
            .path()
            .join("pages/edge-app-deploy.1")
            .exists()
    );
}

#[test]
fn a_project_that_is_none() {
    let project = Project::new(PLAIN);
    project.fails(
        &["--project", "nowhere", "list"],
        3,
        "nowhere/edge-app.yaml",
    );
    fs::remove_file(project.folder.path().join("edge-app.yaml")).unwrap();
    project.fails(
        &["build", "hello", "--version", "v1"],
        3,
        "no edge-app.yaml here or above",
    );
    for (text, wanted) in [
        ("", "missing field `registry`"),
        ("registry: [", "edge-app.yaml:"),
        (
            "registry: r.io/team\ncolour: red\n",
            "edge-app.yaml:2:1: unknown field `colour`",
        ),
        (
            "registry: r.io/team\nplatform: amiga\n",
            "edge-app.yaml:2:11: platform: must be",
        ),
        ("registry: 7\n", "registry must be"),
    ] {
        project.put("edge-app.yaml", text);
        project.fails(&["build", "hello", "--version", "v1"], 3, wanted);
    }
    project.put("edge-app.yaml", &"#".repeat(300_000));
    project.fails(&["list"], 3, "larger than");
    project.put("edge-app.yaml", "registry: Not A Repository\n");
    project.fails(
        &["build", "hello", "--version", "v1"],
        3,
        "not a repository",
    );
}

#[test]
fn an_app_that_is_none() {
    let project = Project::new(PLAIN);
    let build = ["build", "hello", "--version", "v1"];
    project.fails(
        &["build", "absent", "--version", "v1"],
        3,
        "there is no app",
    );
    for (text, wanted) in [
        ("name: other\n", "it must be the name of the folder"),
        ("name: hello\nports: {}\n", "hello/app.yaml:2:8:"),
        ("name: hello\nports: [\n", "hello/app.yaml:3:"),
        (
            "name: hello\nvolumes: ['/etc:/x']\n",
            "hello/app.yaml:2:11:",
        ),
        (
            "name: hello\nvolumes:\n  - ../up:/x\n",
            "hello/app.yaml:3:5:",
        ),
        ("name: hello\nenv: {'A B': c}\n", "hello/app.yaml:2:"),
        ("name: hello\nrestart: sometimes\n", "hello/app.yaml:2:10:"),
        (
            "name: hello\nprivileged: true\n",
            "unknown field `privileged`",
        ),
        ("name: hello\nports: ['--privileged']\n", "not a plain word"),
        ("name: hello\ngrants: ['a,b']\n", "not a plain word"),
        ("", "missing field `name`"),
        ("name: \"hel\\nlo\"\n", "hello/app.yaml:1:7:"),
        ("a: &a [*a]\n", "hello/app.yaml"),
    ] {
        project.put("hello/app.yaml", text);
        project.fails(&build, 3, wanted);
    }
    project.put("hello/app.yaml", APP);
    fs::remove_file(project.folder.path().join("hello/Dockerfile")).unwrap();
    project.fails(&build, 3, "has no Dockerfile");
    fs::remove_file(project.folder.path().join("hello/app.yaml")).unwrap();
    project.fails(&build, 3, "has no app.yaml");
}

#[test]
fn names_that_are_none_reach_no_shell() {
    let project = Project::new(PLAIN);
    for name in [
        "../hello", "a b", "$(id)", "a;id", "-x", "HELLO", "", "a\nb", "a/b",
    ] {
        let words = ["stop", "--", name, "device"];
        project.fails(&words, 2, "is not the name of an app");
        let words = ["build", "--version", "v1", "--", name];
        project.fails(&words, 2, "is not the name of an app");
    }
    for name in [
        "-oProxyCommand=id",
        "a b",
        "$(id)",
        "a;id",
        "",
        "a\nb",
        "'",
        "a/b",
    ] {
        project.fails(
            &["stop", "--", "hello", name],
            2,
            "is not the name of a device",
        );
    }
    for version in ["v 1", "../1", "", "-v", "$(id)", "a:b", "a/b"] {
        let version = format!("--version={version}");
        project.fails(&["build", "hello", &version], 2, "version");
    }
}

#[test]
fn a_device_that_does_not_answer() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let project = Project::new(&format!(
        "{PLAIN}devices:\n  away: {{host: away, ssh_config: ssh}}\n"
    ));
    project.put(
        "ssh",
        &format!("Host away\n  HostName 127.0.0.1\n  Port {free}\n"),
    );
    project.fails(
        &["stop", "hello", "away"],
        5,
        "away is unreachable: ssh said",
    );
    project.fails(&["logs", "hello", "away"], 5, "unreachable");
}

#[test]
fn a_key_pair_is_made_once() {
    let project = Project::new(PLAIN);
    assert_eq!(project.run(&["keygen", "signing.key"]).0, 0);
    let key = fs::read(project.folder.path().join("signing.key")).unwrap();
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    project.fails(&["keygen", "signing.key"], 2, "not overwritten");
    assert_eq!(
        fs::read(project.folder.path().join("signing.key")).unwrap(),
        key
    );
}

/// This machine's container engine, or one of our own for the time of a test.
struct Engine {
    child: Option<Child>,
    folder: TempDir,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = Self {
            child: None,
            folder,
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
            command.arg(flag).arg(engine.folder.path().join(name));
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
        format!("unix://{}", self.folder.path().join("s").display())
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new(which("docker"));
        if self.child.is_some() {
            command.env("DOCKER_HOST", self.host());
        }
        command
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Makes an image with one file of `content`.
    fn image(&self, name: &str, content: &str) {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, "file", content.as_bytes())
            .unwrap();
        let mut command = self.docker(&["import", "-", name]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let bytes = archive.into_inner().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn lend(&self, project: &mut Project) {
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

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|p| p.join(program))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("{program} is missing: run scripts/setup"))
}

#[test]
fn push_signs_once_and_a_tag_never_moves() {
    let (cloud, engine) = (Cloud::up(), Engine::start());
    let mut project = Project::of(&cloud, &cloud.value("signing_key"));
    engine.lend(&mut project);
    let push = ["push", "hello", "--version", "v1"];
    project.fails(&push, 1, "build it first");
    let name = format!("{}:hello-v1", cloud.value("registry"));
    engine.image(&name, "one");
    let (code, first, said) = project.run(&push);
    assert_eq!(code, 0, "{said}");
    assert!(first.contains("@sha256:"), "{first}");
    let (code, second, said) = project.run(&push);
    assert_eq!((code, &second), (0, &first));
    assert!(said.contains("already signed"), "{said}");
    let (code, verified, _) = project.run(&["verify", "hello", "--version", "v1"]);
    assert!(
        code == 0 && verified.contains("app      hello\nversion  v1"),
        "{verified}"
    );
    let list = project.run(&["list"]).1;
    assert!(list.contains("hello  v1       "), "{list}");

    engine.image(&name, "two");
    project.fails(&push, 4, "is there with other content");
    project.fails(&["verify", "hello", "--version", "v2"], 4, "not found");
    project.fails(
        &["deploy", "hello", "nowhere", "--version", "v2"],
        4,
        "not found",
    );

    project.put("hello/app.yaml", "name: hello\ngrants: [gpu]\n");
    project.fails(&push, 2, "sign these grants with --yes");

    let other = Cloud::up();
    let key = fs::read_to_string(other.file("signing.key")).unwrap();
    fs::write(cloud.file("signing.key"), key).unwrap();
    project.fails(
        &["verify", "hello", "--version", "v1"],
        7,
        "a key that is not trusted",
    );
    fs::write(cloud.file("signing.key"), "nonsense").unwrap();
    project.fails(&["verify", "hello", "--version", "v1"], 7, "PKCS#8");
    fs::remove_file(cloud.file("signing.key")).unwrap();
    project.fails(&push, 3, "signing.key");
    fs::write(cloud.file("registry.password"), "wrong").unwrap();
    project.fails(&["list"], 4, "wrong or no credentials");
    assert!(!project.run(&["list"]).2.contains("wrong\n"));
    bench::sim(&["cloud", "down"], cloud.path());
    project.fails(&["list"], 4, "does not answer");
}

#[test]
fn kms_signs_and_ssm_names_the_registry() {
    let (cloud, engine) = (Cloud::with(&[]), Engine::start());
    let mut project = Project::of(&cloud, "{kms: edge-container-signing}");
    engine.lend(&mut project);
    let config = fs::read_to_string(project.folder.path().join("edge-app.yaml")).unwrap();
    let registry = format!("registry: {}", cloud.value("registry"));
    project.put(
        "edge-app.yaml",
        &config.replace(&registry, "registry: {ssm: /edge-ai/ecr/repository-url}"),
    );
    for (name, value) in [
        ("AWS_ENDPOINT_URL", cloud.value("aws_endpoint")),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ] {
        project.variables.push((name, value));
    }
    engine.image(&format!("{}:hello-v1", cloud.value("registry")), "one");
    let (code, _, said) = project.run(&["push", "hello", "--version", "v1"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(project.run(&["verify", "hello", "--version", "v1"]).0, 0);
    project.put(
        "edge-app.yaml",
        &config.replace("edge-container-signing", "absent"),
    );
    project.fails(&["verify", "hello", "--version", "v1"], 7, "absent");
    project.put(
        "edge-app.yaml",
        &config.replace(&registry, "registry: {ssm: /absent}"),
    );
    project.fails(&["list"], 4, "/absent");
}
