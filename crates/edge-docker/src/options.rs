//! The options of `run`: every one that is taken, parsed into the body.

use anyhow::Result;

use crate::body::{Create, Health, LogConfig, PortBinding, Restart, Ulimit};
use crate::grammar::{self, Known, flag, value};
use crate::{refuse, values};

/// What `run` takes.
const KNOWN: [Known; 52] = [
    flag('d', "detach"),
    flag('i', "interactive"),
    flag('t', "tty"),
    flag(' ', "rm"),
    flag(' ', "init"),
    flag(' ', "read-only"),
    flag(' ', "no-healthcheck"),
    flag('P', "publish-all"),
    flag(' ', "sig-proxy"),
    value(' ', "name"),
    value(' ', "restart"),
    value('e', "env"),
    value('l', "label"),
    value('p', "publish"),
    value(' ', "expose"),
    value(' ', "network"),
    value(' ', "net"),
    value(' ', "dns"),
    value('h', "hostname"),
    value('u', "user"),
    value('w', "workdir"),
    value(' ', "entrypoint"),
    value(' ', "tmpfs"),
    value(' ', "shm-size"),
    value('m', "memory"),
    value(' ', "memory-reservation"),
    value(' ', "memory-swap"),
    value(' ', "cpus"),
    value('c', "cpu-shares"),
    value(' ', "cpuset-cpus"),
    value(' ', "pids-limit"),
    value(' ', "ulimit"),
    value(' ', "health-cmd"),
    value(' ', "health-interval"),
    value(' ', "health-timeout"),
    value(' ', "health-start-period"),
    value(' ', "health-retries"),
    value(' ', "log-driver"),
    value(' ', "log-opt"),
    value(' ', "stop-signal"),
    value(' ', "stop-timeout"),
    value(' ', "cap-drop"),
    value(' ', "security-opt"),
    value(' ', "pull"),
    value('v', "volume"),
    value(' ', "mount"),
    value('a', "attach"),
    flag('q', "quiet"),
    value(' ', "detach-keys"),
    value(' ', "platform"),
    value(' ', "cap-add"),
    flag(' ', "privileged"),
];

/// Processes that a container may have if it does not say.
const PIDS: i64 = 1024;

/// A mount as asked for, before the policy has seen its source.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// Path on the device.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Not writable?
    pub read_only: bool,
}

/// A `run` that is well-formed; the policy has yet to speak.
pub struct Request {
    /// The body so far: no image, no mounts, no labels of ours.
    pub body: Create,
    /// `--name`, or empty.
    pub name: String,
    /// `-d`
    pub detach: bool,
    /// Mounts asked for.
    pub mounts: Vec<Asked>,
    /// The image as typed.
    pub image: String,
}

/// Why an option that is not taken is refused.
fn reason(option: &str) -> String {
    let why = match option {
        "--env-file" | "--label-file" | "--cidfile" => {
            "it would read or write files of the device as root"
        }
        "--device" | "--gpus" | "--runtime" => "devices come with a grant that the signer states",
        "--pid" | "--ipc" | "--uts" | "--userns" | "--cgroupns" => {
            "namespaces of the host are not shared"
        }
        "--volumes-from" => "another container's folders are not this app's",
        _ => "it is not on the list of what run takes; see edge-docker --help",
    };
    format!("option {option} is refused: {why}")
}

/// Parses the words behind `run`.
///
/// # Errors
/// The option or value that is refused, and why.
pub fn parse(words: &[&str]) -> Result<Request> {
    let parsed = grammar::parse(&KNOWN, words, false, reason)?;
    let Some((image, command)) = parsed.words.split_first() else {
        return Err(refuse("run needs an image; see edge-docker --help"));
    };
    let mut request = Request {
        body: Create {
            cmd: command.iter().map(ToString::to_string).collect(),
            ..Create::default()
        },
        name: String::new(),
        detach: false,
        mounts: Vec::new(),
        image: (*image).into(),
    };
    let host = &mut request.body.host_config;
    host.network_mode = "default".into();
    host.restart_policy.name = "no".into();
    host.pids_limit = PIDS;
    host.security_opt = vec!["no-new-privileges"];
    for (option, value) in parsed.options {
        request.take(option, value)?;
    }
    request.finish()
}

impl Request {
    fn take(&mut self, option: &str, text: &str) -> Result<()> {
        let yes = text == "true";
        match option {
            "detach" => self.detach = yes,
            "interactive" => self.body.open_stdin = yes,
            "tty" => self.body.tty = yes,
            "name" => self.name = values::name(option, text)?,
            "volume" => self.mounts.push(volume(text)?),
            "mount" => self.mount(text)?,
            "attach"
                if ["stdin", "stdout", "stderr"].contains(&text.to_ascii_lowercase().as_str()) => {}
            "quiet" | "sig-proxy" => {}
            "pull" if text == "never" || text == "missing" => {}
            "env" => self.body.env.push(environment(text)?),
            "label" => self.label(text)?,
            "hostname" => self.body.hostname = values::name(option, text)?,
            "user" => self.body.user = plain(option, text)?,
            "workdir" => self.body.working_dir = values::inside(option, text)?,
            "entrypoint" => self.body.entrypoint = Some(vec![text.into()]),
            "expose" => drop(
                self.body
                    .exposed_ports
                    .insert(values::port(option, text)?.2, crate::body::Empty {}),
            ),
            "stop-signal" => self.body.stop_signal = plain(option, text)?,
            "stop-timeout" => {
                self.body.stop_timeout = Some(values::number(option, text, -1, 3600)?)
            }
            "publish" => self.publish(text)?,
            _ if option.starts_with("health-") || option == "no-healthcheck" => {
                self.health(option, text)?
            }
            _ => self.host(option, text)?,
        }
        Ok(())
    }

