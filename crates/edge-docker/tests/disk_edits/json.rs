//! Edits of JSON files: of one that the engine or edge-docker has written, or of both alike.

use edge_docker_policy::strict_json;
use serde_json::{Value, json};

use crate::device::dice::Dice;
use crate::pointers::{self, put};

/// File of a container that is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Create request that edge-docker recorded.
    Record,
    /// `config.v2.json`
    Config,
    /// `hostconfig.json`
    Host,
}

/// Edited files of a container.
pub struct Files {
    pub record: Value,
    pub config: Value,
    pub host: Value,
}

/// Values of `HostConfig` that give a container more, or another program.
fn host_settings() -> Vec<(&'static str, Value)> {
    let disk = json!([{ "PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda",
        "CgroupPermissions": "rwm" }]);
    vec![
        ("Privileged", json!(true)),
        ("PidMode", json!("host")),
        ("IpcMode", json!("host")),
        ("UTSMode", json!("host")),
        ("UsernsMode", json!("host")),
        ("CgroupnsMode", json!("host")),
        ("NetworkMode", json!("host")),
        ("NetworkMode", json!("bridge")),
        ("NetworkMode", json!("default")),
        ("CapAdd", json!(["SYS_ADMIN"])),
        ("CapAdd", json!(["CHOWN"])),
        ("CapDrop", json!([])),
        ("Devices", disk),
        ("SecurityOpt", json!(["seccomp=unconfined"])),
        ("SecurityOpt", json!([])),
        ("Binds", json!(["/:/host"])),
        ("VolumesFrom", json!(["app00"])),
        ("Runtime", json!("nvidia")),
        ("CgroupParent", json!("/")),
        ("Sysctls", json!({ "net.ipv4.ip_forward": "1" })),
        ("Tmpfs", json!({ "/bin": "exec" })),
        ("Tmpfs", json!({ "/bin": "" })),
        (
            "Mounts/1",
            json!({ "Type": "bind", "Source": "/", "Target": "/host" }),
        ),
        ("Mounts/0/Target", json!("/bin")),
        ("Mounts/0/ReadOnly", json!(true)),
        ("Mounts", json!([])),
        ("GroupAdd", json!(["0"])),
        (
            "Ulimits",
            json!([{ "Name": "nofile", "Soft": 10, "Hard": 10 }]),
        ),
        ("LogConfig", json!({ "Type": "none", "Config": {} })),
        ("OomScoreAdj", json!(-1000)),
        ("Memory", json!(100_000_000)),
        ("NanoCpus", json!(100_000_000)),
        ("PidsLimit", json!(1)),
        ("ReadonlyRootfs", json!(true)),
        ("ReadonlyRootfs", json!(false)),
        ("ShmSize", json!(1 << 20)),
        ("ExtraHosts", json!(["db:10.0.0.1"])),
        ("Dns", json!(["10.0.0.1"])),
        (
            "PortBindings",
            json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "81" }] }),
        ),
        ("Init", json!(true)),
        ("MaskedPaths", json!([])),
        ("ReadonlyPaths", json!([])),
        ("AutoRemove", json!(true)),
        (
            "RestartPolicy",
            json!({ "Name": "on-failure", "MaximumRetryCount": 3 }),
        ),
    ]
}

/// Other settings of a container, which are beside `HostConfig` in a create request.
fn settings() -> Vec<(&'static str, Value)> {
    let check = json!({ "Test": ["CMD-SHELL", "echo evil >/state/evil"], "Interval": 1_000_000 });
    vec![
        (
            "Cmd",
            json!(["sh", "-c", "echo evil >/state/evil; exec sleep 1000"]),
        ),
        ("Cmd", json!(["sleep", "999"])),
        ("Cmd", json!([])),
        (
            "Entrypoint",
            json!(["sh", "-c", "echo evil >/state/evil; exec sleep 9"]),
        ),
        ("Entrypoint", json!([""])),
        ("Env", json!(["VERSION=evil"])),
        ("Env", json!(["VERSION=2", "LD_PRELOAD=/state/x.so"])),
        ("Env", json!([])),
        ("User", json!("0")),
        ("User", json!("1234")),
        ("WorkingDir", json!("/state")),
        ("Healthcheck", check),
        ("StopSignal", json!("SIGINT")),
        ("StopTimeout", json!(100)),
        ("Image", json!("sha256:")),
        ("Volumes", json!({ "/bin": {} })),
        ("Tty", json!(true)),
        ("OpenStdin", json!(true)),
        ("ExposedPorts", json!({ "80/tcp": {} })),
        ("Hostname", json!("evil")),
        ("Domainname", json!("evil")),
        ("NetworkDisabled", json!(true)),
        ("MacAddress", json!("02:00:00:00:00:01")),
        ("Shell", json!(["evil"])),
        ("OnBuild", json!(["RUN evil"])),
        ("Labels/edge.run", json!("")),
        ("Labels/edge.app", json!("app01")),
        ("Labels/edge.version", json!("v1")),
        ("Labels/edge.sandbox", json!("app01")),
        ("Labels/edge.ticket", json!("1")),
        (
            "Labels/edge.pins",
            json!("0123456789abcdef0123456789abcdef"),
        ),
        ("Labels", json!({})),
        (
            "NetworkingConfig",
            json!({ "EndpointsConfig": { "host": {} } }),
        ),
    ]
}

