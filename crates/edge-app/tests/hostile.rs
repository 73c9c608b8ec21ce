//! Text that a shell, ssh or docker would take for something else: wherever it
//! crosses SSH it arrives as it is, or goes nowhere.
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

/// A device that keeps the words it gets, and a project.
struct World<'a> {
    fleet: Fleet,
    project: Project<'a>,
    digest: String,
}

impl<'a> World<'a> {
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

    /// What the device's edge-docker was told as `verb`.
    fn told(&self, verb: &str) -> Vec<String> {
        let path = self.fleet.path(0, "/data").join(verb);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        text.split_terminator('\0').map(String::from).collect()
    }

    fn fails(&self, words: &[&str], wanted: &str) {
        let (code, out, said) = self.project.run(words);
        assert!(
            code == 2 && said.contains(wanted),
            "{words:?}: {code} {out}{said}"
        );
        assert!(!self.fleet.path(0, "/data/pwned").exists(), "{words:?}");
    }
}

#[test]
fn words_of_an_app_arrive_as_they_are() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
    let image = format!("{}@{}", world.project.registry, world.digest);
    for value in NASTY {
        let app = json!({
            "name": "hello", "env": { "A": value }, "ports": ["80:80"], "grants": ["a;id"],
            "health": { "command": value, "interval": "1s" }, "volumes": [".:/data"],
            "resources": { "memory": "$(id)", "pids": 7 },
        });
        world.project.put("hello/app.yaml", &app.to_string());
        let deploy = ["deploy", "hello", "d00", "--version", "v1"];
        world.project.good(&deploy);
        let options = [
            "--restart=unless-stopped",
            "--publish=80:80",
            &format!("--env=A={value}"),
            "--volume=/data/apps/hello:/data",
            &format!("--health-cmd={value}"),
            "--health-interval=1s",
            "--memory=$(id)",
            "--pids-limit=7",
            "--grant=a;id",
        ];
        let label = format!("--label=edge-app.options={}", json!(options));
        let first = ["replace", "hello", "--timeout=120", &label];
        let wanted = [&first[..], &options, &[image.as_str()]].concat();
        assert_eq!(world.told("replace"), wanted);
        let wanted = ["pull", "--username", "AWS", "--password-stdin", &image];
        assert_eq!(world.told("pull"), wanted);
        assert!(!world.fleet.path(0, "/data/pwned").exists(), "{value}");
    }
}

/// The user of the registry is the project's word, too.
#[test]
fn a_login_arrives_as_it_is() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
    let config = world.project.directory.path().join("edge-app.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let user = "AWS'; touch /data/pwned; '";
    fs::write(&config, text.replace("\"AWS\"", &json!(user).to_string())).unwrap();
    let (_, _, said) = world
        .project
        .run(&["deploy", "hello", "d00", "--version", "v1"]);
    // The registry does not let that one in.
    assert!(said.contains("wrong or no credentials"), "{said}");
    assert!(!world.fleet.path(0, "/data/pwned").exists());
}

#[test]
fn names_of_apps() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
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
        for verb in [
            "deploy", "rollback", "diff", "sandbox", "logs", "stop", "remove",
        ] {
            world.fails(&[verb, "--", name, "d00"], "not the name of an app");
        }
        for verb in ["build", "push", "verify"] {
            // What looks like an image is taken for one.
            if !(verb == "verify" && name.contains('/')) {
                world.fails(&[verb, "--", name], "not the name of an app");
            }
        }
        if name != "HELLO" {
            world.fails(&["init", "--", name], "not the name of an app");
        }
    }
}

#[test]
fn names_of_devices() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
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
        for verb in [
            &["deploy", "hello", "--version=v1"][..],
            &["rollback", "hello"],
            &["status"],
            &["diff", "hello", "--version=v1"],
            &["sandbox", "hello"],
            &["logs", "hello"],
            &["stop", "hello"],
            &["remove", "hello"],
        ] {
            world.fails(&[verb, &["--", name]].concat(), "not the name of a device");
        }
    }
}

#[test]
fn versions_and_images() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
    for version in [
        "v 1", "../1", "", "-v", "$(id)", "a:b", "a/b", "a\nb", "a'b",
    ] {
        let version = format!("--version={version}");
        for verb in [
            &["build", "hello"][..],
            &["push", "hello"],
            &["verify", "hello"],
            &["deploy", "hello", "d00"],
            &["diff", "hello", "d00"],
        ] {
            world.fails(&[verb, &[version.as_str()]].concat(), "version");
        }
    }
    for image in ["$(id)@sha256:0", "-x@sha256:0", "a b@sha256:0", "a;id"] {
        let from = format!("--from={image}");
        let (code, ..) = world.project.run(&["push", "hello", "--version=v1", &from]);
        assert_eq!(code, 2, "{image}");
    }
}

/// Hosts, users and groups of edge-app.yaml are words of ssh.
#[test]
fn words_of_a_project_are_no_options_of_ssh() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
    let path = world.project.directory.path().join("edge-app.yaml");
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
            config["devices"] = json!({ "bad": device });
            config["groups"] = json!({ "g": ["bad"] });
            fs::write(&path, config.to_string()).unwrap();
            world.fails(&["stop", "hello", "bad"], "not the name of a device");
            world.fails(&["status", "--all"], "not the name of a device");
            let deploy = ["deploy", "hello", "--version=v1", "--group=g"];
            world.fails(&deploy, "not the name of a device");
        }
        let mut config = config.clone();
        config["groups"] = json!({ "g": [value] });
        fs::write(&path, config.to_string()).unwrap();
        let rollback = ["rollback", "hello", "--group=g"];
        world.fails(&rollback, "not the name of a device");
    }
    fs::write(&path, text).unwrap();
    // A directory for what is temporary may be called anything.
    let directory = world.project.directory.path().join("a b %h \"c");
    fs::create_dir(&directory).unwrap();
    let mut stop = world.project.command(&["stop", "hello", "d00"]);
    let output = stop.env("TMPDIR", &directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(world.told("stop"), ["stop", "hello"]);
}

/// A device is not trusted with this machine's terminal or shell.
#[test]
fn what_a_device_says_moves_no_cursor() {
    let cloud = Cloud::up();
    let world = World::new(&cloud);
    let ids = "\x1b[2J$(touch /data/pwned) ;id\n";
    fs::write(world.fleet.path(0, "/data/images"), ids).unwrap();
    fs::write(world.fleet.path(0, "/data/broken"), "").unwrap();
    let deploy = ["deploy", "hello", "d00", "--version", "v1"];
    let (code, out, said) = world.project.run(&deploy);
    assert!(code == 8 && !(out + &said).contains('\x1b'), "{said}");
}
