//! Callers over SSH: the real ssh, sshd and sudo with the configuration of the image, and
//! what the ledger says about them. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use edge_common::contract::login;
use edge_sim::namespaces::{Device, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

const EDGE_DOCKER: &str = "sudo -n /usr/bin/edge-docker";
const AUTHORIZED: &str = "/home/edge/.ssh/authorized_keys";

struct Testbed {
    device: Device,
    directory: TempDir,
}

/// Key of an engineer.
struct Key {
    path: PathBuf,
    public: String,
    fingerprint: String,
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

impl Testbed {
    fn new() -> Self {
        Self::start(false)
    }

    /// Starts the device, with a container engine or without.
    fn start(engine: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            edge_docker: Some(Path::new(env!("CARGO_BIN_EXE_edge-docker"))),
            engine,
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        Self { device, directory }
    }

    /// Creates a key and does not authorize it.
    fn key(&self, name: &str, kind: &str) -> Key {
        let path = self.directory.path().join(name);
        let file = path.to_str().unwrap();
        run(
            "ssh-keygen",
            &["-q", "-t", kind, "-N", "", "-C", name, "-f", file],
        );
        let fingerprint = run("ssh-keygen", &["-l", "-f", file]);
        Key {
            public: fs::read_to_string(path.with_extension("pub")).unwrap(),
            fingerprint: fingerprint.split_whitespace().nth(1).unwrap().into(),
            path,
        }
    }

    /// Replaces the authorized keys of the user edge.
    fn authorize(&self, lines: &[&str]) {
        fs::write(self.device.path(AUTHORIZED), lines.concat()).unwrap();
    }

    /// Runs a command as the user edge, in a login with these keys.
    fn ssh(&self, keys: &[&Key], command: &str) -> Output {
        self.feed(keys, command, b"")
    }

    /// Runs a command with this standard input.
    fn feed(&self, keys: &[&Key], command: &str, input: &[u8]) -> Output {
        let mut ssh = Command::new("ssh");
        // The key of the configuration would be offered, too.
        let config = fs::read_to_string(self.device.ssh_config()).unwrap();
        let config: String = config
            .split_inclusive('\n')
            .filter(|line| !line.contains("IdentityFile"))
            .collect();
        let own = self.directory.path().join("ssh_config");
        fs::write(&own, config).unwrap();
        ssh.arg("-F").arg(own);
        for key in keys {
            ssh.arg("-i").arg(&key.path);
        }
        ssh.args(["-l", login::NAME, "device", command]);
        ssh.env_remove("SSH_AUTH_SOCK");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ssh.stderr(Stdio::piped()).spawn().unwrap();
        // A command that is refused does not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn logout(&self, keys: &[&Key]) {
        let output = self.ssh(keys, &format!("{EDGE_DOCKER} logout"));
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Returns the records of the ledger.
    fn records(&self) -> Vec<Value> {
        let mut command = self.device.command("edge-docker");
        let output = command.args(["ledger", "--json"]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let records = lines.lines().map(|l| serde_json::from_str(l).unwrap());
        records.collect()
    }

    /// Returns who gave the last command that the ledger has.
    fn last_caller(&self) -> Value {
        self.records().pop().unwrap()["who"].take()
    }

    fn set_policy(&self, policy: &Value) {
        let path = "/etc/edge-ai/container-config/policy.json";
        fs::write(self.device.path(path), policy.to_string()).unwrap();
    }
}

#[test]
fn each_key_is_another_person() {
    let testbed = Testbed::new();
    let anna = testbed.key("anna", "ed25519");
    let ben = testbed.key("ben", "ecdsa");
    let stranger = testbed.key("stranger", "rsa");
    testbed.authorize(&["# engineers\n", &anna.public, &ben.public]);
    for key in [&anna, &ben, &anna] {
        testbed.logout(&[key]);
        let who = testbed.last_caller();
        assert_eq!(who["user"], "edge");
        assert_eq!(who["keys"], json!([{ "key": key.fingerprint }]));
    }
    // The key that opened the session counts, not one that was offered before.
    testbed.logout(&[&stranger, &ben]);
    let who = testbed.last_caller();
    assert_eq!(who["keys"], json!([{ "key": ben.fingerprint }]));

    let count = testbed.records().len();
    assert_eq!(testbed.ssh(&[&stranger], "true").status.code(), Some(255));
    testbed.authorize(&[&ben.public]);
    let output = testbed.ssh(&[&anna], &format!("{EDGE_DOCKER} logout"));
    assert_eq!(output.status.code(), Some(255), "{}", text(&output));
    assert!(text(&output).contains("Permission denied"));
    assert_eq!(testbed.records().len(), count);
    testbed.logout(&[&anna, &ben]);
}

#[test]
fn a_certificate_says_its_id() {
    let testbed = Testbed::new();
    let authority = testbed.key("authority", "ed25519");
    let anna = testbed.key("anna", "ed25519");
    run(
        "ssh-keygen",
        &[
            "-q",
            "-s",
            authority.path.to_str().unwrap(),
            "-I",
            "anna@example.com",
            "-z",
            "7",
            "-n",
            login::NAME,
            anna.path.with_extension("pub").to_str().unwrap(),
        ],
    );
    let line = format!("cert-authority,principals=\"edge\" {}", authority.public);
    testbed.authorize(&[&line]);
    testbed.logout(&[&anna]);
    let expected = json!([{
        "key": anna.fingerprint, "certificate": "anna@example.com serial 7",
    }]);
    assert_eq!(testbed.last_caller()["keys"], expected);
}

#[test]
fn options_of_authorized_keys_apply() {
    let testbed = Testbed::new();
    let anna = testbed.key("anna", "ed25519");
    testbed.authorize(&[&format!("command=\"echo forced\" {}", anna.public)]);
    let output = testbed.ssh(&[&anna], &format!("{EDGE_DOCKER} logout"));
    assert_eq!(text(&output), "forced\n");
}

#[test]
fn a_login_works_without_the_note() {
    let testbed = Testbed::new();
    let anna = testbed.key("anna", "ed25519");
    testbed.authorize(&[&anna.public]);
    // A file in the place of the directory: no note can be written.
    let blocked = "rm -rf /run/edge-docker/sessions; mkdir -p /run/edge-docker; \
                   : >/run/edge-docker/sessions";
    let mut shell = testbed.device.command("sh");
    assert!(shell.args(["-c", blocked]).status().unwrap().success());
    testbed.logout(&[&anna]);
    let who = testbed.last_caller();
    assert!(who["user"] == "edge" && who["keys"].is_null(), "{who}");
}

#[test]
fn files_that_others_can_write_authorize_nobody() {
    let testbed = Testbed::new();
    let anna = testbed.key("anna", "ed25519");
    testbed.authorize(&[&anna.public]);
    let file = testbed.device.path(AUTHORIZED);
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let may_login = || testbed.ssh(&[&anna], "true").status.code() == Some(0);
    assert!(may_login());
    mode(0o620);
    assert!(!may_login());
    mode(0o600);
    chown(&file, Some(1000), None).unwrap();
    assert!(!may_login());
    chown(&file, Some(0), None).unwrap();
    assert!(may_login());
    fs::remove_file(&file).unwrap();
    assert!(!may_login());
}

#[test]
fn nobody_but_sshd_notes_a_key() {
    let testbed = Testbed::new();
    let anna = testbed.key("anna", "ed25519");
    testbed.authorize(&[&anna.public]);
    for command in [
        format!("{EDGE_DOCKER} note-ssh-key SHA256:forged AAAA /root 0"),
        "/usr/bin/edge-docker note-ssh-key SHA256:forged AAAA /root 0".into(),
        "SUDO_USER= exec /usr/bin/edge-docker note-ssh-key SHA256:forged AAAA /home/edge 61000"
            .into(),
        format!("{EDGE_DOCKER} note-ssh-key"),
    ] {
        let output = testbed.ssh(&[&anna], &command);
        assert_ne!(output.status.code(), Some(0), "{command}");
        assert!(output.stdout.is_empty(), "{command}: {}", text(&output));
        testbed.logout(&[&anna]);
        let keys = &testbed.last_caller()["keys"];
        assert_eq!(*keys, json!([{ "key": anna.fingerprint }]), "{command}");
    }
}

/// Policy, command that it permits, and command that it refuses, with the level that the
/// refusal names.
const LEVELS: [(&str, &str, &str, &str); 3] = [
    ("look", "ps", "logout", "operate"),
    ("operate", "logout", "build -q -t sandbox/app -", "debug"),
    (
        "debug",
        "build -q -t sandbox/app -",
        "run --privileged sandbox/app",
        "--privileged",
    ),
];

/// Returns a build context, a tar archive.
fn context() -> Vec<u8> {
    let dockerfile = b"FROM scratch\nCOPY Dockerfile /\n";
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    let added = archive.append_data(&mut header, "Dockerfile", &dockerfile[..]);
    added.and_then(|()| archive.into_inner()).unwrap()
}

#[test]
fn the_level_of_the_policy_binds_ssh_callers() {
    let testbed = Testbed::start(true);
    let anna = testbed.key("anna", "ed25519");
    testbed.authorize(&[&anna.public]);
    for (level, permitted, refused, needed) in LEVELS {
        testbed.set_policy(&json!({ "sandbox": true, "run": "any", "engineer": level }));
        let command = format!("{EDGE_DOCKER} {permitted}");
        let output = testbed.feed(&[&anna], &command, &context());
        assert!(output.status.success(), "{level}: {}", text(&output));
        let output = testbed.ssh(&[&anna], &format!("{EDGE_DOCKER} {refused}"));
        assert_eq!(
            output.status.code(),
            Some(125),
            "{level}: {}",
            text(&output)
        );
        assert!(text(&output).contains(needed), "{}", text(&output));
        let record = testbed.records().pop().unwrap();
        assert_eq!(record["verdict"], "denied", "{record}");
        assert_eq!(record["who"]["keys"][0]["key"], anna.fingerprint);
        // The rule of sudo is for this one program.
        for other in [
            "sudo -n sh -c true",
            "sudo -n -u edge true",
            "sudo -n docker ps",
        ] {
            let output = testbed.ssh(&[&anna], other);
            assert_eq!(output.status.code(), Some(1), "{other}: {}", text(&output));
        }
    }
}
