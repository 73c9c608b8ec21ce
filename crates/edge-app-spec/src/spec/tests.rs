use super::*;

fn parse(text: &str) -> Result<Spec, String> {
    Spec::parse(text, "app.yaml", &|_| Ok(None))
}

fn run_spec(text: &str) -> serde_json::Value {
    let text = format!("name: a\n{text}\n");
    let spec = parse(&text).unwrap_or_else(|why| panic!("{text}{why}"));
    serde_json::to_value(spec.run_spec()).unwrap()
}

#[test]
fn a_name_is_required() {
    for text in [
        "{}",
        "name:",
        "name: ~\n",
        "name:\nports: []\n",
        "name: null\nname2: a\n",
    ] {
        let error = Spec::parse(text, "app.yaml", &|_| Ok(None))
            .map(drop)
            .unwrap_err();
        assert!(error.contains("`name` is missing"), "{text:?}: {error:?}");
    }
}

#[test]
fn options_for_an_image_without_a_specification() {
    let spec = parse(
        "name: a\nports: ['8080:80']\nenv: {A: 'x y', B: 1}\nvolumes: ['.:/data']\nhealth: {command: 'true', retries: 2}\n\
         resources: {memory: 64m, cpus: 1.5}\ngrants: [gpu]\nentrypoint: [/bin/sh, -c]\ncommand: [exec x]\n",
    )
    .unwrap();
    let arguments = spec.run_arguments("r.io/x@sha256:0", "/data/apps/a");
    assert_eq!(
        arguments.join("|"),
        "--detach|--name|a|--restart=unless-stopped|--grant=gpu|--publish=8080:80/tcp|--env=A=x y|--env=B=1|\
         --volume=/data/apps/a:/data|--memory=67108864|--cpus=1.500000000|--health-cmd=true|--health-retries=2|\
         --entrypoint=/bin/sh|r.io/x@sha256:0|-c|exec x"
    );
    let options = |text: &str| {
        let spec = parse(&format!("name: a\n{text}\n")).unwrap();
        spec.options("/d").split_off(1).join("|")
    };
    assert_eq!(
        options("health: {test: [CMD, a b, \"it's\"]}"),
        "--health-cmd=exec 'a b' 'it'\\''s'"
    );
    assert_eq!(options("entrypoint: []"), "--entrypoint=");
    assert_eq!(options("hostname: 'x-{thing}'"), "--hostname=x-thing");
}

#[test]
fn texts_stay_as_written() {
    let run = run_spec(
        "env: {A: 1.10, B: 0x1F, C: yes, D: 1_000, E: '~', F: True, G: .nan, H: +49170, I: 012, J: 1e3, K: !!str null, L: 22:22}\nuser: 1000\nhostname: 007",
    );
    let values: Vec<_> = run["environment"].as_object().unwrap().values().collect();
    assert_eq!(
        values,
        [
            "1.10", "0x1F", "yes", "1_000", "~", "True", ".nan", "+49170", "012", "1e3", "null",
            "22:22"
        ]
    );
    assert_eq!(
        (&run["user"], &run["hostname"]),
        (&"1000".into(), &"007".into())
    );
    assert_eq!(
        run_spec("requires: {l4t: 36.10}")["requires"]["l4t"],
        "36.10"
    );
    let command = run_spec("command: [sleep, 1.10, yes, 0x10, no, 1e3]")["command"].clone();
    assert_eq!(
        command,
        serde_json::json!(["sleep", "1.10", "yes", "0x10", "no", "1e3"])
    );
}

#[test]
fn keys_without_a_value_have_the_default() {
    let keys = "ports:\nenv:\nvolumes: ~\nsync:\nhealth:\nresources:\ngrants: null\nlogging:\nunit:\nrequires: {}";
    let expected = serde_json::json!({"app": "a", "restart": "unless-stopped", "v": 1});
    assert_eq!(run_spec(keys), expected);
}