    fn host(&mut self, option: &str, text: &str) -> Result<()> {
        let host = &mut self.body.host_config;
        let yes = text == "true";
        match option {
            "rm" => host.auto_remove = yes,
            "init" => host.init = Some(yes),
            "read-only" => host.readonly_rootfs = yes,
            "restart" => host.restart_policy = restart(text)?,
            "network" | "net" => host.network_mode = network(text)?,
            "dns" => host.dns.push(address(option, text)?),
            "shm-size" => host.shm_size = values::bytes(option, text)?,
            "memory" => host.memory = values::bytes(option, text)?,
            "memory-reservation" => host.memory_reservation = values::bytes(option, text)?,
            "memory-swap" => {
                host.memory_swap = if text == "-1" {
                    -1
                } else {
                    values::bytes(option, text)?
                }
            }
            "cpus" => host.nano_cpus = values::cpus(option, text)?,
            "cpu-shares" => host.cpu_shares = values::number(option, text, 0, 262_144)?,
            "cpuset-cpus" => host.cpuset_cpus = list(option, text)?,
            "pids-limit" => host.pids_limit = values::number(option, text, 1, 32_768)?,
            "ulimit" => host.ulimits.push(ulimit(text)?),
            "cap-drop" => host.cap_drop.push(plain(option, text)?),
            "tmpfs" => {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                host.tmpfs
                    .insert(values::inside(option, path)?, tmpfs(options)?);
            }
            "log-driver" if ["json-file", "local", "journald", "none"].contains(&text) => {
                self.log().kind = text.into()
            }
            "log-opt" => self.log_option(text)?,
            "security-opt"
                if [
                    "no-new-privileges",
                    "no-new-privileges:true",
                    "no-new-privileges=true",
                ]
                .contains(&text) => {}
            "privileged" if !yes => {}
            "publish-all" if !yes => {}
            "privileged" => {
                return Err(refuse(
                    "option --privileged is refused: it takes every rule away",
                ));
            }
            "cap-add" => {
                return Err(refuse(
                    "option --cap-add is refused: capabilities come with a grant that the signer states",
                ));
            }
            _ => {
                return Err(refuse(format_args!(
                    "--{option}={text} is refused: see edge-docker --help for what run takes"
                )));
            }
        }
        Ok(())
    }

    fn log(&mut self) -> &mut LogConfig {
        let config = &mut self.body.host_config.log_config;
        config.get_or_insert_with(|| LogConfig {
            kind: "json-file".into(),
            ..LogConfig::default()
        })
    }

    fn log_option(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if !["max-size", "max-file", "compress", "tag"].contains(&key) {
            return Err(refuse(format_args!(
                "--log-opt {key} is refused: only max-size, max-file, compress and tag"
            )));
        }
        self.log().config.insert(key.into(), value.into());
        Ok(())
    }

    fn label(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let reserved = ["edge.", "com.docker.", "io.docker.", "org.dockerproject."];
        if key.is_empty()
            || reserved
                .iter()
                .any(|r| key.to_ascii_lowercase().starts_with(r))
        {
            return Err(refuse(format_args!(
                "--label {key} is refused: the name is reserved"
            )));
        }
        self.body.labels.insert(key.into(), value.into());
        Ok(())
    }

    fn publish(&mut self, text: &str) -> Result<()> {
        let (host_ip, host_port, container) = values::port("publish", text)?;
        self.body
            .exposed_ports
            .insert(container.clone(), crate::body::Empty {});
        let bindings = self
            .body
            .host_config
            .port_bindings
            .entry(container)
            .or_default();
        bindings.push(PortBinding { host_ip, host_port });
        Ok(())
    }

    fn health(&mut self, option: &str, text: &str) -> Result<()> {
        let health = self.body.healthcheck.get_or_insert_with(Health::default);
        match option {
            "health-cmd" => health.test = vec!["CMD-SHELL".into(), text.into()],
            "no-healthcheck" if text == "true" => health.test = vec!["NONE".into()],
            "health-interval" => health.interval = values::duration(option, text)?,
            "health-timeout" => health.timeout = values::duration(option, text)?,
            "health-start-period" => health.start_period = values::duration(option, text)?,
            "health-retries" => health.retries = values::number(option, text, 0, 1000)?,
            _ => {}
        }
        Ok(())
    }

