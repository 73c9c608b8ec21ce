//! Generated `app.yaml`: what is taken has one canonical form, and the device's parser
//! takes it.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_app_spec::Spec;
use edge_docker_policy::run_spec::{DeviceNames, RunSpec};

const FILES: usize = 2000;

/// Values for each key, good and bad ones; several lines of a key are separated by `|`.
const VALUES: [(&str, &[&str]); 44] = [
    (
        "command",
        &[
            "run me",
            "[a, 'b c', 1.10]",
            "sh -c 'x y'",
            "a | b",
            "[]",
            "{a: b}",
            "''",
        ],
    ),
    ("entrypoint", &["/bin/sh", "[]", "[a, b]", "''"]),
    (
        "env",
        &[
            "{A: 1, B_C: '{thing}'}",
            "[A=b, C=]",
            "{}",
            "{A: }",
            "{A: '{\"a\": 1}', B: \"é\\tx\"}",
        ],
    ),
    (
        "environment",
        &["{A: x}", "{A: '{serial} {x} ${y}'}", "[A]", "[=b]"],
    ),
    (
        "env_file",
        &[
            "a.env",
            "[a.env, b.env]",
            "{path: none, required: false}",
            "none",
            "bad.env",
        ],
    ),
    (
        "ports",
        &[
            "['80:80']",
            "[1:2, 1:2/udp, 3:2]",
            "[{target: 1, published: 2}]",
            "[80]",
            "['1:1', '1:2']",
            "['[::1]:5:6']",
            "['[::]:5:6', '0.0.0.0:6:6']",
        ],
    ),
    ("expose", &["[80]", "[53/udp, 53]", "['1:2']"]),
    (
        "volumes",
        &[
            "['.:/data']",
            "[a:/b:ro, c/d:/e]",
            "['/etc:/x']",
            "[{source: x, target: /y, read_only: true}]",
            "[{type: tmpfs, target: /z, tmpfs: {size: 5m}}]",
            "[a:/b, a:/b]",
        ],
    ),
    ("tmpfs", &["/run", "['/run:size=1m', /tmp]", "run", "/data"]),
    ("shm_size", &["1g", "64m", "-1", "1e9"]),
    ("read_only", &["true", "false", "yes"]),
    ("init", &["true", "False", "1"]),
    (
        "hostname",
        &["a", "'{thing}'", "cam-{serial}", "-", "a.b", "'{x}'"],
    ),
    ("dns", &["1.1.1.1", "['::1', 8.8.8.8]", "x"]),
    (
        "ulimits",
        &[
            "{nofile: 5}",
            "{nproc: {soft: 1, hard: 2}, core: -1}",
            "{x: 1}",
            "{nofile: {soft: 3, hard: 2}}",
        ],
    ),
    ("stop_signal", &["SIGINT", "15", "a b"]),
    ("stop_grace_period", &["30s", "1m", "5", "2h"]),
    ("mem_limit", &["64m", "1g", "0", "x", "9999999999g"]),
    ("cpus", &["1.5", "0.01", "2", "0.29", "nan"]),
    ("pids_limit", &["64", "32768", "0", "99999"]),
    ("cpuset", &["0", "0-2,4", "x"]),
    (
        "storage",
        &[
            "2g",
            "1m",
            "1048575",
            "0",
            "{limit: 2g, owner: app}",
            "{owner: app}",
            "{owner: x}",
            "{}",
        ],
    ),
    ("tty", &["true", "false", "x"]),
    ("network_mode", &["bridge", "none", "host", "mine"]),
    (
        "labels",
        &[
            "{a: b, c: 1.10}",
            "[a=b=c, d]",
            "{edge.app: x}",
            "[=x]",
            "[a=1, a=2]",
        ],
    ),
    (
        "resources",
        &["{memory: 64m}", "{cpus: 1, pids: 5}", "{x: y}", "{}"],
    ),
    (
        "health",
        &[
            "{command: x}",
            "{test: [CMD, a, b], interval: 5s, retries: 3}",
            "{disable: true}",
            "{interval: 1s500ms}",
            "{test: [x]}",
        ],
    ),
    (
        "healthcheck",
        &[
            "{test: [CMD-SHELL, 'a || b'], timeout: 3s}",
            "{test: [NONE]}",
        ],
    ),
    (
        "restart",
        &[
            "no",
            "always",
            "on-failure:3",
            "on-failure",
            "unless-stopped",
            "x",
        ],
    ),
    (
        "logging",
        &[
            "{driver: local}",
            "{driver: json-file, options: {max-size: 1m}}",
            "{}",
            "{options: {max-file: 3}}",
            "{driver: x}",
        ],
    ),
    ("cap_add", &["[CHOWN]", "[net_admin]", "[x-y]"]),
    ("cap_drop", &["[ALL]", "[cap_chown, KILL]", "ALL"]),
    ("grants", &["[gpu]", "[vpn, 'i2c:7']", "[]", "['a,b']"]),
    ("root", &["[vpn]", "[]"]),
    ("sysctls", &["{net.core.somaxconn: 5}", "[a.b=c]", "[a]"]),
    ("group_add", &["[video]", "[44]", "['']"]),
    ("extra_hosts", &["['a:10.0.0.1']", "{b: 10.0.0.2}", "[a]"]),
    (
        "requires",
        &[
            "{l4t: 36.4}",
            "{memory: 4g, architecture: arm64}",
            "{}",
            "{l4t: x}",
        ],
    ),
    (
        "commands",
        &[
            "{a: {run: [b], args: 1, stdin: true}}",
            "{a: {run: b c, user: 5}}",
            "{a: {}}",
        ],
    ),
    (
        "unit",
        &[
            "{after: [a.service]}",
            "{timer: daily}",
            "{wants: b.target}",
            "{timer: ''}",
        ],
    ),
    ("user", &["1000", "1000:1000", "app", "'0'", "a b"]),
    ("working_dir", &["/app", "/", "app"]),
    ("sync", &["[a:b]", "[a]"]),
    ("colour", &["red"]),
];

