//! Tickets at the real engine: what has none is refused, whoever types it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::Device;
use device::image::Image;
use serde_json::json;

const JSON: [&str; 2] = ["-H", "Content-Type: application/json"];

/// Many that connect and say nothing.
const CROWD: &str = r#"
import socket, subprocess, sys
crowd = [socket.socket(socket.AF_UNIX) for _ in range(300)]
for one in crowd: one.connect("/run/docker/plugins/edge-docker.sock")
sys.exit(subprocess.run(["docker", "ps"]).returncode)
"#;

/// Who speaks to the plugin as the engine does, but not what it says.
fn strangers(device: &Device) {
    let long = format!(
        r#"{{"RequestMethod":"GET","RequestUri":"/_ping?{}"}}"#,
        "x".repeat(9 << 20)
    );
    device.write("/run/long.json", long.as_bytes());
    for (call, more) in [
        ("AuthZPlugin.AuthZReq", &["-d", "{"][..]),
        ("AuthZPlugin.AuthZReq", &["-d", "null"]),
        ("AuthZPlugin.AuthZReq", &["-d", "{}"]),
        (
            "AuthZPlugin.AuthZReq",
            &[
                "-d",
                r#"{"RequestMethod":"GET","RequestUri":"/_ping","RequestBody":"%"}"#,
            ],
        ),
        (
            "AuthZPlugin.AuthZReq",
            &[
                "-d",
                r#"{"RequestMethod":"GET","RequestUri":"/_ping","RequestUri":"/info"}"#,
            ],
        ),
        (
            "AuthZPlugin.AuthZReq",
            &[
                "-d",
                r#"{"RequestMethod":"POST","RequestUri":"/v1.41/containers/create"}"#,
            ],
        ),
        ("AuthZPlugin.AuthZReq", &["-d", "@/run/long.json"]),
        (
            "AuthZPlugin.AuthZReq",
            &[
                "-H",
                "Transfer-Encoding: chunked",
                "-d",
                r#"{"RequestMethod":"GET","RequestUri":"/_ping"}"#,
            ],
        ),
        ("AuthZPlugin.AuthZreq", &["-d", "{}"]),
        ("Plugin.Activate/", &["-d", "{}"]),
    ] {
        let url = format!("http://plugin/{call}");
        let socket = "/run/docker/plugins/edge-docker.sock";
        let args = [
            &["curl", "-s", "-m", "20", "--unix-socket", socket, &url][..],
            more,
        ]
        .concat();
        let answer = device::output_text(&device.run(&args));
        assert!(
            !answer.contains(r#""Allow":true"#),
            "{call} {more:?}: {answer}"
        );
    }
    device.good(&["python3", "-c", CROWD]);
    device.good(&["docker", "ps"]);
}

const CREATE: &str = "/v1.41/containers/create";

fn none(device: &Device, what: &str) {
    assert_eq!(device.good(&["docker", "ps", "-aq"]), "", "{what}");
}

/// What root types, and what it is told to type instead.
fn typed(device: &Device) {
    for (instead, args) in [
        ("edge-docker run", "run --rm sandbox/foo:base"),
        ("edge-docker create", "create --privileged sandbox/foo:base"),
        ("edge-docker pull", "pull alpine"),
        ("edge-docker tag", "tag sandbox/foo:base evil"),
        (
            "no plugins",
            "volume create -o o=bind -o device=/ -o type=none v",
        ),
        ("no plugins", "network create n"),
        ("no plugins", "swarm init"),
    ] {
        let args: Vec<_> = ["docker"].into_iter().chain(args.split(' ')).collect();
        let (_, output) = device.bad(&args);
        assert!(
            output.contains("authorization denied by plugin edge-docker"),
            "{output}"
        );
        assert!(output.contains(instead), "{args:?}: {output}");
        none(device, &args.join(" "));
    }
}

/// What a program sends.
fn sent(device: &Device, image: &Image) {
    let plain = json!({ "Image": image.id, "HostConfig": { "Privileged": true } }).to_string();
    let doubled = format!(
        r#"{{"Image":"{}","HostConfig":{{"Privileged":false}},"hostconfig":{{"privileged":true}}}}"#,
        image.id
    );
    let large = json!({ "Image": image.id, "Env": ["A=".to_string() + &"x".repeat(2 << 20)] });
    device.write("/run/large.json", large.to_string().as_bytes());
    let chunked = [
        &JSON[..],
        &["-H", "Transfer-Encoding: chunked", "-d", &plain],
    ]
    .concat();
    let uri = CREATE;
    for (uri, more) in [
        (uri, [&JSON[..], &["-d", &plain]].concat()),
        (uri, [&JSON[..], &["-d", &doubled]].concat()),
        (uri, [&JSON[..], &["-d", "@/run/large.json"]].concat()),
        (uri, chunked.clone()),
        (uri, [&JSON[..], &["-H", "Content-Length: 0"]].concat()),
        (uri, vec!["-H", "Content-Type: text/plain", "-d", &plain]),
        ("/v1.41/containers/%63reate", chunked.clone()),
        ("/v1.41//containers/create", chunked.clone()),
        ("/v1.41/x/../containers/create", chunked.clone()),
        ("/containers/create", chunked.clone()),
        ("/v1.24/containers/create?name=x", chunked.clone()),
    ] {
        let (status, answer) = device.ask("POST", uri, &more);
        assert_ne!(status, 201, "{uri}: {answer}");
        none(device, uri);
    }
}

/// edge-docker itself gets through; its request again does not.
fn through_edge_docker(device: &Device, image: &Image) {
    let uri = CREATE;
    let id = device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "foo",
        "--network",
        "none",
        &image.name,
    ]);
    assert_eq!(device.running(), ["foo"]);
    let record = format!("@/data/config/edge-docker/containers/{id}.json");
    let again = [&JSON[..], &["--data-binary", &record]].concat();
    for uri in [
        uri,
        "/v1.41/containers/create?name=foo",
        "/v1.41/containers/create?name=bar",
    ] {
        let (status, answer) = device.ask("POST", uri, &again);
        assert_eq!(status, 403, "{answer}");
    }
}

