//! Command line of edge-app: mistakes, help, and commands that need no device.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const APP: &str = "name: hello\nports: ['8080:8080']\n";

/// Project with one app, `hello`.
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

    /// Returns exit code, standard output and standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
        command
            .args(arguments)
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

    fn fails(&self, arguments: &[&str], code: i32, expected: &str) {
        let (got, _, printed) = self.run(arguments);
        assert_eq!(got, code, "{arguments:?}: {printed}");
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
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
        "check",
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
        let arguments: Vec<_> = [verb, "--help"]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        let (code, help, _) = project.run(&arguments);
        assert_eq!(code, 0);
        assert!(help.contains("Example"), "{help}");
        assert!(help.lines().all(|l| l.chars().count() <= 80), "{help}");
    }
}

#[test]
fn a_new_app_builds() {
    let project = Project::new(PLAIN);
    for template in ["plain", "python", "gpu"] {
        let arguments = ["init", template, "--template", template];
        let (code, _, next) = project.run(&arguments);
        let signed = format!("edge-app push {template} --version v1");
        assert!(code == 0 && next.contains(&signed), "{next}");
        project.fails(&arguments, 2, "not overwritten");
        // Its files are valid: only the version is wrong.
        project.fails(&["build", template, "--version", "v 1"], 2, "version");
    }
    project.fails(&["init", "../x"], 2, "is not the name of an app");
    let ignored = project.directory.path().join(".gitignore");
    assert!(fs::read_to_string(&ignored).unwrap().contains("*.key"));
    fs::write(&ignored, "mine\n").unwrap();
    assert_eq!(project.run(&["init", "another"]).0, 0);
    assert_eq!(fs::read_to_string(&ignored).unwrap(), "mine\n");
    let (code, _, next) = project.run(&["keygen", "own.key"]);
    assert!(code == 0 && next.contains("signing_key: own.key"), "{next}");
    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().to_str().unwrap();
    assert_eq!(project.run(&["--project", directory, "init", "new"]).0, 0);
    let arguments = ["--project", directory, "status", "--json"];
    project.fails(&arguments, 2, "no device is named");
    let (code, found, _) = project.run(&["doctor", "--json"]);
    assert!(code == 1 && found.contains("\"next\""), "{found}");
    assert!(found.contains("\"note\""), "{found}");
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
fn invalid_projects() {
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
    for (text, expected) in [
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
        project.fails(&["build", "hello", "--version", "v1"], 3, expected);
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
fn invalid_apps() {
    let project = Project::new(PLAIN);
    let build = ["build", "hello", "--version", "v1"];
    project.fails(
        &["build", "absent", "--version", "v1"],
        3,
        "there is no app",
    );
    for (text, expected) in [
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
            "hello/app.yaml:2:1: `privileged` is not supported: ",
        ),
        (
            "name: hello\nports: ['--privileged']\n",
            "hello/app.yaml:2:9: ",
        ),
        ("name: hello\ngrants: ['a,b']\n", "blanks, commas"),
        ("name: hello\nports: [80]\n", "write \"80:80\""),
        ("", "hello/app.yaml:1:1: unexpected end of file"),
        ("name: \"hel\\nlo\"\n", "hello/app.yaml:1:7:"),
        ("a: &a [*a]\n", "hello/app.yaml"),
    ] {
        project.put("hello/app.yaml", text);
        project.fails(&build, 3, expected);
    }
    project.put("hello/app.yaml", APP);
    fs::remove_file(project.directory.path().join("hello/Dockerfile")).unwrap();
    project.fails(&build, 3, "has no Dockerfile");
    fs::remove_file(project.directory.path().join("hello/app.yaml")).unwrap();
    project.fails(&build, 3, "has no app.yaml");
}

#[test]
fn files_of_variables_are_below_the_directory() {
    let project = Project::new(PLAIN);
    let link = project.directory.path().join("hello/link.env");
    std::os::unix::fs::symlink("../edge-app.yaml", link).unwrap();
    for (file, expected) in [
        ("../edge-app.yaml", "hello/app.yaml:2:11: "),
        ("/etc/passwd", "hello/app.yaml:2:11: "),
        ("link.env", "a link out of the app's directory"),
        (".", "not a regular file"),
        ("none.env", "there is no file \"none.env\""),
        ("large.env", "larger than"),
        ("latin.env", "not UTF-8"),
    ] {
        project.put("hello/large.env", &"#".repeat(70_000));
        let latin = project.directory.path().join("hello/latin.env");
        fs::write(latin, b"A=\xe9\n").unwrap();
        project.put(
            "hello/app.yaml",
            &format!("name: hello\nenv_file: {file}\n"),
        );
        project.fails(&["check", "hello"], 3, expected);
    }
    project.put("hello/good.env", "A='b c' # d\n");
    project.put("hello/app.yaml", "name: hello\nenv_file: ./good.env\n");
    assert_eq!(project.run(&["check", "hello"]).0, 0);
}

#[test]
fn check_says_what_a_device_would_refuse() {
    let project = Project::new(PLAIN);
    let check = |arguments: &[&str]| project.run(&[&["check", "hello"], arguments].concat());
    project.put("hello/Dockerfile", "FROM postgres:17\nVOLUME /x\nUSER 70\n");
    project.put("hello/app.yaml", "name: hello\nenv: {DB_PASSWORD: x}\n");
    let (code, out, err) = check(&[]);
    assert_eq!(
        (code, out.as_str()),
        (0, "hello: a device takes it\n"),
        "{err}"
    );
    for warning in [
        "hello/app.yaml:2:7: DB_PASSWORD looks like a secret",
        "state in /x (VOLUME)",
        "/var/lib/postgresql/data",
    ] {
        assert!(err.contains(warning), "{err}");
    }
    project.put("hello/Dockerfile", "FROM scratch\n");
    let root = check(&[]).2;
    assert!(root.contains("runs as root"), "{root}");

    project.put("hello/app.yaml", "name: hello\nports: [80]\ncpus: x\n");
    let (code, out, _) = check(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["errors"].as_array().unwrap().len()),
        (3, 2),
        "{out}"
    );
    assert!(
        report["errors"][0]
            .as_str()
            .unwrap()
            .starts_with("hello/app.yaml:2:9: ")
    );

    project.put("hello/app.yaml", "name: hello\ngrants: [arm]\n");
    let expected = "hello/app.yaml:2:1: --grant arm is refused";
    project.fails(&["check", "hello"], 6, expected);
    let (code, out, _) = check(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["refused"].as_array().unwrap().len()),
        (6, 1),
        "{out}"
    );
}

