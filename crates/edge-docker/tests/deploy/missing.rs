//! Deployments whose containers are gone, taken by others, or about to be removed.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use super::device::{Device, code_and_output};
use super::{GOOD, POLICY, first, hang, inner, kill, replace, unharmed};

const JOURNAL: &str = "/data/config/edge-docker/switches/hello.json";

/// `replace hello` without a health check, which takes a second.
pub fn quick(version: &str) -> Vec<&str> {
    let words = "replace hello --timeout 1 --restart always --stop-signal KILL -p 8080:8080 \
         -v /data/sandbox/hello:/data -e";
    words
        .split_whitespace()
        .chain([version, "sandbox/hello"])
        .collect()
}

fn good(device: &Device, args: &[&str]) -> String {
    let (code, said) = device.run(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    said
}

fn id(device: &Device, name: &str) -> String {
    device.inspect(name, "{{.Id}}")
}

/// Container that an interruption left out of its place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    Final,
    /// Only the old one was renamed.
    Half,
    /// None was renamed.
    Before,
}

/// Leaves an interrupted deployment from `GREETING=one` to `GREETING=two`.
fn interrupt(device: &Device, phase: &str, names: Names) -> (String, String) {
    good(device, &quick("GREETING=one"));
    good(device, &quick("GREETING=two"));
    let (new, old) = (id(device, "hello"), id(device, "hello-previous"));
    let journal = fs::read_to_string(device.path(JOURNAL)).unwrap();
    fs::write(device.path(JOURNAL), journal.replace("switched", phase)).unwrap();
    device.docker(&["update", "--restart=no", &new]);
    if names != Names::Final {
        device.docker(&["kill", &new]);
        device.docker(&["rename", &new, "hello-next"]);
    }
    if names == Names::Before {
        device.docker(&["rename", &old, "hello"]);
        if phase == "trial" {
            device.docker(&["start", &old]);
        }
    }
    (new, old)
}

#[test]
fn recovery_ends_whatever_is_missing() {
    let device = Device::start();
    for phase in ["trial", "keep"] {
        for names in [Names::Final, Names::Half, Names::Before] {
            for missing in 0..4 {
                let (new, old) = interrupt(&device, phase, names);
                let (no_new, no_old) = (missing & 1 != 0, missing & 2 != 0);
                for (id, is_missing) in [(new, no_new), (old, no_old)] {
                    if is_missing {
                        device.docker(&["rm", "--force", &id]);
                    }
                }
                let case = format!("{phase}, {names:?}, {missing}");
                good(&device, &["replace", "--recover"]);
                let again = device.run(&["replace", "--recover"]);
                assert_eq!(again, (0, String::new()), "{case}");
                let answer = match (phase, no_new, no_old) {
                    ("keep", false, _) => Some("two"),
                    (_, _, false) => Some("one"),
                    _ => None,
                };
                match answer {
                    Some(greeting) => assert!(device.answer(8080).starts_with(greeting), "{case}"),
                    None => assert!(device.names().is_empty(), "{case}: {:?}", device.names()),
                }
                // The next deployment begins at once.
                good(&device, &quick("GREETING=three"));
                assert_eq!(device.inspect("hello", POLICY), "true always");
                for name in device.names() {
                    good(&device, &["rm", "-f", &name]);
                }
                assert!(!device.path(JOURNAL).exists(), "{case}");
            }
        }
    }
}

#[test]
fn an_open_deployment_keeps_what_it_needs() {
    let device = Device::start();
    first(&device);
    let child = hang(&device);
    for words in ["rm -f hello", "rm hello-previous", "rm -f hello-previous"] {
        let (code, said) = device.run(&words.split(' ').collect::<Vec<_>>());
        assert!(
            code == 125 && said.contains("deployment of hello"),
            "{words}: {said}"
        );
    }
    let (code, said_) = device.run(&["rmi", "-f", "sandbox/hello"]);
    assert!(
        code == 125 && said_.contains("deployment of hello"),
        "{said_}"
    );
    for words in ["system prune -af", "container prune -f", "image prune -af"] {
        good(&device, &words.split(' ').collect::<Vec<_>>());
        assert_eq!(device.names(), ["hello", "hello-previous"], "{words}");
    }
    kill("-TERM", &inner(&child));
    let (code, words) = code_and_output(&child.wait_with_output().unwrap());
    assert!(code == 123 && words.contains("interrupted"), "{words}");
    unharmed(&device);

    // The old container goes by force: the deployment ends all the same.
    let child = hang(&device);
    device.docker(&["rm", "-f", "hello-previous"]);
    kill("-TERM", &inner(&child));
    let (code, words) = code_and_output(&child.wait_with_output().unwrap());
    assert!(
        code == 122 && words.contains("there is no older one"),
        "{words}"
    );
    assert!(device.names().is_empty());
    good(&device, &replace("GREETING=one", &[GOOD], &[]));
}

