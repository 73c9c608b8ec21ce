//! The Home Assistant example, without a container: the broker of
//! `docs/examples/home-assistant` with real clients.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const SECRET: &str = "correct horse battery";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/home-assistant/broker")
}

/// Running broker; its directory outlives it.
struct Broker<'a> {
    place: &'a Place,
    child: Child,
}

/// Directory and port of a broker.
struct Place {
    directory: TempDir,
    port: String,
    names: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Started as root, the broker changes to another user, who must reach the directory.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        Self {
            directory,
            port: port.unwrap().port().to_string(),
            names: "DNS:localhost".into(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(script());
        let path = std::env::var("PATH").unwrap();
        command
            .args(arguments)
            .env("PATH", format!("{path}:/usr/sbin"))
            .env("BROKER_DATA", self.data())
            .env("BROKER_PORT", &self.port)
            .env("BROKER_NAMES", &self.names);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The broker may reject the client before it reads.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn start(&self) -> Broker<'_> {
        let mut command = self.command(&[]);
        let log = File::create(self.log()).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let broker = Broker { place: self, child };
        // After a handshake: a signal before the first one would be lost.
        let answers = (0..200).any(|_| self.run(&["check"], "").status.success());
        assert!(answers, "{}", fs::read_to_string(self.log()).unwrap());
        broker
    }

    fn client(&self, program: &str, secret: &str, arguments: &[&str]) -> Output {
        let authority = self.data().join("tls/ca.crt");
        Command::new(program)
            .args(["-h", "localhost", "-p", &self.port, "-u", "homeassistant"])
            .args(["-P", secret, "-q", "1", "-t", "home/light", "--cafile"])
            .arg(authority)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn publish(&self, secret: &str) -> bool {
        let arguments = ["-r", "-m", "on"];
        self.client("mosquitto_pub", secret, &arguments)
            .status
            .success()
    }

    fn read(&self) -> String {
        let output = self.client("mosquitto_sub", SECRET, &["-C", "1", "-W", "30"]);
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Broker<'_> {
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        assert!(self.place.directory.path().exists());
    }
}

#[test]
fn needs_tls_and_a_password_and_keeps_both_over_a_restart() {
    let place = Place::new();
    let broker = place.start();
    let authority = place.run(&["authority"], "").stdout;
    assert!(authority.starts_with(b"-----BEGIN CERTIFICATE"));
    assert!(!place.publish(SECRET), "there is no password yet");

    let set = place.run(&["password", "homeassistant"], &format!("{SECRET}\n"));
    assert!(set.status.success(), "{set:?}");
    // The broker reads the file when the signal arrives: repeat until it has.
    assert!(
        (0..100).any(|_| place.publish(SECRET)),
        "the password is not taken"
    );
    assert!(!place.publish("wrong horse battery"));
    assert!(!plain(&place), "without TLS it answers");

    let other = place.run(&["password", "other"], "a second password");
    assert!(other.status.success(), "{other:?}");
    assert!(
        place.publish(SECRET),
        "the second user takes the first one's place"
    );
    let hashed = fs::read_to_string(place.data().join("passwords")).unwrap();
    assert!(
        !hashed.contains(SECRET) && hashed.lines().count() == 2,
        "{hashed}"
    );
    broker.stop();

    let broker = place.start();
    assert_eq!(place.run(&["authority"], "").stdout, authority);
    assert_eq!(place.read(), "on\n", "a retained message is lost");
    broker.stop();
}

/// The health check connects every 30 seconds, and every minute the broker saves its
/// messages.
#[test]
fn health_checks_and_saves_leave_no_lines_in_the_log() {
    let place = Place::new();
    let broker = place.start();
    let before = fs::read_to_string(place.log()).unwrap();
    for _ in 0..3 {
        assert!(place.run(&["check"], "").status.success());
    }
    let set = place.run(&["password", "homeassistant"], &format!("{SECRET}\n"));
    assert!(set.status.success(), "{set:?}");
    assert!((0..100).any(|_| place.publish(SECRET)));
    broker.stop();
    let after = fs::read_to_string(place.log()).unwrap();
    let new = after.strip_prefix(&before).unwrap();
    // Only what the reload for the new password says.
    assert!(new.lines().count() <= 1, "{new}");
}

/// Connection without TLS.
fn plain(place: &Place) -> bool {
    Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &place.port, "-u", "homeassistant"])
        .args(["-P", SECRET, "-t", "x", "-m", "x"])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn other_names_get_another_certificate_of_the_same_authority() {
    let mut place = Place::new();
    place.start().stop();
    let file = |place: &Place, name: &str| fs::read(place.data().join("tls").join(name)).unwrap();
    let (authority, first) = (file(&place, "ca.crt"), file(&place, "server.crt"));
    place.start().stop();
    assert_eq!(file(&place, "server.crt"), first, "renewed for nothing");
    place.names = "DNS:jetson.local,IP:192.0.2.7".into();
    place.start().stop();
    assert_eq!(file(&place, "ca.crt"), authority);
    assert_ne!(file(&place, "server.crt"), first);
    assert!(!place.run(&["check"], "").status.success(), "it is stopped");
    place.names = "jetson".into();
    let printed = place.run(&[], "");
    assert!(!printed.status.success());
    let arguments = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(arguments.contains("BROKER_NAMES"), "{arguments}");
}

#[test]
fn mistakes_change_nothing() {
    let place = Place::new();
    let broker = place.start();
    for (arguments, input) in [
        (&["password", "homeassistant"][..], "short\n"),
        (&["password", "homeassistant"], ""),
        (&["password", "a:b"], "long enough a password\n"),
        (&["password", "homeassistant"], "long enough:a password\n"),
        (&["password", "homeassistant"], "long enough a\tpassword\n"),
        (&["password", "homeassistant"], "long enough a password\r\n"),
        (&["password"], "long enough a password\n"),
        (&["nonsense"], ""),
    ] {
        let printed = place.run(arguments, input);
        assert!(!printed.status.success(), "{arguments:?}");
        assert!(printed.stderr.starts_with(b"broker: "), "{printed:?}");
    }
    assert_eq!(fs::read(place.data().join("passwords")).unwrap(), b"");
    broker.stop();
}
