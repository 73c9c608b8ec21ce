//! Login of an engineer on a device: what sshd forwards, whose processes are visible,
//! and where programs can be executed, with the files of the image. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use edge_common::contract::login;
use edge_sim::namespaces::{Device, Settings};
use tempfile::TempDir;

/// Unit of the image that changes the mounts.
const UNIT: &str = "../../yocto/meta-edge-secure/recipes-edge/edge-user/files/edge-mounts.service";

struct Testbed {
    device: Device,
    _directory: TempDir,
}

impl Testbed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // No test runs edge-docker, but sshd calls it for the keys.
        let script = directory.path().join("edge-docker");
        fs::write(&script, include_bytes!("../src/namespaces/edge_docker.sh")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = Settings {
            edge_docker: Some(&script),
            engine: false,
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        Self {
            device,
            _directory: directory,
        }
    }

    /// Runs ssh as the user edge.
    fn ssh(&self, args: &[&str]) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.device.ssh_config()).args(args);
        ssh.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a shell script on the device as the user edge, in a login over ssh.
    fn edge(&self, script: &str) -> Output {
        self.ssh(&["-l", login::NAME, "device", script])
    }

    /// Runs a shell script on the device with this UID and GID.
    fn run(&self, uid: u32, gid: u32, script: &str) -> Output {
        self.as_user(uid, gid, script).output().unwrap()
    }

    fn as_user(&self, uid: u32, gid: u32, script: &str) -> Command {
        let mut command = self.device.command("setpriv");
        command.arg(format!("--reuid={uid}"));
        command.arg(format!("--regid={gid}"));
        command.args(["--clear-groups", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Starts a process that ends with its standard input, and returns it and its PID
    /// on the device.
    fn process(&self, uid: u32) -> (Child, String) {
        let mut command = self.as_user(uid, uid, "echo $$; exec cat");
        let mut child = command.env("SECRET", "of-a-process").spawn().unwrap();
        let mut pid = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut pid).unwrap();
        (child, pid.trim().into())
    }

    /// Runs the commands of the unit.
    fn restrict(&self) {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT);
        let unit = fs::read_to_string(unit).unwrap();
        let commands: Vec<_> = unit
            .lines()
            .filter_map(|l| l.strip_prefix("ExecStart="))
            .collect();
        assert_eq!(commands.len(), 5);
        let directories = "mkdir -p /var/tmp /run/lock && chmod 1777 /var/tmp /run/lock";
        for command in [&[directories], &commands[..]].concat() {
            let output = self.run(0, 0, command);
            assert!(output.status.success(), "{command}: {output:?}");
        }
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn sshd_forwards_nothing() {
    let testbed = Testbed::new();
    let home = testbed.device.path("/home/edge/.ssh");
    fs::write(home.join("rc"), "echo rc-was-run").unwrap();
    fs::write(home.join("environment"), "FROM_FILE=yes\n").unwrap();
    let plain = testbed.edge("env; id -u");
    assert!(plain.status.success(), "{}", text(&plain));
    let plain = text(&plain);
    assert!(!plain.contains("rc-was-run") && !plain.contains("FROM_FILE"));
    assert!(
        plain.trim_end().ends_with(&login::ID.to_string()),
        "{plain}"
    );

    // Nothing listens on this port: a forwarding sshd says "Connection refused".
    let to = testbed.ssh(&["-l", "edge", "-W", "127.0.0.1:9", "device"]);
    assert!(
        text(&to).contains("administratively prohibited"),
        "{}",
        text(&to)
    );
    for forward in ["-R0:127.0.0.1:9", "-R/tmp/from-laptop:127.0.0.1:9", "-w0:0"] {
        let strict = ["-l", "edge", "-o", "ExitOnForwardFailure=yes", forward];
        let output = testbed.ssh(&[&strict[..], &["device", "echo", "forwarded"]].concat());
        let printed = text(&output);
        assert!(!printed.contains("forwarded\n"), "{forward}: {printed}");
    }
    // What ssh asks for only in the middle of a session, as sshd reads it.
    let settings = testbed.run(0, 0, "/usr/sbin/sshd -T -C user=edge,host=h,addr=10.0.0.1");
    let settings = text(&settings);
    for no in [
        "allowtcpforwarding",
        "allowstreamlocalforwarding",
        "allowagentforwarding",
        "x11forwarding",
        "gatewayports",
        "permittunnel",
        "permituserenvironment",
        "permituserrc",
    ] {
        let wanted = format!("{no} no");
        assert!(settings.lines().any(|l| l == wanted), "{no}: {settings}");
    }
}

#[test]
fn users_do_not_see_the_processes_of_others() {
    let testbed = Testbed::new();
    let (mut edge, edge_pid) = testbed.process(login::ID);
    let (mut app, app_pid) = testbed.process(1000);
    let see = |pid: &str| format!("tr '\\0' '\\n' </proc/{pid}/environ; ls -d /proc/{pid}");
    // A UID that both sides have would show everything, as 1000 did.
    assert!(text(&testbed.run(1000, 1000, &see(&app_pid))).contains("of-a-process"));
    assert!(!text(&testbed.edge(&see(&app_pid))).contains("of-a-process"));
    assert!(!text(&testbed.run(1000, 1000, &see(&edge_pid))).contains("of-a-process"));

    let visible = |output: &Output, pid: &str| output.stdout == format!("/proc/{pid}\n").as_bytes();
    let list = |pid: &str| format!("ls -d /proc/{pid}");
    assert!(visible(&testbed.edge(&list(&app_pid)), &app_pid));
    testbed.restrict();
    assert!(!visible(&testbed.edge(&list(&app_pid)), &app_pid));
    assert!(!visible(
        &testbed.run(1000, 1000, &list(&edge_pid)),
        &edge_pid
    ));
    assert!(
        visible(&testbed.edge(&list(&edge_pid)), &edge_pid),
        "its own"
    );
    // Daemons that drop the capability, such as systemd-logind, are in the group root.
    assert!(visible(&testbed.run(65_534, 0, &list(&app_pid)), &app_pid));
    for child in [&mut edge, &mut app] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn users_execute_no_file_of_theirs() {
    let testbed = Testbed::new();
    let directories = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];
    let before = testbed.edge("cp /bin/true /tmp/program && /tmp/program");
    assert!(before.status.success(), "{}", text(&before));
    testbed.restrict();
    for directory in directories {
        // Each test has a name of its own: /dev/shm is the one of this machine.
        let file = format!("{directory}/edge-login-{}", std::process::id());
        let script = format!("cp /bin/true {file} && {file}; echo $?; rm -f {file}");
        let output = text(&testbed.edge(&script));
        assert!(
            output.contains("Permission denied"),
            "{directory}: {output}"
        );
        assert!(output.contains("126"), "{directory}: {output}");
    }
}
