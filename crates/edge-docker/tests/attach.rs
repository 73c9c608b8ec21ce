//! `edge-docker run` compared with `docker run` on two engines: output, input, signals,
//! terminals and exit codes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::{Device, output_text};

/// Runs a program in a terminal, `SEND COMMAND...`: waits for "ready", sends the input
/// (`resize` changes the window instead), and prints the output, the exit code, and
/// whether the terminal is as before.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3): os.dup2(slave, fd)
    os.execvp(sys.argv[2], sys.argv[2:])
came = b""
while b"ready" not in came: came += os.read(master, 4096)
if sys.argv[1] == "resize":
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
else:
    os.write(master, sys.argv[1].encode().decode("unicode_escape").encode())
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
same = termios.tcgetattr(slave) == before
os.close(slave)
try:
    while (more := os.read(master, 4096)): came += more
except OSError: pass
print(came.decode().split("ready", 1)[1].split(), status, same)
"#;

/// Device, program that runs containers on it, and name of an image.
struct Side {
    device: Device,
    program: &'static str,
    image: String,
}

impl Side {
    /// Starts an engine, for `docker` without the plugin.
    fn new(program: &'static str) -> Self {
        let mut device = Device::start();
        if program == "docker" {
            device.without_plugin();
        }
        device.start_engine();
        let image = device.image("small", 0);
        let image = if program == "docker" {
            image.id
        } else {
            image.name
        };
        Self {
            device,
            program,
            image,
        }
    }

    /// Runs a container with `input`; returns exit code, standard output and standard error.
    fn run(
        &self,
        options: &[&str],
        command: &[&str],
        input: &[u8],
    ) -> (Option<i32>, String, String) {
        let image = [self.image.as_str()];
        let args = [&[self.program, "run"][..], options, &image, command].concat();
        let output = self.device.feed(&args, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Runs a shell script on the device, in which `$RUN IMAGE` starts a container.
    fn script(&self, script: &str) -> String {
        let head = format!("RUN='{} run' IMAGE={}\n", self.program, self.image);
        self.device.good(&["sh", "-c", &(head + script)])
    }

    fn terminal(&self, send: &str, options: &[&str], script: &str) -> String {
        let head = ["python3", "-c", TERMINAL, send, self.program, "run"];
        let tail = [self.image.as_str(), "sh", "-c", script];
        self.device.good(&[&head, options, &tail].concat())
    }

    fn containers(&self) -> String {
        self.device.good(&[self.program, "ps", "-aq"])
    }
}

fn both() -> [Side; 2] {
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| Side::new("edge-docker"));
        let docker = Side::new("docker");
        [ours.join().unwrap(), docker]
    })
}

fn alike<T: PartialEq + std::fmt::Debug>(sides: &[Side; 2], what: impl Fn(&Side) -> T) -> T {
    let [ours, theirs] = sides.each_ref().map(what);
    assert_eq!(ours, theirs, "edge-docker, docker");
    ours
}

#[test]
fn run_is_as_dockers() {
    let sides = both();
    streams(&sides);
    failures(&sides);
    signals(&sides);
    terminals(&sides);
    nothing_is_left(&sides[0]);
}

fn streams(sides: &[Side; 2]) {
    let sh = |script| ["sh", "-c", script];
    let (code, out, err) = alike(sides, |s| {
        s.run(&["--rm"], &sh("echo out; echo err >&2; exit 7"), b"")
    });
    assert_eq!((code, &out[..], &err[..]), (Some(7), "out\n", "err\n"));

    let many = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done";
    let (_, out, _) = alike(sides, |s| s.run(&["--rm"], &sh(many), b""));
    assert_eq!(out.lines().count(), 30_000);

    let input: String = (0..30_000).map(|i| format!("{i}\n")).collect();
    let count = "n=0; while read x; do n=$((n+x)); done; echo $n";
    let (_, out, _) = alike(sides, |s| {
        s.run(&["--rm", "-i"], &sh(count), input.as_bytes())
    });
    assert_eq!(out, "449985000\n");
    // The container need not read its input to the end, or at all.
    for script in ["read x; echo $x", "echo 0"] {
        let (code, out, _) = alike(sides, |s| {
            s.run(&["--rm", "-i"], &sh(script), input.as_bytes())
        });
        assert_eq!((code, &out[..]), (Some(0), "0\n"));
    }
    // Without -i there is no input.
    let (code, out, _) = alike(sides, |s| {
        s.run(&["--rm"], &sh("read x || echo none"), b"a\n")
    });
    assert_eq!((code, &out[..]), (Some(0), "none\n"));

    let (_, out, err) = alike(sides, |s| {
        s.run(
            &["--rm", "-a", "stderr"],
            &sh("echo out; echo err >&2"),
            b"",
        )
    });
    assert_eq!((&out[..], &err[..]), ("", "err\n"));
    // -t without -i: one stream, with a terminal's line ends.
    let (_, out, err) = alike(sides, |s| {
        s.run(&["--rm", "-t"], &sh("echo out; echo err >&2"), b"")
    });
    assert_eq!((&out[..], &err[..]), ("out\r\nerr\r\n", ""));
}