/// Values in the place of any other.
fn anything() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(1_u64 << 40),
        json!(0.5),
        json!(""),
        json!("evil"),
        json!("/"),
        json!("../../../.."),
        json!("/proc/self/fd/7"),
        json!("0123456789abcdef"),
        json!("a".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[]]),
        json!(["evil"]),
        json!({ "evil": "/" }),
        json!([null]),
    ]
}

/// Returns the JSON pointers of all values.
fn all_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.replace('/', "~1"), value))
                .collect()
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in parts {
        let pointer = format!("{at}/{name}");
        all_pointers(value, &pointer, found);
        found.push(pointer);
    }
}

impl Files {
    pub fn parse(record: &[u8], config: &[u8], host: &[u8]) -> Self {
        let parse = |text| strict_json::parse(text).unwrap();
        let (record, config, host) = (parse(record), parse(config), parse(host));
        Self {
            record,
            config,
            host,
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Value {
        match kind {
            Kind::Record => &mut self.record,
            Kind::Config => &mut self.config,
            Kind::Host => &mut self.host,
        }
    }

    /// Changes any value of one file; returns the JSON pointer and the new value.
    pub fn change_one(&mut self, dice: &mut Dice) -> String {
        let kind = *dice.pick(&[Kind::Record, Kind::Config, Kind::Host]);
        let file = self.of(kind);
        let mut pointers = Vec::new();
        all_pointers(file, "", &mut pointers);
        let pointer = dice.pick(&pointers).clone();
        let value = match dice.below(4) {
            // A value of the same kind, which reads well.
            0 => dice.pick(&pointers).clone(),
            _ => String::new(),
        };
        let value = match file.pointer(&value) {
            Some(other) if !value.is_empty() => other.clone(),
            _ => dice.pick(&anything()).clone(),
        };
        put_in(file, &pointer, value)
    }

    /// Carries out a line of `tests/corpus/stored-edits.txt`.
    pub fn change_as_known(&mut self, dice: &mut Dice) -> String {
        let corpus = pointers::corpus();
        let edit = dice.pick(&corpus);
        let kind = match edit.file {
            "hostconfig.json" => Kind::Host,
            _ => Kind::Config,
        };
        let what = put_in(self.of(kind), edit.pointer, edit.value.clone());
        format!("{what} ({})", edit.rule)
    }

    /// Changes a setting in the record and in the engine's files alike, or in one of them.
    pub fn change_setting(&mut self, dice: &mut Dice) -> String {
        let (hosts, others) = (host_settings(), settings());
        let at = dice.below(hosts.len() + others.len());
        let (requested, kind, stored, value) = match hosts.get(at) {
            Some((name, value)) => {
                let stored = format!("/{name}");
                (format!("/HostConfig/{name}"), Kind::Host, stored, value)
            }
            None => {
                let (name, value) = &others[at - hosts.len()];
                (
                    format!("/{name}"),
                    Kind::Config,
                    format!("/Config/{name}"),
                    value,
                )
            }
        };
        let which = dice.below(4);
        if which != 1 {
            put(&mut self.record, &requested, value.clone());
        }
        if which != 2 {
            put(self.of(kind), &stored, value.clone());
        }
        if which != 1 && ["/Cmd", "/Entrypoint"].contains(&requested.as_str()) {
            self.adopt_program();
        }
        let which = ["both", "engine", "record", "both"][which];
        format!("{which} {requested} = {value}")
    }

    /// Writes the requested program where the engine has it.
    fn adopt_program(&mut self) {
        let strings = |value: &Value| {
            let strings = value.as_array().into_iter().flatten();
            let strings = strings.filter_map(|part| part.as_str().map(String::from));
            strings.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        };
        let mut all = strings(&self.record["Entrypoint"]);
        all.extend(strings(&self.record["Cmd"]));
        let path = if all.is_empty() {
            String::new()
        } else {
            all.remove(0)
        };
        self.config["Path"] = path.into();
        self.config["Args"] = all.into();
    }

    /// Makes the record, and the settings in the engine's file, those of the version before.
    pub fn go_back(&mut self, older: &Value) {
        for name in ["Env", "Labels", "Cmd", "User"] {
            let key = self.record["Labels"]["edge.pins"].clone();
            self.record[name] = older[name].clone();
            if name == "Labels" {
                self.record[name]["edge.pins"] = key;
                let labels = self.record[name].as_object().unwrap();
                for (label, value) in labels {
                    self.config["Config"]["Labels"][label] = value.clone();
                }
            } else if name == "Env" {
                self.config["Config"]["Env"] = json!(["VERSION=1", "PATH=/bin", "FROM_IMAGE=yes"]);
            }
        }
    }
}

fn put_in(file: &mut Value, pointer: &str, value: Value) -> String {
    let shown: String = value.to_string().chars().take(60).collect();
    put(file, pointer, value);
    format!("{pointer} = {shown}")
}
