//! Mistakes of a first hour, with the real program: exit code, a message of at most two
//! lines that names the value, and nothing left behind. `-- --nocapture` prints the table.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CASES: &str = include_str!("mistakes/cases.txt");
/// Limit of the lines of a message.
const MAX_LINES: usize = 2;

/// Mistake, and what edge-app has to do.
struct Case {
    files: &'static str,
    arguments: &'static str,
    code: i32,
    expected: &'static str,
}

fn cases() -> Vec<Case> {
    let lines = CASES.lines().filter(|line| !line.starts_with('#'));
    let case = |line: &'static str| {
        let fields: Vec<_> = line.splitn(4, " | ").collect();
        let [files, arguments, code, expected] = fields[..] else {
            panic!("{line}");
        };
        Case {
            files: files.trim_start(),
            arguments,
            code: code.parse().unwrap(),
            expected,
        }
    };
    lines.map(case).collect()
}

/// Writes the project of a case to `directory`. The device `away` refuses connections.
fn project(directory: &Path, files: &str, port: u16) {
    let mut all: BTreeMap<&str, String> = [
        (
            "edge-app.yaml",
            "registry: r.io/team\ndevices:\n  away: {host: away, ssh_config: ssh}\n".into(),
        ),
        ("hello/app.yaml", "name: hello\n".into()),
        ("hello/Dockerfile", "FROM scratch\n".into()),
        (
            "ssh",
            format!("Host away\n  HostName 127.0.0.1\n  Port {port}\n"),
        ),
    ]
    .into();
    for file in files.split(";;").filter(|file| !file.is_empty()) {
        match (file.strip_prefix('-'), file.split_once('=')) {
            (Some(name), _) => drop(all.remove(name)),
            (None, Some((name, text))) => {
                let text = text.replace("\\n", "\n").replace("\\t", "\t");
                all.insert(name, format!("{text}\n"));
            }
            (None, None) => panic!("{file}"),
        }
    }
    for (name, text) in all {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// All paths below `directory`, with the content of files.
fn content(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let bytes = path.is_file().then(|| fs::read(&path).unwrap());
            if path.is_dir() {
                open.push(path.clone());
            }
            found.insert(path, bytes);
        }
    }
    found
}

/// Runs a case. Returns a line of the table, and what is wrong.
fn judge(case: &Case) -> (String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    // Free as soon as the listener is gone.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let [place, home, temporary] = ["project", "home", "tmp"].map(|name| {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    project(&place, case.files, port);
    let before = content(directory.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
    let arguments = case.arguments.split(' ');
    let command = command
        .args(arguments)
        .current_dir(&place)
        .stdin(Stdio::null());
    let output = command
        .env("HOME", home)
        .env("TMPDIR", temporary)
        .output()
        .unwrap();
    let printed = [&output.stdout[..], &output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    let code = output.status.code().unwrap_or(-1);
    let mut wrong = Vec::new();
    let mut check = |is_right: bool, what: &str| {
        if !is_right {
            wrong.push(what.to_string());
        }
    };
    check(code == case.code, "exit code");
    check(printed.contains(case.expected), "message");
    // Usage follows a wrong command line.
    let lines = printed
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count();
    check(
        code == 2 || (1..=MAX_LINES).contains(&lines),
        "number of lines",
    );
    check(!printed.contains("panicked"), "panic");
    check(content(directory.path()) == before, "something left behind");
    let line = format!(
        "{:4} edge-app {} [{}]\n     {}",
        code,
        case.arguments,
        case.files,
        printed.trim().replace('\n', "\n     ")
    );
    (line, wrong)
}

#[test]
fn mistakes_are_named_and_leave_nothing_behind() {
    let cases = cases();
    assert!(cases.len() >= 40, "{}", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let (line, wrong) = judge(case);
        println!("{line}");
        if !wrong.is_empty() {
            failed.push(format!(
                "{line}\n     expected {} {:?}: wrong {}",
                case.code,
                case.expected,
                wrong.join(", ")
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