fn failures(sides: &[Side; 2]) {
    for (command, code) in [("no-such", 127), ("/no/such", 127), ("/etc", 126)] {
        for options in [&["--rm"][..], &["--rm", "-d"]] {
            let found = alike(sides, |s| {
                let (code, _, err) = s.run(options, &[command], b"");
                assert!(!err.is_empty());
                code
            });
            assert_eq!(found, Some(code), "{command}");
        }
    }
    let code = alike(sides, |s| s.run(&["--rm", "-it"], &["ls"], b"").0);
    assert_eq!(code, Some(1), "no terminal");
    assert!(alike(sides, |s| s
        .run(&["-d", "-a", "stdout"], &["ls"], b"")
        .0
        != Some(0)));
}

fn signals(sides: &[Side; 2]) {
    for (signal, expected) in [("TERM", "5"), ("INT", "6"), ("HUP", "7"), ("USR1", "8")] {
        // With -m, as without it shells have SIGINT ignored in the background.
        let script = format!(
            r#"set -m; rm -f /run/output
            $RUN --rm $IMAGE sh -c '
            trap "exit 5" TERM; trap "exit 6" INT; trap "exit 7" HUP; trap "exit 8" USR1
            echo ready; while :; do sleep 0.05; done' >/run/output & run=$!
            until grep -qs ready /run/output; do sleep 0.05; done
            kill -{signal} $run; wait $run; echo $?"#
        );
        assert_eq!(alike(sides, |s| s.script(&script)), expected, "{signal}");
    }
    // Without forwarding, the client ends and the container stays.
    let script = r#"set -m; rm -f /run/output
        $RUN --name stays --sig-proxy=false $IMAGE sh -c 'echo ready; exec sleep 1000' >/run/output & run=$!
        until grep -qs ready /run/output; do sleep 0.05; done
        kill -TERM $run; wait $run; echo $?"#;
    assert_eq!(alike(sides, |s| s.script(script)), "143");
    runs_on(sides, "stays");
    // The reader of the output ends.
    let script = "$RUN --name talks $IMAGE sh -c 'while :; do echo y; done' | { read y; echo $y; }";
    assert_eq!(alike(sides, |s| s.script(script)), "y");
    runs_on(sides, "talks");
}

/// Checks that the container runs without its client, and removes it.
fn runs_on(sides: &[Side; 2], name: &str) {
    for side in sides {
        assert_eq!(side.device.running(), [name]);
        side.device.good(&[side.program, "rm", "-f", name]);
    }
}

fn terminals(sides: &[Side; 2]) {
    let rm = &["--rm", "-it"];
    for (send, script, expected) in [
        (
            "hello\\r",
            "echo ready; read x; echo got $x; exit 3",
            "['hello', 'got', 'hello'] 3 True",
        ),
        (
            "\\x03",
            "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done",
            "['^C'] 9 True",
        ),
        (
            "\\x04",
            "echo ready; read x; echo end $?",
            "['end', '1'] 0 True",
        ),
        (
            "resize",
            "trap 'echo winch; exit 4' WINCH; echo ready; while :; do sleep 0.05; done",
            "['winch'] 4 True",
        ),
    ] {
        assert_eq!(
            alike(sides, |s| s.terminal(send, rm, script)),
            expected,
            "{send}"
        );
    }
    let stays = &["--name", "stays", "-it"];
    let script = "echo ready; sleep 1000";
    let seen = alike(sides, |s| s.terminal("\\x10\\x11", stays, script));
    assert!(seen.ends_with(" 0 True"), "{seen}");
    runs_on(sides, "stays");
}

/// Checks that neither containers nor mount clones are left.
fn nothing_is_left(side: &Side) {
    let mount = ["--rm", "-v", "/data/apps/small/state:/state"];
    assert_eq!(side.run(&mount, &["ls", "/state"], b"").0, Some(0));
    assert_eq!(side.run(&mount, &["no-such"], b"").0, Some(127));
    let terminal = [&mount[..], &["-it"]].concat();
    let output = side.run(&terminal, &["ls"], b"");
    assert_eq!(output.0, Some(1), "{}", output.2);
    assert_eq!(side.containers(), "");
    let clones = side
        .device
        .run(&["find", "/run/edge-docker/pins", "-mindepth", "1"]);
    assert_eq!(output_text(&clones), "");
}