/// Into a container only through edge-docker.
fn into_a_container(device: &Device) {
    let listed = device.good(&[
        "edge-docker",
        "exec",
        "-e",
        "A=b",
        "foo",
        "ls",
        "/etc/app.conf",
    ]);
    assert_eq!(listed, "/etc/app.conf");
    for args in [
        &["docker", "exec", "foo", "ls"][..],
        &["docker", "exec", "--privileged", "foo", "ls"],
        &["docker", "exec", "-u", "0", "foo", "ls"],
    ] {
        assert!(device.bad(args).1.contains("edge-docker exec"));
    }
    let (_, output) = device.bad(&["docker", "update", "--restart", "always", "foo"]);
    assert!(output.contains("create it again"), "{output}");
    let (status, _) = device.ask(
        "PUT",
        "/v1.41/containers/foo/archive?path=/tmp",
        &["-d", "x"],
    );
    assert_eq!(status, 403);
}

/// A host configuration at start, as old interfaces take it.
fn at_start(device: &Device) {
    device.good(&["docker", "stop", "-t", "0", "foo"]);
    let privileged = r#"{"Privileged":true,"Binds":["/:/host"]}"#;
    for version in ["v1.12", "v1.23", "v1.41"] {
        let uri = format!("/{version}/containers/foo/start");
        for more in [
            &["-d", privileged][..],
            &["-H", "Transfer-Encoding: chunked", "-d", privileged],
        ] {
            let (status, answer) = device.ask("POST", &uri, &[&JSON[..], more].concat());
            assert!(status >= 400, "{uri}: {status} {answer}");
        }
    }
    let kept = device.good(&[
        "docker",
        "inspect",
        "-f",
        "{{.HostConfig.Privileged}} {{.State.Running}}",
        "foo",
    ]);
    assert_eq!(kept, "false false");
}

/// What is free stays free.
fn free(device: &Device) {
    for args in [
        "start foo",
        "ps -a",
        "logs foo",
        "inspect foo",
        "images",
        "info",
        "top foo",
        "rename foo bar",
        "pause bar",
        "unpause bar",
        "restart -t 0 bar",
        "kill bar",
        "wait bar",
        "system df",
        "rm bar",
    ] {
        let args: Vec<_> = ["docker"].into_iter().chain(args.split(' ')).collect();
        device.good(&args);
    }
}

/// Killed, it is there again; away, nothing goes.
fn away(device: &mut Device) {
    let uri = CREATE;
    let plain = r#"{"Image":"sandbox/foo:base"}"#;
    for _ in 0..7 {
        device.kill_plugin();
        device.good(&["docker", "ps"]);
    }
    let (status, _) = device.ask("POST", uri, &[&JSON[..], &["-d", plain]].concat());
    assert_eq!(status, 403);
    device.stop_plugin();
    for (method, uri) in [("GET", "/v1.41/containers/json"), ("POST", uri)] {
        let (status, answer) = device.ask(method, uri, &[&JSON[..], &["-d", plain]].concat());
        assert!(status == 0 || status >= 400, "{status} {answer}");
    }
    device.start_plugin();
    device.good(&["docker", "ps"]);
    assert_eq!(device.good(&["docker", "ps", "-aq"]), "");
}

#[test]
fn nothing_is_made_without_a_ticket() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    typed(&device);
    sent(&device, &image);
    through_edge_docker(&device, &image);
    into_a_container(&device);
    at_start(&device);
    free(&device);
    strangers(&device);
    away(&mut device);
    // Nobody else starts it.
    let (code, output) = device.bad(&["edge-docker", "authz"]);
    assert!(
        code == 125 && output.contains("systemd starts it"),
        "{code} {output}"
    );
    device.stop_engine();
}