#[test]
fn a_deployment_removes_only_what_it_owns() {
    let device = Device::start();
    first(&device);
    for name in [
        "hello-next",
        "hello-previous",
        "hello-older",
        "hello-moving",
    ] {
        let (code, said) = device.run(&["run", "-d", "--name", name, "sandbox/hello"]);
        assert!(
            code == 125 && said.contains("reserved for deployments"),
            "{said}"
        );
    }
    let (code, said) = device.run(&["run", "-d", "sandbox/hello-next"]);
    assert!(
        code == 125 && said.contains("ending in -next are reserved"),
        "{said}"
    );
    // A container of an earlier version of edge-docker, of another app.
    let label = "--label=edge.sandbox=hello-next";
    device.docker(&["run", "-d", "--name=hello-next", label, "sandbox/hello"]);
    let two = replace("GREETING=two", &[GOOD], &[]);
    let (code, said) = device.run(&two);
    assert!(
        code == 125 && said.contains("hello-next is taken by"),
        "{said}"
    );
    assert_eq!(device.names(), ["hello", "hello-next"]);
    // Announced before a power loss, but of this app.
    let announced = device.path("/data/config/edge-docker/switches/hello.next");
    fs::write(&announced, "hello").unwrap();
    assert_eq!(device.run(&two).0, 125);
    assert_eq!(device.names(), ["hello", "hello-next"]);
    good(&device, &["rm", "-f", "hello-next"]);
    fs::write(&announced, "hello").unwrap();
    let label = "--label=edge.sandbox=hello";
    device.docker(&["create", "--name=hello-next", label, "sandbox/hello"]);
    let said = good(&device, &["replace", "--recover"]);
    assert!(
        said.contains("removing hello-next") && !announced.exists(),
        "{said}"
    );
    assert_eq!(device.names(), ["hello"]);
    // A journal that cannot be read.
    fs::write(device.path(JOURNAL), "{").unwrap();
    let said = good(&device, &two);
    assert!(said.contains("moved to"), "{said}");
    assert_eq!(device.names(), ["hello", "hello-previous"]);
}

#[test]
fn commands_print_the_names_that_were_typed() {
    let device = Device::start();
    first(&device);
    for command in ["stop", "start", "pause", "unpause", "restart", "kill", "rm"] {
        assert_eq!(good(&device, &[command, "hello"]), "hello\n", "{command}");
    }
    for command in ["stop", "rm"] {
        let (code, said) = device.run(&[command, "hello", "other"]);
        assert!(
            code == 1 && said.contains("No such container: hello"),
            "{said}"
        );
        assert!(said.contains("No such container: other"), "{said}");
    }
    assert_eq!(
        good(
            &device,
            &["create", "-it", "--name", "job", "sandbox/hello"]
        )
        .len(),
        65
    );
    let first = &device.inspect("job", "{{.Id}}")[..12].to_string();
    assert_eq!(good(&device, &["rm", first]), format!("{first}\n"));
}

#[test]
fn a_taken_port_names_the_app_that_has_it() {
    let device = Device::start();
    first(&device);
    device.docker(&["tag", "sandbox/hello", "sandbox/other"]);
    let publish = "--publish=8080:8080";
    let (code, said) = device.run(&["replace", "other", publish, "sandbox/other"]);
    assert!(
        code == 122 && said.contains("port 8080 is taken by hello: stop it"),
        "{said}"
    );
    let (code, said) = device.run(&["run", "-d", publish, "sandbox/other"]);
    assert!(
        code == 125 && said.contains("port 8080 is taken by hello: stop it"),
        "{said}"
    );
    unharmed_by_others(&device);
    // By a program that is no container.
    let mut listener = device.command(&[
        "python3",
        "-c",
        "import socket,time; s = socket.create_server(('', 8081)); print(1, flush=True); time.sleep(99)",
    ]);
    let mut listener = listener.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0];
    listener
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    let (code, said) = device.run(&["run", "-d", "--publish=8081:8080", "sandbox/other"]);
    assert!(
        code == 125 && said.contains("that is no container"),
        "{said}"
    );
    listener.kill().unwrap();
    listener.wait().unwrap();
}

fn unharmed_by_others(device: &Device) {
    assert!(device.answer(8080).starts_with("one, request "));
    for name in device.names() {
        if name != "hello" {
            good(device, &["rm", "-f", &name]);
        }
    }
}
