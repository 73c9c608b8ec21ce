//! Sandbox loop of edge-app with a device in namespaces: the bytes sent, the state after
//! an interruption, the time until a file arrives.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod testbed;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use edge_sim::namespaces::{Fleet, Link};
use serde_json::json;
use testbed::{CHANGE, DOCKERFILE, Testbed, interrupt, until};

#[test]
fn the_loop_from_a_change_to_the_device() {
    let mut testbed = Testbed::new();
    let (whole, printed) = testbed.sandbox();
    assert!(whole > 12_000_000, "{printed}");
    assert_eq!(
        fs::read(testbed.device.path("/data/sandbox/hello/www/index.html")).unwrap(),
        b"one"
    );
    let first = testbed.running();
    assert!(first.ends_with(" true"), "{first}");

    // Only the changed layer is sent, and the old image is removed.
    testbed.change(2);
    let (bytes, printed) = testbed.sandbox();
    let target = CHANGE as u64 * 11 / 10 + 50_000;
    assert!(bytes <= target, "{bytes} bytes, target {target}: {printed}");
    // Docker pushed the change; it did not read the whole image.
    assert!(!printed.contains("cannot push to edge-app"), "{printed}");
    assert!(printed.contains("sending 1 of 3 layers"), "{printed}");
    assert!(!printed.contains("whole image"), "{printed}");
    assert!(!testbed.laptop_images().contains("127.0.0.1"));
    let second = testbed.running();
    assert!(second.ends_with(" true") && second != first, "{second}");
    assert_eq!(testbed.on_device(&["images", "--quiet"]).lines().count(), 1);

    // An interruption during the transfer changes nothing.
    testbed.change(3);
    testbed.device.set_link(Link { rtt: 30, rate: 1 }).unwrap();
    let before = testbed.device.traffic().unwrap().0;
    let mut app = testbed
        .app(&["sandbox", "hello", "device"])
        .spawn()
        .unwrap();
    until("the image", || {
        testbed.device.traffic().unwrap().0 > before + 60_000
    });
    interrupt(&app);
    assert_eq!(app.wait().unwrap().code(), Some(130));
    until("the end of load", || {
        let ps = testbed
            .device
            .command("pgrep")
            .args(["-f", "edge-docker load"])
            .output();
        ps.unwrap().stdout.is_empty()
    });
    assert_eq!(testbed.running(), second);
    assert_eq!(
        testbed
            .on_device(&["images", "--all", "--quiet"])
            .lines()
            .count(),
        1
    );

    // The next run completes.
    testbed.device.set_link(Link::default()).unwrap();
    let (bytes, _) = testbed.sandbox();
    assert!(bytes <= target);
    fs::write(testbed.path("hello/.dockerignore"), "*.log\nweb\n").unwrap();
    watch(&testbed);
}

