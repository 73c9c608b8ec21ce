//! Root of a device with trust anchors and an empty `/data`, and the program that runs
//! on it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use serde_json::Value;

pub struct TestRoot(tempfile::TempDir);

impl TestRoot {
    pub fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        let anchors = root.path("etc/edge-ai/container-config");
        for directory in [&anchors, &root.path("data/config"), &root.path("run")] {
            fs::create_dir_all(directory).unwrap();
        }
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = EcKey::generate(&group).unwrap();
        fs::write(
            anchors.join("container-signing.pub"),
            key.public_key_to_pem().unwrap(),
        )
        .unwrap();
        fs::write(anchors.join("ecr-url.txt"), "r.io/edge-ai\n").unwrap();
        fs::write(
            anchors.join("policy.json"),
            r#"{"sandbox":true,"run":"any","engineer":"debug"}"#,
        )
        .unwrap();
        root
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Program and arguments of a command on this root.
    pub fn line(&self, args: &[&str]) -> Vec<OsString> {
        let tests = std::env::current_exe().unwrap();
        let directory = tests.parent().and_then(|d| d.parent()).unwrap();
        let program = directory.join("examples/at_root");
        assert!(
            program.exists(),
            "run cargo build -p edge-docker --examples"
        );
        let mut line = vec![program.into(), self.0.path().into()];
        line.extend(args.iter().map(OsString::from));
        line
    }

    /// Exit code and output of a command.
    pub fn say(&self, args: &[&str]) -> (i32, String) {
        let line = self.line(args);
        let mut command = Command::new(&line[0]);
        let output = command.args(&line[1..]).env_clear().output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    }

    /// Output of a command that must succeed.
    pub fn good(&self, args: &[&str]) -> String {
        let (code, text) = self.say(args);
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    }

    pub fn records(&self) -> Vec<Value> {
        let text = self.good(&["ledger", "--json"]);
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    /// Counter and hash of the last record.
    pub fn head(&self) -> (u64, String) {
        let text = self.verified();
        let head = text.lines().last().unwrap().strip_prefix("head ").unwrap();
        let (counter, hash) = head.split_once(':').unwrap();
        (counter.parse().unwrap(), hash.into())
    }

    pub fn verified(&self) -> String {
        self.good(&["ledger", "verify"])
    }
}
