//! Text that a shell, ssh or docker would interpret: across SSH it arrives unchanged, or
//! is refused.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;

use edge_sim::namespaces::Fleet;
use edge_sim::testbed::{Cloud, push_image};
use project::Project;
use serde_json::json;

const NASTY: [&str; 8] = [
    "$(touch /data/pwned)",
    "`touch /data/pwned`",
    "'; touch /data/pwned; '",
    "\"; touch /data/pwned; \"",
    "a  b\\",
    "-oProxyCommand=touch /data/pwned",
    "* ~ ! # & | > < é %s",
    "",
];

/// Project, and a device that records the arguments it receives.
struct Testbed<'a> {
    fleet: Fleet,
    project: Project<'a>,
    digest: String,
}

impl<'a> Testbed<'a> {
    fn new(cloud: &'a Cloud) -> Self {
        let fleet = Fleet::start(1).unwrap();
        let registry = cloud.local_registry();
        let digest = push_image(cloud.path(), &registry).unwrap();
        let project = Project::new(cloud, registry, &fleet.config());
        Self {
            fleet,
            project,
            digest,
        }
    }

    /// Arguments that edge-docker on the device received with the command `command`.
    fn received(&self, command: &str) -> Vec<String> {
        let path = self.fleet.path(0, "/data").join(command);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        text.split_terminator('\0').map(String::from).collect()
    }

    fn fails(&self, arguments: &[&str], expected: &str) {
        let (code, out, printed) = self.project.run(arguments);
        assert!(
            code == 2 && printed.contains(expected),
            "{arguments:?}: {code} {out}{printed}"
        );
        assert!(!self.fleet.path(0, "/data/pwned").exists(), "{arguments:?}");
    }
}

#[test]
fn values_of_an_app_arrive_unchanged() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let image = format!("{}:hello-v1@{}", testbed.project.registry, testbed.digest);
    for value in NASTY {
        let app = json!({
            "name": "hello", "env": { "A": value }, "ports": ["80:80"], "grants": ["gpu"],
            "health": { "command": value, "interval": "1s" }, "volumes": [".:/data"],
            "resources": { "memory": "64m", "pids": 7 }, "command": [value],
        });
        testbed.project.put("hello/app.yaml", &app.to_string());
        if value.is_empty() {
            let deploy = ["deploy", "hello", "d00", "--version", "v1"];
            testbed.project.fails(&deploy, 3, "the command is empty");
            continue;
        }
        let deploy = ["deploy", "hello", "d00", "--version", "v1"];
        testbed.project.succeeds(&deploy);
        let options = [
            "--restart=unless-stopped",
            "--grant=gpu",
            "--publish=80:80/tcp",
            &format!("--env=A={value}"),
            "--volume=/data/apps/hello:/data",
            "--memory=67108864",
            "--pids-limit=7",
            &format!("--health-cmd={value}"),
            "--health-interval=1000ms",
        ];
        let label = format!("--label=edge-app.options={}", json!(options));
        let first = ["replace", "hello", "--timeout=120", &label];
        let expected = [&first[..], &options, &[image.as_str(), value]].concat();
        assert_eq!(testbed.received("replace"), expected);
        let expected = ["pull", "--username", "AWS", "--password-stdin", &image];
        assert_eq!(testbed.received("pull"), expected);
        assert!(!testbed.fleet.path(0, "/data/pwned").exists(), "{value}");
    }
}

/// The user name of the registry comes from the project too.
#[test]
fn a_login_arrives_unchanged() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let config = testbed.project.directory.path().join("edge-app.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let user = "AWS'; touch /data/pwned; '";
    fs::write(&config, text.replace("\"AWS\"", &json!(user).to_string())).unwrap();
    let (_, _, printed) = testbed
        .project
        .run(&["deploy", "hello", "d00", "--version", "v1"]);
    // The registry rejects this user.
    assert!(printed.contains("wrong or no credentials"), "{printed}");
    assert!(!testbed.fleet.path(0, "/data/pwned").exists());
}

