//! Verdicts on the corpora, a line each, to be compared with those of another commit:
//! `cargo run -p edge-docker --example verdicts -- OUTPUT CORPUS [SEEDS]`, as root.
//!
//! CORPUS is `crates/edge-docker/tests/corpus`; SEEDS a directory of inputs of the fuzz
//! target `decision_line`. A command line has its exit code and the requests that reached the
//! engine, a request to the engine and a stored container whether they pass. Messages are
//! left out: their wording may change.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    dead_code,
    unused_imports
)]

#[path = "../tests/engine/corpus.rs"]
mod corpus;
#[path = "../../edge-docker-policy/tests/decision/mod.rs"]
mod decision;
#[path = "../tests/device/dice.rs"]
mod dice;
#[path = "../tests/engine/generated.rs"]
mod generated;
#[path = "../tests/engine/recorder.rs"]
mod recorder;
#[path = "../tests/engine/test_root.rs"]
mod test_root;

use std::fs;
use std::path::{Path, PathBuf};

use decision::checker;
use serde_json::Value;
use test_root::TestRoot;

fn main() {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [output, corpus, seeds @ ..] = &paths[..] else {
        panic!("usage: verdicts OUTPUT CORPUS [SEEDS]");
    };
    let root = TestRoot::new();
    corpus::containers(&root);
    let mut verdicts = lines(&root, corpus);
    verdicts.extend(requests(corpus));
    verdicts.extend(stored(corpus));
    for directory in seeds {
        verdicts.extend(inputs(&root, directory));
    }
    verdicts.extend(random(&root));
    // Not to standard output, to which the commands write.
    fs::write(output, verdicts.join("\n") + "\n").unwrap();
}

/// Numbered lines of a corpus, without its comments.
fn numbered(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(String::from).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn lines(root: &TestRoot, corpus: &Path) -> Vec<String> {
    let mut verdicts = Vec::new();
    for file in ["benign.txt", "hostile.txt"] {
        for (number, line) in numbered(&corpus.join(file)) {
            let line = match file {
                "hostile.txt" => line.split_once(" | ").unwrap().1,
                _ => &line,
            };
            let name = format!("{file}:{}", number + 1);
            verdicts.push(verdict(root, &name, &corpus::split(line)));
        }
    }
    verdicts
}

fn verdict(root: &TestRoot, name: &str, args: &[String]) -> String {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = root.run_line(&args);
    let mut reached = String::new();
    for request in &outcome.requests {
        let body = String::from_utf8_lossy(&request.body);
        reached += &format!(" {} {} {body}", request.method, request.target);
    }
    format!("{name} {}{}", outcome.code, without_random(&reached))
}

/// Replaces the keys that differ in each run: of mount clones, and of the signer.
fn without_random(text: &str) -> String {
    let marks = ["edge.signer\":\"", "edge.pins\":\""];
    marks.iter().fold(text.to_string(), |text, mark| {
        let key = text
            .split(mark)
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        match key.filter(|key| !key.is_empty()) {
            Some(key) => text.replace(key, "KEY"),
            None => text,
        }
    })
}

fn requests(corpus: &Path) -> Vec<String> {
    let mut verdicts = Vec::new();
    for file in ["authz-free.txt", "authz-refused.txt"] {
        for (number, line) in numbered(&corpus.join(file)) {
            let line = match file {
                "authz-refused.txt" => line.split_once(" | ").unwrap().1,
                _ => &line,
            };
            let parts: Vec<_> = line.splitn(3, ' ').collect();
            let body = parts.get(2).copied().unwrap_or_default();
            let decision = decision::api_request(parts[0], parts[1], body.as_bytes());
            let passes = passes(decision.is_ok());
            verdicts.push(format!("{file}:{} {passes}", number + 1));
        }
    }
    verdicts
}

fn passes(passes: bool) -> &'static str {
    if passes { "passes" } else { "refused" }
}

fn stored(corpus: &Path) -> Vec<String> {
    let text = fs::read(corpus.join("stored.json")).unwrap();
    let honest: Value = serde_json::from_slice(&text).unwrap();
    let decision = decision::stored_container(&honest);
    let mut verdicts = vec![format!("stored.json {}", passes(decision.is_ok()))];
    for (number, line) in numbered(&corpus.join("stored-edits.txt")) {
        let [_, file, pointer, new] = line.splitn(4, " | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let file = match file {
            "hostconfig.json" => "host",
            _ => "config",
        };
        let mut edited = honest.clone();
        let new = serde_json::from_str(new).unwrap();
        decision::edits::put(&mut edited, &format!("/{file}{pointer}"), new);
        let passes = passes(decision::stored_container(&edited).is_ok());
        verdicts.push(format!("stored-edits.txt:{} {passes}", number + 1));
    }
    verdicts
}

/// Inputs of the fuzz target, as command lines behind `run`.
fn inputs(root: &TestRoot, directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut verdicts = Vec::new();
    for path in paths {
        if let Ok(text) = fs::read_to_string(&path) {
            let name = path.file_name().unwrap().to_string_lossy();
            let args = ["run"]
                .into_iter()
                .chain(text.split('\n'))
                .map(String::from);
            let args: Vec<_> = args.collect();
            verdicts.push(verdict(root, &format!("seed:{name}"), &args));
        }
    }
    verdicts
}

/// Lines of the test that generates them.
fn random(root: &TestRoot) -> Vec<String> {
    let mut dice = dice::Dice::new(0x5eed);
    let lines = (0..20_000).map(|number| (number, generated::line(&mut dice)));
    lines
        .map(|(number, line)| verdict(root, &format!("generated:{number}"), &line))
        .collect()
}