#[test]
fn errors_stand_at_the_value() {
    for (text, places) in [
        ("name: a\nenv: {A: x, B: [1]}\n", "2:16"),
        ("name: a\nenv: {A: ~}\n", "2:10"),
        ("name: a\nenv: {A: x, B C: y}\n", "2:13"),
        ("name: a\nvolumes:\n  - .:/a\n  - ..:/b\n", "4:5"),
        (
            "name: a\nhealth: {command: 'true', retries: many}\n",
            "2:36",
        ),
        ("name: a\nenv: &x {A: b}\nports: *x\n", "3:8"),
        ("name: a\nname: a\n", "2:1"),
        ("name: a\nenv: {A: 1, A: 2}\n", "2:13"),
        ("name: a\n---\nname: b\n", "3:1"),
        ("name: a\nports: [\n", "2:8"),
        ("name: a\nports: [80]\n", "2:9"),
        (
            "name: a\nports:\n- 1:1\n- {target: 1, published: 1}\n",
            "4:3",
        ),
        ("name: a\nhealth: {command: x, interval: 5}\n", "2:32"),
        ("name: a\nmem_limit: 5x\n", "2:12"),
        ("name: a\ngrants: [gpu, gpu]\n", "2:15"),
        ("name: a\nenv: {}\nenvironment: {}\n", "3:1"),
        ("name: a\nresources: {memory: 1g}\nmem_limit: 1g\n", "3:1"),
        ("name: a\nvolumes: [.:/a]\ntmpfs: /a\n", "3:8"),
        ("colour: red\nports: x\nname: A\n", "1:1 2:8 3:7"),
        ("ports: [x]\n", "1:1 1:9"),
        ("- name\n", "1:1"),
        ("", "1:1"),
        ("# only a comment\n", "1:1"),
        ("name: a\nenv:\n\tA: b\n", "3:2"),
        ("name: a\nenv: {A: *x}\n", "2:10"),
        ("name: a\nenv: {A: !!binary aGk=}\n", "2:19"),
        ("name: a\nenv: {? [a] : b}\n", "2:9"),
        ("name: &a [*a]\n", "1:11"),
    ] {
        let Err(errors) = parse(text) else {
            panic!("{text}");
        };
        let found = errors.lines().map(|line| {
            let rest = line
                .strip_prefix("app.yaml:")
                .unwrap_or_else(|| panic!("{errors}"));
            rest.split(": ").next().unwrap()
        });
        assert_eq!(
            found.collect::<Vec<_>>().join(" "),
            places,
            "{text}{errors}"
        );
    }
}

