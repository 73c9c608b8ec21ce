//! The options of `run`: every one that is taken, parsed into the body.

use anyhow::Result;

use edge_common::contract::label;

use crate::cli::options::{self, Verdict};
use crate::cli::{args, values};
use crate::create_body::{Create, Empty, Endpoint, Health, LogConfig, Networking, PortBinding};
use crate::grants::RequestedGrant;
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Processes that a container may have if it does not say.
const PIDS: i64 = 1024;

const HEALTH: &str = "--no-healthcheck and --health-… exclude each other";

/// Streams of a container that are attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input, until it ends.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// The streams are one terminal.
    pub tty: bool,
    /// Signals of the client are forwarded to the container.
    pub signals: bool,
}

impl Streams {
    fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }

    /// Adds the stream that `-a` names; false if there is none of that name.
    fn add(&mut self, name: &str) -> bool {
        let stream = match name.to_ascii_lowercase().as_str() {
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            _ => return false,
        };
        *stream = true;
        true
    }
}

/// A `run` that is well-formed; the policy has yet to speak.
pub struct Request {
    /// The body so far: no image, no mounts, no labels of ours.
    pub body: Create,
    /// `--name`, or empty.
    pub name: String,
    /// `-d`
    pub detach: bool,
    /// What is attached to, if it is not detached.
    pub streams: Streams,
    /// Mounts asked for.
    pub mounts: Vec<RequestedMount>,
    /// What only a grant gives.
    pub wishes: Vec<RequestedGrant>,
    /// `--env-file`: paths below the app's directory.
    pub env_files: Vec<String>,
    /// `--allow-downgrade`: the operator takes a lower serial.
    pub allow_downgrade: bool,
    /// The image as typed.
    pub image: String,
    /// `--network-alias`
    aliases: Vec<String>,
}

/// Parses the words behind `run` or `create`.
///
/// # Errors
/// The option or value that is refused, and why.
pub fn parse(words: &[&str]) -> Result<Request> {
    let parsed = args::parse(&options::known(), words, false, |option| {
        format!("option {option} is refused: docker does not know it; see edge-docker --help")
    })?;
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
        streams: Streams {
            signals: true,
            ..Streams::default()
        },
        mounts: Vec::new(),
        wishes: Vec::new(),
        env_files: Vec::new(),
        allow_downgrade: false,
        image: (*image).into(),
        aliases: Vec::new(),
    };
    let host = &mut request.body.host_config;
    host.network_mode = "default".into();
    host.restart_policy.name = "no".into();
    host.pids_limit = PIDS;
    host.security_opt = vec!["no-new-privileges"];
    for (option, value) in parsed.options {
        match options::verdict(option) {
            Some(Verdict::Allowed) => request.take(option, value)?,
            Some(Verdict::Granted) => request.wish(option, value)?,
            Some(Verdict::Refused(why)) if value != "false" || !is_flag(option) => {
                return Err(refuse(format_args!("option --{option} is refused: {why}")));
            }
            _ => {}
        }
    }
    request.finish()
}

fn is_flag(option: &str) -> bool {
    options::known()
        .iter()
        .any(|known| known.long == option && !known.value)
}