/// Linear congruential generator; the same files at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn file(&mut self) -> String {
        let mut text = String::from("name: a-1\n");
        for _ in 0..self.below(5) {
            let (key, values) = VALUES[self.below(VALUES.len())];
            // The first values are good ones, and come more often.
            let bound = 1 + self.below(values.len());
            text.push_str(&format!("{key}: {}\n", values[self.below(bound)]));
        }
        text
    }
}

fn parse(text: &str) -> Result<Spec, String> {
    let read = |path: &str| match path {
        "a.env" => Ok(Some("A=1\nB='x y'\n".into())),
        "b.env" => Ok(Some("export A=2 # c\n".into())),
        "bad.env" => Ok(Some("A\n".into())),
        _ => Ok(None),
    };
    Spec::parse(text, "app.yaml", &read)
}

/// Checks one file. Returns whether it was taken.
fn check(text: &str) -> bool {
    let spec = match parse(text) {
        Ok(spec) => spec,
        Err(why) => {
            for line in why.lines() {
                let mut parts = line.split(':').skip(1);
                let number = |part: Option<&str>| part.unwrap().parse::<usize>().unwrap();
                assert!(
                    number(parts.next()) >= 1 && number(parts.next()) >= 1,
                    "{text}{why}"
                );
            }
            return false;
        }
    };
    let run = spec.run_spec();
    let bytes = run.to_bytes().unwrap();
    assert_eq!(RunSpec::parse(&bytes).unwrap(), run, "{text}");
    let names = DeviceNames {
        thing: Some("edge-ai-7".into()),
        serial: Some("1424921".into()),
    };
    let data = "/data/apps/a-1";
    let request = run.request("r.io/x:a-1-v1", data, &names);
    let request = request.unwrap_or_else(|why| panic!("{text}{why}"));
    let body = serde_json::to_value(&request.body).unwrap();
    assert_eq!(body["HostConfig"]["Memory"], run.mem_limit, "{text}");
    assert_eq!(body["HostConfig"]["NanoCpus"], run.cpus, "{text}");
    // The same text in another form is the same specification.
    let other = text.replace('\n', "\r\n");
    assert_eq!(parse(&format!("\u{feff}{other}")).unwrap().run_spec(), run);
    true
}

#[test]
fn what_is_taken_has_one_form_that_the_device_takes() {
    let mut random = Random(13);
    let taken = (0..FILES).filter(|_| check(&random.file())).count();
    assert!(
        taken > FILES / 4 && taken < FILES,
        "{taken} of {FILES} are taken"
    );
}

#[test]
fn cuts_and_changed_letters_do_not_panic() {
    let mut random = Random(14);
    for _ in 0..FILES {
        let mut text = random.file().into_bytes();
        match random.below(3) {
            0 => text.truncate(random.below(text.len())),
            1 => {
                let at = random.below(text.len());
                text[at] = b"\t\n :{}[]&*!|>'\"%@`#-,?\0\x7f"[random.below(23)];
            }
            _ => {
                let at = random.below(text.len());
                text.drain(..at);
            }
        }
        if let Ok(text) = String::from_utf8(text)
            && let Ok(spec) = parse(&text)
        {
            spec.run_spec().to_bytes().unwrap();
        }
    }
}