    /// `--mount type=bind,source=…,target=…[,readonly]`, and tmpfs.
    fn mount(&mut self, text: &str) -> Result<()> {
        let (mut kind, mut source, mut target, mut read_only) = ("", "", "", false);
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match key {
                "type" => kind = value,
                "source" | "src" => source = value,
                "target" | "dst" | "destination" => target = value,
                "readonly" | "ro" if ["", "true", "1"].contains(&value) => read_only = true,
                "readonly" | "ro" if ["false", "0"].contains(&value) => read_only = false,
                _ => {
                    return Err(refuse(format_args!(
                        "--mount {field:?} is refused: only type, source, target and readonly"
                    )));
                }
            }
        }
        let target = values::inside("mount", target)?;
        match kind {
            "bind" => self.mounts.push(Asked {
                source: source.into(),
                target,
                read_only,
            }),
            "tmpfs" if source.is_empty() => {
                drop(self.body.host_config.tmpfs.insert(target, tmpfs("")?))
            }
            _ => {
                return Err(refuse(format_args!(
                    "--mount type={kind} is refused: only bind and tmpfs"
                )));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Self> {
        let body = &mut self.body;
        if body.host_config.auto_remove && body.host_config.restart_policy.name != "no" {
            return Err(refuse("--rm and --restart exclude each other"));
        }
        body.attach_stdout = !self.detach;
        body.attach_stderr = !self.detach;
        body.attach_stdin = body.open_stdin && !self.detach;
        body.stdin_once = body.attach_stdin;
        Ok(self)
    }
}

fn volume(text: &str) -> Result<Asked> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [source, target] => (source, target, "rw"),
        [source, target, mode] => (source, target, mode),
        _ => {
            return Err(refuse(format_args!(
                "-v {text:?} is refused: only SOURCE:TARGET[:ro]"
            )));
        }
    };
    if !["rw", "ro"].contains(&mode) {
        return Err(refuse(format_args!(
            "-v {text:?} is refused: the mode is ro or rw"
        )));
    }
    Ok(Asked {
        source: source.into(),
        target: values::inside("volume", target)?,
        read_only: mode == "ro",
    })
}

fn environment(text: &str) -> Result<String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.into()),
        _ => Err(refuse(format_args!(
            "-e {text:?} is refused: write KEY=VALUE; values of the device are not passed on"
        ))),
    }
}

fn network(text: &str) -> Result<String> {
    if text == "host" || text.contains([':', '=']) {
        return Err(refuse(format_args!(
            "--network {text} is refused: only bridge, none, or a network of your own"
        )));
    }
    values::name("network", text)
}

fn address(option: &str, text: &str) -> Result<String> {
    text.parse::<std::net::IpAddr>()
        .map(|a| a.to_string())
        .map_err(|_| values::bad(option, text, "an address"))
}

fn restart(text: &str) -> Result<Restart> {
    let (name, count) = text
        .split_once(':')
        .map_or((text, None), |(n, c)| (n, Some(c)));
    let known = ["no", "always", "unless-stopped", "on-failure"].contains(&name);
    let maximum_retry_count = match count {
        Some(count) if name == "on-failure" => values::number("restart", count, 0, 1000)?,
        None if known => 0,
        _ => {
            return Err(values::bad(
                "restart",
                text,
                "no, always, unless-stopped or on-failure[:N]",
            ));
        }
    };
    Ok(Restart {
        name: name.into(),
        maximum_retry_count,
    })
}

fn ulimit(text: &str) -> Result<Ulimit> {
    let error = || values::bad("ulimit", text, "nofile, nproc, core or stack = SOFT[:HARD]");
    let (name, limits) = text.split_once('=').ok_or_else(error)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if !["nofile", "nproc", "core", "stack"].contains(&name) {
        return Err(error());
    }
    let number = |t: &str| values::number("ulimit", t, -1, i64::MAX);
    Ok(Ulimit {
        name: name.into(),
        soft: number(soft)?,
        hard: number(hard)?,
    })
}

fn tmpfs(options: &str) -> Result<String> {
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let good = match key {
            "rw" | "ro" | "noexec" | "exec" | "nosuid" | "nodev" => value.is_empty(),
            "size" => values::bytes("tmpfs", value).is_ok(),
            "mode" | "uid" | "gid" => {
                !value.is_empty() && value.chars().all(|c| c.is_ascii_digit())
            }
            _ => false,
        };
        if !good {
            return Err(refuse(format_args!("--tmpfs option {option:?} is refused")));
        }
    }
    Ok(options.into())
}

fn plain(option: &str, text: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-:+".contains(c);
    if text.is_empty() || text.len() > 128 || !text.chars().all(good) {
        return Err(values::bad(option, text, "letters, digits, _ . - : +"));
    }
    Ok(text.into())
}

fn list(option: &str, text: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_digit() || ",-".contains(c);
    if text.is_empty() || !text.chars().all(good) {
        return Err(values::bad(option, text, "a list like 0-2,4"));
    }
    Ok(text.into())
}