/// A saved file reaches the device in less than 300 ms, without a new container.
fn watch(testbed: &Testbed) {
    let before = testbed.running();
    let mut command = testbed.app(&["sandbox", "--watch", "hello", "device"]);
    let mut app = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(app.stderr.take().unwrap()).lines();
    let (sender, printed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let printed_until = |text: &str| {
        let mut lines = Vec::new();
        loop {
            let line = printed.recv_timeout(Duration::from_secs(60)).expect(text);
            let found = line.contains(text);
            lines.push(line);
            if found {
                return lines.join("\n");
            }
        }
    };
    printed_until("watching hello");
    let container = testbed.on_device(&["ps", "--quiet"]);
    let target = testbed.device.path("/data/sandbox/hello/www/index.html");
    let mut times: Vec<_> = (0..9)
        .map(|number| {
            let text = format!("version {number}");
            fs::write(testbed.path("hello/web/index.html"), &text).unwrap();
            until("the file", || {
                fs::read_to_string(&target).is_ok_and(|t| t == text)
            })
        })
        .collect();
    times.sort();
    println!("from save to visible: {times:?}");
    assert!(times[4] < Duration::from_millis(300), "{times:?}");
    fs::remove_file(testbed.path("hello/web/index.html")).unwrap();
    until("the removal", || !target.exists());
    assert_eq!(testbed.on_device(&["ps", "--quiet"]), container);

    // A file that docker does not send causes no build, and an equal image no restart.
    fs::write(testbed.path("hello/notes.log"), "x").unwrap();
    testbed.change(3);
    let log = printed_until("the image is the same");
    assert_eq!(log.matches("Successfully built").count(), 1, "{log}");
    assert_eq!(testbed.on_device(&["ps", "--quiet"]), container);

    testbed.change(4);
    until("the new image", || {
        let now = testbed.running();
        now.ends_with(" true") && now != before
    });
    interrupt(&app);
    assert_eq!(app.wait().unwrap().code(), Some(130));
    assert!(testbed.running().ends_with(" true"));
}

/// An app runs after a refused container, and after a connection that breaks while the
/// containers are exchanged.
#[test]
fn a_device_is_left_with_an_app() {
    let testbed = Testbed::new();
    // It ignores SIGTERM: the engine kills the old container after a second.
    let dockerfile = DOCKERFILE.replace("STOPSIGNAL SIGKILL\n", "");
    fs::write(testbed.path("hello/Dockerfile"), dockerfile).unwrap();
    testbed.sandbox();
    let first = testbed.running();

    let app = "name: hello\ngrants: [gpu]\n";
    fs::write(testbed.path("hello/app.yaml"), app).unwrap();
    let (code, printed) = testbed.failing_sandbox();
    assert_eq!(code, Some(6), "{printed}");
    assert!(printed.contains("gpu"), "{printed}");
    assert_eq!(testbed.running(), first);

    fs::write(testbed.path("hello/app.yaml"), "name: hello\n").unwrap();
    testbed.change(2);
    let mut app = testbed.app(&["sandbox", "hello", "device"]);
    let app = app.stderr(Stdio::piped()).spawn().unwrap();
    until("the stop", || {
        let mut find = testbed.device.command("pgrep");
        let found = find.args(["-f", "docker.* stop --time=1"]).output();
        !found.unwrap().stdout.is_empty()
    });
    testbed.device.cut_connections().unwrap();
    let output = app.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{printed}");
    until("the second container", || {
        let now = testbed.running();
        now.ends_with(" true") && now != first
    });
}

/// A failed query is not an empty list of images, and values of an app arrive unchanged.
#[test]
fn a_device_with_a_scripted_edge_docker() {
    let testbed = Testbed::new();
    let fleet = Fleet::start(1).unwrap();
    let config = fs::read_to_string(testbed.path("edge-app.yaml")).unwrap();
    let ssh = fleet.ssh_config(0);
    let config = format!("{config}  d00: {{ssh_config: {}}}\n", ssh.display());
    fs::write(testbed.path("edge-app.yaml"), config).unwrap();
    let sandbox = || {
        let output = testbed.app(&["sandbox", "hello", "d00"]).output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), printed)
    };
    let data = |name: &str| fleet.path(0, "/data").join(name);
    fs::write(data("images"), "sha256:1\n").unwrap();
    fs::write(data("trouble"), "1\n2\n3\n4\n").unwrap();
    let (code, printed) = sandbox();
    assert!(
        code == 1 && printed.contains("is in trouble"),
        "{code} {printed}"
    );
    assert!(!data("loaded").exists() && !data("run").exists());
    // Once, as when an image is removed between two queries.
    fs::write(data("trouble"), "1\n").unwrap();
    let (code, printed) = sandbox();
    assert!(code == 0 && data("loaded").exists(), "{code} {printed}");

    for value in [
        "$(touch /data/pwned)",
        "'; touch /data/pwned; '",
        "\"`touch /data/pwned`",
        "-oProxyCommand=touch /data/pwned",
        "a  b\\",
    ] {
        let app = json!({
            "name": "hello", "env": { "A": value }, "health": { "command": value },
            "sync": ["web:www"],
        });
        fs::write(testbed.path("hello/app.yaml"), app.to_string()).unwrap();
        let (code, printed) = sandbox();
        assert_eq!(code, 0, "{printed}");
        let arguments = [
            "run",
            "--detach",
            "--name",
            "hello",
            "--restart=unless-stopped",
            &format!("--env=A={value}"),
            &format!("--health-cmd={value}"),
            "sandbox/hello:latest",
        ];
        let received = |verb: &str| {
            let text = fs::read_to_string(data(verb)).unwrap();
            let arguments = text.split_terminator('\0').map(String::from);
            arguments.collect::<Vec<_>>()
        };
        assert_eq!(received("explain"), [&["explain"], &arguments[..]].concat());
        assert_eq!(received("run"), arguments);
        assert_eq!(received("sync"), ["sync", "hello"]);
        assert!(!data("pwned").exists(), "{value}");
    }
}

#[test]
fn refusals_are_reported() {
    let testbed = Testbed::new();
    let policy = testbed
        .device
        .path("/etc/edge-ai/container-config/policy.json");
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, text.replace("true", "false")).unwrap();
    let (code, printed) = testbed.failing_sandbox();
    assert_eq!(code, Some(6), "{printed}");
    assert!(printed.contains("signed containers only"), "{printed}");
}