#[test]
fn names_of_apps() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let names = [
        "a b",
        "$(id)",
        "-x",
        "a\nb",
        "../a",
        "a/b",
        "..",
        "",
        "a;id",
        "HELLO",
        "a'b",
        "a-previous",
        "a-next",
        "-oProxyCommand=id",
    ];
    for name in names {
        for command in [
            "deploy", "rollback", "diff", "sandbox", "logs", "stop", "remove",
        ] {
            testbed.fails(&[command, "--", name, "d00"], "not the name of an app");
        }
        for command in ["build", "push", "verify"] {
            // Text that looks like an image reference is parsed as one.
            if !(command == "verify" && name.contains('/')) {
                testbed.fails(&[command, "--", name], "not the name of an app");
            }
        }
        if name != "HELLO" {
            testbed.fails(&["init", "--", name], "not the name of an app");
        }
    }
}

#[test]
fn names_of_devices() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let devices = [
        "-oProxyCommand=touch /data/pwned",
        "a b",
        "$(id)",
        "a;id",
        "a\nb",
        "a/b",
        "../a",
        "'",
        "",
    ];
    for name in devices {
        for command in [
            &["deploy", "hello", "--version=v1"][..],
            &["rollback", "hello"],
            &["status"],
            &["diff", "hello", "--version=v1"],
            &["sandbox", "hello"],
            &["logs", "hello"],
            &["stop", "hello"],
            &["remove", "hello"],
        ] {
            testbed.fails(
                &[command, &["--", name]].concat(),
                "not the name of a device",
            );
        }
    }
}

#[test]
fn versions_and_images() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    for version in [
        "v 1", "../1", "", "-v", "$(id)", "a:b", "a/b", "a\nb", "a'b",
    ] {
        let version = format!("--version={version}");
        for command in [
            &["build", "hello"][..],
            &["push", "hello"],
            &["verify", "hello"],
            &["deploy", "hello", "d00"],
            &["diff", "hello", "d00"],
        ] {
            testbed.fails(&[command, &[version.as_str()]].concat(), "version");
        }
    }
    for image in ["$(id)@sha256:0", "-x@sha256:0", "a b@sha256:0", "a;id"] {
        let from = format!("--from={image}");
        let (code, ..) = testbed
            .project
            .run(&["push", "hello", "--version=v1", &from]);
        assert_eq!(code, 2, "{image}");
    }
}

/// Hosts and users of edge-app.yaml become arguments of ssh.
#[test]
fn values_of_a_project_are_no_options_of_ssh() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let path = testbed.project.directory.path().join("edge-app.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for value in [
        "-oProxyCommand=touch /data/pwned",
        "a b",
        "$(id)",
        "a\nb",
        "`id`",
        "",
    ] {
        for device in [
            json!({ "host": value }),
            json!({ "host": "a", "user": value }),
        ] {
            let mut config = config.clone();
            config["devices"] = json!({ "invalid": device });
            config["groups"] = json!({ "g": ["invalid"] });
            fs::write(&path, config.to_string()).unwrap();
            testbed.fails(&["stop", "hello", "invalid"], "not the name of a device");
            testbed.fails(&["status", "--all"], "not the name of a device");
            let deploy = ["deploy", "hello", "--version=v1", "--group=g"];
            testbed.fails(&deploy, "not the name of a device");
        }
        let mut config = config.clone();
        config["groups"] = json!({ "g": [value] });
        fs::write(&path, config.to_string()).unwrap();
        let rollback = ["rollback", "hello", "--group=g"];
        testbed.fails(&rollback, "not the name of a device");
    }
    fs::write(&path, text).unwrap();
    // The directory of temporary files may have any name.
    let directory = testbed.project.directory.path().join("a b %h \"c");
    fs::create_dir(&directory).unwrap();
    let mut stop = testbed.project.command(&["stop", "hello", "d00"]);
    let output = stop.env("TMPDIR", &directory).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    assert_eq!(testbed.received("stop"), ["stop", "hello"]);
}

/// Output of a device reaches neither the terminal unfiltered nor a shell.
#[test]
fn output_of_a_device_moves_no_cursor() {
    let cloud = Cloud::up();
    let testbed = Testbed::new(&cloud);
    let ids = "\x1b[2J$(touch /data/pwned) ;id\n";
    fs::write(testbed.fleet.path(0, "/data/images"), ids).unwrap();
    fs::write(testbed.fleet.path(0, "/data/broken"), "").unwrap();
    let deploy = ["deploy", "hello", "d00", "--version", "v1"];
    let (code, out, printed) = testbed.project.run(&deploy);
    assert!(code == 8 && !(out + &printed).contains('\x1b'), "{printed}");
}