impl Request {
    fn take(&mut self, option: &str, text: &str) -> Result<()> {
        let yes = text == "true";
        match option {
            "detach" => self.detach = yes,
            "interactive" => self.body.open_stdin = yes,
            "tty" => self.body.tty = yes,
            "name" => self.name = values::name(option, text)?,
            "volume" => self.mounts.push(values::volume(text)?),
            "mount" => self.mount(text)?,
            "attach" if self.streams.add(text) => {}
            "sig-proxy" => self.streams.signals = yes,
            "quiet" => {}
            "allow-downgrade" => self.allow_downgrade = yes,
            "env-file" => self.env_files.push(text.into()),
            "pull" if text == "never" || text == "missing" => {}
            "env" => self.body.env.push(values::environment(text)?),
            "label" => self.label(text)?,
            "hostname" => self.body.hostname = values::name(option, text)?,
            "user" => self.body.user = values::plain(option, text)?,
            "workdir" => self.body.working_dir = values::inside(option, text)?,
            "entrypoint" => self.body.entrypoint = Some(vec![text.into()]),
            "expose" => drop(
                self.body
                    .exposed_ports
                    .insert(values::port(option, text)?.2, Empty {}),
            ),
            "stop-signal" => self.body.stop_signal = values::plain(option, text)?,
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
            "restart" => host.restart_policy = values::restart(text)?,
            "network" | "net" if host.network_mode != "default" => {
                return Err(refuse("--network is refused a second time: one network"));
            }
            "network" | "net" => host.network_mode = values::network(text)?,
            "network-alias" | "net-alias" => self.aliases.push(values::name(option, text)?),
            "dns" => host.dns.push(values::address(option, text)?),
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
            "cpuset-cpus" => host.cpuset_cpus = values::list(option, text)?,
            "pids-limit" => host.pids_limit = values::number(option, text, 1, 32_768)?,
            "ulimit" => host.ulimits.push(values::ulimit(text)?),
            "cap-drop" => host.cap_drop.push(values::plain(option, text)?),
            "tmpfs" => {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                host.tmpfs
                    .insert(values::inside(option, path)?, values::tmpfs(options)?);
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
            _ => {
                return Err(refuse(format_args!(
                    "--{option}={text} is refused: see edge-docker --help for what run takes"
                )));
            }
        }
        Ok(())
    }

    fn wish(&mut self, option: &str, text: &str) -> Result<()> {
        let wish = match option {
            "grant" => RequestedGrant::Grant(values::plain(option, text)?),
            "gpus" if text == "all" => RequestedGrant::Gpus(-1),
            "gpus" => RequestedGrant::Gpus(values::number(option, text, 1, 16)?),
            "runtime" => RequestedGrant::Runtime(values::plain(option, text)?),
            "device" if !text.starts_with('/') => RequestedGrant::Cdi(values::cdi(text)?),
            "device" => RequestedGrant::Device(values::device(text)?),
            "cap-add" => RequestedGrant::Capability(values::capability(text)?),
            _ => {
                let (key, value) = values::sysctl(text)?;
                RequestedGrant::Sysctl(key, value)
            }
        };
        self.wishes.push(wish);
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
        let reserved = [
            label::PREFIX,
            "com.docker.",
            "io.docker.",
            "org.dockerproject.",
        ];
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
        self.body.exposed_ports.insert(container.clone(), Empty {});
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
        let (none, asked) = (health.test == ["NONE"], *health != Health::default());
        match option {
            "no-healthcheck" if text == "false" => return Ok(()),
            "no-healthcheck" if asked && !none => return Err(refuse(HEALTH)),
            "no-healthcheck" => health.test = vec!["NONE".into()],
            _ if none => return Err(refuse(HEALTH)),
            "health-cmd" => health.test = vec!["CMD-SHELL".into(), text.into()],
            "health-interval" => health.interval = values::duration(option, text)?,
            "health-timeout" => health.timeout = values::duration(option, text)?,
            "health-start-period" => health.start_period = values::duration(option, text)?,
            _ => health.retries = values::number(option, text, 0, 1000)?,
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
            "bind" => self.mounts.push(RequestedMount {
                source: source.into(),
                target,
                read_only,
            }),
            "tmpfs" if source.is_empty() => drop(
                self.body
                    .host_config
                    .tmpfs
                    .insert(target, values::tmpfs("")?),
            ),
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
        let host = &mut body.host_config;
        if host.auto_remove && host.restart_policy.name != "no" {
            return Err(refuse("--rm and --restart exclude each other"));
        }
        if host.network_mode == "host" {
            self.wishes.push(RequestedGrant::HostNetwork);
            // Until it is granted.
            host.network_mode = "default".into();
        }
        if !self.aliases.is_empty() {
            let network = &host.network_mode;
            if ["default", "bridge", "none"].contains(&network.as_str()) {
                return Err(refuse(
                    "--network-alias needs --network with a network of your own",
                ));
            }
            let endpoint = Endpoint {
                aliases: self.aliases.clone(),
            };
            body.networking_config = Some(Networking {
                endpoints_config: [(network.clone(), endpoint)].into(),
            });
        }
        // So far it holds what was named with -a.
        let streams = &mut self.streams;
        let named = streams.any();
        if self.detach && named {
            return Err(refuse("-d and -a exclude each other"));
        }
        streams.tty = body.tty;
        streams.stdin |= body.open_stdin;
        streams.stdout |= !named;
        streams.stderr |= !named;
        body.attach_stdin = streams.stdin && !self.detach;
        body.attach_stdout = streams.stdout && !self.detach;
        body.attach_stderr = streams.stderr && !self.detach;
        body.stdin_once = body.attach_stdin && body.open_stdin;
        Ok(self)
    }
}
