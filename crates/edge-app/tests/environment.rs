//! The user's own ssh and git: settings that are meant for a terminal, and refusals.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use edge_sim::namespaces::Fleet;
use edge_sim::testbed::{Cloud, push_image};
use project::Project;

/// Settings with which a user logs in to a device at a terminal.
const TERMINAL: &str = "\
RemoteCommand tmux new-session -A
RequestTTY force
StdinNull yes
SessionType none
ForkAfterAuthentication yes
ForwardAgent yes
PermitLocalCommand yes
LocalCommand touch PWNED
LocalForward 127.0.0.1:1 127.0.0.1:1
ExitOnForwardFailure yes
";

#[test]
fn settings_for_a_terminal_are_overridden() {
    let (cloud, fleet) = (Cloud::up(), Fleet::start(1).unwrap());
    let registry = cloud.local_registry();
    push_image(cloud.path(), &registry).unwrap();
    let project = Project::new(&cloud, registry, &fleet.config());
    let config = fs::read_to_string(fleet.ssh_config(0)).unwrap();
    let mark = project.directory.path().join("local");
    let settings = TERMINAL.replace("PWNED", mark.to_str().unwrap());
    fs::write(fleet.ssh_config(0), format!("{settings}{config}")).unwrap();
    let deploy = ["deploy", "hello", "d00", "--version", "v1"];
    project.succeeds(&deploy);
    let password = fs::read_to_string(fleet.path(0, "/data/password")).unwrap();
    assert_eq!(password, cloud.password());
    project.succeeds(&["stop", "hello", "d00"]);
    project.succeeds(&["status", "--all"]);
    assert!(!mark.exists());
}

#[test]
fn git_says_why_there_is_no_version() {
    let cloud = Cloud::up();
    let project = Project::new(&cloud, "r.io/team".into(), &serde_json::json!({}));
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(project.directory.path());
        assert!(git.output().unwrap().status.success());
    };
    let build = ["build", "hello"];
    project.fails(&build, 2, "not a git repository");
    git(&["init", "-q"]);
    let user = ["-c", "user.name=a", "-c", "user.email=a@b"];
    git(&[&user[..], &["commit", "-q", "--allow-empty", "-m", "x"]].concat());
    chown(project.directory.path(), Some(12345), Some(12345)).unwrap();
    chown(
        project.directory.path().join(".git"),
        Some(12345),
        Some(12345),
    )
    .unwrap();
    project.fails(&build, 2, "dubious ownership");
    project.fails(&build, 2, "safe.directory");
    project.fails(&build, 2, "--version V");
}