#[test]
fn each_mistake_is_a_line() {
    let project = Project::new(PLAIN);
    let text = "name: hello\nports: ['8080']\nprivileged: true\n";
    project.put("hello/app.yaml", text);
    for command in [&["check", "hello"][..], &["push", "hello", "--version=v1"]] {
        let (code, _, err) = project.run(command);
        let lines: Vec<_> = err.lines().collect();
        assert_eq!((code, lines.len()), (3, 2), "{err}");
        assert!(
            lines[0].starts_with("edge-app: hello/app.yaml:2:9: "),
            "{err}"
        );
        assert!(
            lines[1].starts_with("edge-app: hello/app.yaml:3:1: "),
            "{err}"
        );
    }
}

#[test]
fn check_judges_by_the_table_of_a_board() {
    let project = Project::new(PLAIN);
    project.put("hello/Dockerfile", "FROM scratch\n");
    project.put("hello/app.yaml", "name: hello\ngrants: [arm]\n");
    project.put(
        "board.json",
        r#"{"grants": {"arm": {"devices": ["/dev/arm0"]}}}"#,
    );
    let check = ["check", "hello", "--devices", "board.json"];
    assert_eq!(project.run(&check).0, 0);
    let root = r#"{"grants": {"arm": {"devices": ["/dev/sda"], "root": true}}}"#;
    project.put("board.json", root);
    project.fails(
        &["check", "hello", "--devices", "board.json"],
        6,
        "root: [arm]",
    );
    for (text, expected) in [
        ("{", "board.json"),
        (r#"{"x": 1}"#, "unknown field"),
        (
            r#"{"grants": {"arm": {"devices": ["/dev/sda"]}}}"#,
            "amounts to root",
        ),
    ] {
        project.put("board.json", text);
        project.fails(&["check", "hello", "--devices", "board.json"], 3, expected);
    }
    project.fails(&["check", "hello", "--devices", "absent"], 3, "absent");
    project.fails(&["check", "nowhere"], 3, "there is no app");
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
fn a_key_pair_is_created_once() {
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