#[test]
fn two_spellings_name_both_lines() {
    for (text, expected) in [
        (
            "env: {}\nenvironment: {A: b}",
            "app.yaml:3:1: `environment` and `env` on line 2 are the same setting: keep one",
        ),
        (
            "healthcheck: {test: x}\nhealth: {command: x}",
            "app.yaml:3:1: `health` and `healthcheck` on line 2",
        ),
        (
            "resources:\n  pids: 3\npids_limit: 3",
            "app.yaml:4:1: `pids_limit` and `pids` on line 3",
        ),
        (
            "health: {test: x, command: x}",
            "app.yaml:2:19: `command` and `test` on line 2",
        ),
    ] {
        let error = parse(&format!("name: a\n{text}\n")).err().unwrap();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn processors_within_limits() {
    let cpus = |text: &str| {
        let text = format!("name: a\nresources:\n  cpus: {text}\n");
        parse(&text).map(|spec| spec.run_spec().cpus)
    };
    assert_eq!(cpus("2"), Ok(2_000_000_000));
    assert_eq!(cpus("0.25"), Ok(250_000_000));
    for bad in ["0", "-1", ".nan", ".inf", "many", "1e9", "1e-9", "[1]"] {
        let error = cpus(bad).unwrap_err();
        assert!(error.starts_with("app.yaml:3:9: "), "{error}");
    }
}

#[test]
fn the_form_of_the_text_does_not_matter() {
    let expected = run_spec("ports: ['1:2']\nenv: {A: b}");
    for text in [
        "\u{feff}name: a\nports:\n- '1:2'\nenv:\n  A: b\n",
        "name: a\r\nports:\r\n  - 1:2\r\nenv:\r\n  A: b\r\n",
        "# c\n--- # d\nname: a\nports: [\"1:2/tcp\"]\nenvironment: [A=b]\n...\n",
        "name: a\nports: &p [1:2]\nenv: &e {A: b}\nexpose: &x\n",
        "{\"name\": \"a\", \"ports\": [\"1:2\"], \"env\": {\"A\": \"b\"}}",
        "name: a\nports: 1:2\nenv: {<<: [{A: b}, {A: c}]}\n",
    ] {
        let spec = parse(text).unwrap_or_else(|why| panic!("{text}{why}"));
        assert_eq!(
            serde_json::to_value(spec.run_spec()).unwrap(),
            expected,
            "{text}"
        );
    }
    let merged = run_spec("env:\n  <<: &common {A: b, C: d}\n  A: e");
    assert_eq!(
        merged["environment"],
        serde_json::json!({"A": "e", "C": "d"})
    );
}

#[test]
fn hostile_texts_end_early() {
    let laughs: String = (1..40)
        .map(|n| {
            format!(
                "  - &a{n} [{}]\n",
                vec![format!("*a{}", n - 1); 9].join(", ")
            )
        })
        .collect();
    let anchors: String = (1..5000)
        .map(|n| format!("- &a{n} [*a{}]\n", n - 1))
        .collect();
    let scalars = vec!["*a"; 5000].join(", ");
    for text in [
        format!("name: a\nx:\n  - &a0 lol\n{laughs}"),
        format!("- &a0 x\n{anchors}"),
        format!("name: a\ncommand: [&a {}, {scalars}]\n", "x".repeat(40_000)),
        format!("name: a\nenv: {}{}\n", "[".repeat(5000), "]".repeat(5000)),
        format!("name: a\nenv: {}x\n", "{a: ".repeat(200)),
        format!("name: a\n{}", "# x\n".repeat(20_000)),
        format!("name: a\n{}", "- ".repeat(30_000)),
        format!("name: a\nenv: {{A: \"{}\"}}\n", "\\u0001".repeat(9)),
        format!("name: a\n{}: b\n", "n".repeat(60_000)),
        "name: a\nenv: {A: \"\\ud800\"}\n".into(),
        "name: a\0b\n".into(),
        "name: a\nenv:\n\tA: b\n".into(),
        "%YAML 9.9\n---\nname: a b\n".into(),
    ] {
        let start = std::time::Instant::now();
        let Err(error) = parse(&text) else {
            panic!("{}", &text[..text.len().min(200)]);
        };
        assert!(
            error.len() < 2000 && error.starts_with("app.yaml:"),
            "{error}"
        );
        assert!(start.elapsed().as_secs() < 5, "{error}");
    }
}

#[test]
fn variables_of_files_are_signed() {
    let read = |path: &str| match path {
        "a.env" => Ok(Some("A=1\nB='two words'\nC=3\n".to_string())),
        "b.env" => Ok(Some("B=b\n".to_string())),
        "bad.env" => Ok(Some("A=1\nB\n".to_string())),
        "../x" => Err("outside".to_string()),
        _ => Ok(None),
    };
    let parse = |text: &str| {
        let text = format!("name: a\n{text}\n");
        let spec = Spec::parse(&text, "app.yaml", &read)?;
        Ok::<_, String>(spec.run_spec().environment)
    };
    let expected = [("A", "1"), ("B", "b"), ("C", "c")];
    let expected = expected.map(|(n, v)| (n.to_string(), v.to_string())).into();
    for text in [
        "env_file: [a.env, b.env]\nenv: {C: c}",
        "env: {C: c}\nenv_file:\n- a.env\n- {path: b.env}\n- {path: absent, required: false}",
    ] {
        assert_eq!(parse(text).unwrap(), expected);
    }
    assert_eq!(parse("env_file: a.env").unwrap()["B"], "two words");
    for (text, expected) in [
        (
            "env_file: absent",
            "app.yaml:2:11: there is no file \"absent\"",
        ),
        ("env_file: [../x]", "app.yaml:2:12: outside"),
        (
            "env_file: bad.env",
            "app.yaml:2:11: bad.env:2:1: \"B\" has no value",
        ),
        ("env_file: [[a.env]]", "app.yaml:2:12: expected text"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    let warnings = |text: &str| {
        let spec = parse(&format!("name: a\n{text}\n")).unwrap();
        spec.warnings().join("\n")
    };
    for (text, expected) in [
        (
            "env: {DB_PASSWORD: x}",
            "app.yaml:2:7: DB_PASSWORD looks like a secret",
        ),
        (
            "env: [api.token=x]",
            "app.yaml:2:7: api.token looks like a secret",
        ),
        ("env: {KEY: x}", "secret"),
        ("env: {A: '{Thing}'}", "did you mean {thing}?"),
        ("env: {A: 'x{serail}y'}", "did you mean {serial}?"),
        ("env: {A: '${HOME}'}", "`$` is taken as written"),
        ("ports: ['22:22']", "port 22 of the device is used by SSH"),
    ] {
        assert!(
            warnings(text).contains(expected),
            "{text}: {}",
            warnings(text)
        );
    }
    for text in [
        "env: {A: '{\"a\":1}', B: '{thing}', C: '{serial}', KEYBOARD: de, MONKEY: x, DB_PASSWORD: ''}",
        "env: {A: '{nothing}', B: '{}', C: '{x', D: '{string}'}",
        "ports: ['2222:22', '127.0.0.1:22:22', '22:22/udp']",
    ] {
        assert_eq!(warnings(text), "", "{text}");
    }
}

#[test]
fn labels_network_and_terminal() {
    let run = run_spec("labels: {com.example.a: 1.10, b:}\nnetwork_mode: none\ntty: true");
    let expected = serde_json::json!({"b": "", "com.example.a": "1.10"});
    assert_eq!(run["labels"], expected);
    assert_eq!(
        (&run["network_mode"], &run["tty"]),
        (&"none".into(), &true.into())
    );
    assert_eq!(
        run_spec("labels: [com.example.a=1.10, b]")["labels"],
        expected
    );
    assert!(run_spec("labels: {}\ntty: false").get("labels").is_none());
    let spec =
        parse("name: a\nlabels: [x=a=b]\nnetwork_mode: host\ngrants: [vpn]\ntty: true\n").unwrap();
    let options = spec.options("/d").join("|");
    for option in ["--label=x=a=b", "--network=host", "--tty=true"] {
        assert!(options.contains(option), "{options}");
    }
    let many = |count| {
        let names: Vec<_> = (0..count).map(|n| format!("n{n}")).collect();
        parse(&format!("name: a\nlabels: [{}]\n", names.join(", "))).map(drop)
    };
    many(64).unwrap();
    assert!(many(65).unwrap_err().starts_with("app.yaml:2:9: 65 labels"));
    let large = format!("labels: {{a: {}}}", "x".repeat(4096));
    for (text, why) in [
        ("labels: {edge.app: x}", "reserved"),
        ("labels: {Edge.Run: x}", "reserved"),
        ("labels: [com.docker.x=1]", "reserved"),
        ("labels: [edge-app.options=x]", "edge-app's own"),
        ("labels: ['=x']", "reserved"),
        ("labels: {'a=b': x}", "neither `=`"),
        ("labels: {\"a\\nb\": x}", "control"),
        ("labels: [a=1, a=2]", "already"),
        ("labels: {a: [b]}", "expected text"),
        ("labels: 5", "a mapping"),
        (&large, "4096 bytes"),
        ("network_mode: 'container:other'", "must be bridge"),
        ("network_mode: 'service:db'", "must be bridge"),
        ("network_mode: mine", "must be bridge"),
        ("network_mode: host", "needs a grant"),
        ("network_mode: HOST", "must be bridge"),
        ("tty: on", "true"),
    ] {
        let error = parse(&format!("name: a\n{text}\n")).map(drop).unwrap_err();
        assert!(
            error.starts_with("app.yaml:2:") && error.contains(why),
            "{text}: {error}"
        );
    }
}

/// Settings without an option are seen by a comparison, too.
#[test]
fn settings_show_every_change() {
    let settings = |text: &str| {
        let spec = parse(&format!("name: a\n{text}\n")).unwrap();
        crate::settings_of(&spec.run_spec(), "/d")
    };
    let plain = settings("");
    for (text, line) in [
        ("storage: 1m", r#"storage: {"limit":1048576}"#),
        ("storage: {owner: app}", r#"storage: {"owner":"app"}"#),
        ("command: [x, y]", r#"command: ["x","y"]"#),
        (
            "commands: {a: {run: b}}",
            r#"commands: {"a":{"run":["b"]}}"#,
        ),
        ("entrypoint: [a, b]", r#"entrypoint: ["a","b"]"#),
        ("requires: {l4t: '36'}", r#"requires: {"l4t":"36"}"#),
        ("grants: [dbus]\nroot: [dbus]", r#"root: ["dbus"]"#),
        (
            "unit: {after: [a.service]}",
            r#"unit: {"after":["a.service"]}"#,
        ),
    ] {
        let changed = settings(text);
        let new: Vec<_> = changed.iter().filter(|s| !plain.contains(s)).collect();
        assert!(new.iter().any(|s| *s == line), "{text}: {new:?}");
    }
}
