//! edge-app as a developer runs it: mistakes, help, and what needs no device.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const APP: &str = "name: hello\nports: ['8080:8080']\n";

/// A project with one app, `hello`.
struct Project {
    directory: TempDir,
}

impl Project {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("edge-app.yaml"), config).unwrap();
        fs::create_dir(directory.path().join("hello")).unwrap();
        let project = Self { directory };
        project.put("hello/app.yaml", APP);
        project.put("hello/Dockerfile", "FROM scratch\nCOPY app.yaml /\n");
        project
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
        command
            .args(words)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
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
    let directory = empty.path().to_str().unwrap();
    assert_eq!(project.run(&["--project", directory, "init", "new"]).0, 0);
    let words = ["--project", directory, "status", "--json"];
    project.fails(&words, 2, "no device is named");
    let (code, found, _) = project.run(&["doctor", "--json"]);
    assert!(code == 1 && found.contains("\"next\""), "{found}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(project.run(&["completions", shell]).1.contains("rollback"));
    }
    assert_eq!(project.run(&["man", "pages"]).0, 0);
    assert!(
        project
            .directory
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
    fs::remove_file(project.directory.path().join("edge-app.yaml")).unwrap();
    project.fails(
        &["build", "hello", "--version", "v1"],
        3,
        "no edge-app.yaml here or above",
    );
    for (text, wanted) in [
        ("", "edge-app.yaml:1:1: unexpected end of file"),
        ("registry: [", "edge-app.yaml:"),
        (
            "registry: r.io/team\ncolour: red\n",
            "edge-app.yaml:2:1: unknown field `colour`",
        ),
        (
            "registry: r.io/team\nplatform: amiga\n",
            "edge-app.yaml:2:11: platform \"amiga\" is not",
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
        ("name: other\n", "it must be the name of the directory"),
        ("name: hello\nports: {}\n", "hello/app.yaml:2:8:"),
        ("name: hello\nports: [\n", "hello/app.yaml:2:8:"),
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
        ("name: hello\nports: ['--privileged']\n", "a leading - "),
        ("name: hello\ngrants: ['a,b']\n", "blanks, commas"),
        ("", "hello/app.yaml:1:1: unexpected end of file"),
        ("name: \"hel\\nlo\"\n", "hello/app.yaml:1:7:"),
        ("a: &a [*a]\n", "hello/app.yaml"),
    ] {
        project.put("hello/app.yaml", text);
        project.fails(&build, 3, wanted);
    }
    project.put("hello/app.yaml", APP);
    fs::remove_file(project.directory.path().join("hello/Dockerfile")).unwrap();
    project.fails(&build, 3, "has no Dockerfile");
    fs::remove_file(project.directory.path().join("hello/app.yaml")).unwrap();
    project.fails(&build, 3, "has no app.yaml");
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
    project.fails(&["stop", "hello", "away"], 5, "away is unreachable: ssh: ");
    project.fails(&["logs", "hello", "away"], 5, "unreachable");
}

#[test]
fn a_key_pair_is_made_once() {
    let project = Project::new(PLAIN);
    assert_eq!(project.run(&["keygen", "signing.key"]).0, 0);
    let key = fs::read(project.directory.path().join("signing.key")).unwrap();
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    project.fails(&["keygen", "signing.key"], 2, "not overwritten");
    assert_eq!(
        fs::read(project.directory.path().join("signing.key")).unwrap(),
        key
    );
}
