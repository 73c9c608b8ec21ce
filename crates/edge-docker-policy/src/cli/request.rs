//! Parser of the arguments of `run` and `create`: options become a create body, requested
//! mounts and requested grants.

use anyhow::Result;
use edge_common::contract::label;

use crate::cli::args::{self, Order};
use crate::cli::memory_fs::{self, MountOption};
use crate::cli::options::{self, Verdict};
use crate::cli::streams::Streams;
use crate::cli::{health, log_options, ports, quantities, users, values};
use crate::create_body::{Create, Empty, Endpoint, LogConfig, Networking, PortBinding};
use crate::grants::RequestedGrant;
use crate::limits;
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Prefixes of label names that docker reserves for itself.
const DOCKER_LABELS: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// Parsed arguments of `run` or `create`, which the policy has not judged yet.
pub struct Request {
    /// Create body, still without image ID, mounts and labels of edge-docker.
    pub body: Create,
    /// Container name from `--name`, or empty.
    pub name: String,
    /// Start in the background, without attaching to the container (`-d`).
    pub detach: bool,
    /// Streams to attach, unless the container starts in the background.
    pub streams: Streams,
    /// Bind mounts from `--volume` and `--mount`, with unchecked sources.
    pub(crate) mounts: Vec<RequestedMount>,
    /// Requested permissions (`--grant`, `--gpus`, `--device`, `--cap-add`, ...) that
    /// need a grant.
    pub(crate) grants: Vec<RequestedGrant>,
    /// Files from `--env-file`, only permitted below the app's directory.
    pub env_files: Vec<EnvFile>,
    /// Permission of the operator for a lower release number (`--allow-downgrade`).
    pub allow_downgrade: bool,
    /// Refusal to pull an image that the device does not have (`--pull never`).
    pub never_pull: bool,
    /// Image reference as typed, for example `REPOSITORY:TAG` or `sandbox/APP`.
    pub image: String,
    /// Additional host names of the container in its network (`--network-alias`).
    aliases: Vec<String>,
}

/// File of `--env-file`: a path for a file in docker's form, or `systemd:PATH` for one of
/// `EnvironmentFile=` of a unit, with which edge-generator passes it on.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Path as it was typed, without the prefixes.
    pub path: String,
    /// Syntax of systemd.exec(5) instead of docker's.
    pub systemd: bool,
    /// Permission that the file is absent, `systemd:-PATH`.
    pub optional: bool,
    /// Number of the variables from `--env` before the file, which its own override. docker's
    /// files have none: `--env` overrides them wherever it stands.
    pub after: Option<usize>,
}

impl EnvFile {
    fn parse(text: &str, variables: usize) -> Self {
        let Some(path) = text.strip_prefix("systemd:") else {
            return Self {
                path: text.into(),
                systemd: false,
                optional: false,
                after: None,
            };
        };
        let plain = path.strip_prefix('-');
        Self {
            path: plain.unwrap_or(path).into(),
            systemd: true,
            optional: plain.is_some(),
            after: Some(variables),
        }
    }
}

/// Parses the options, image and command that follow `run` or `create`.
///
/// # Errors
/// An option or a value is refused; the text names the reason.
pub fn parse(args: &[&str]) -> Result<Request> {
    let parsed = args::parse(&options::known(), args, Order::OptionsFirst, |option| {
        format!("option {option} is refused: docker does not know it; see edge-docker --help")
    })?;
    let Some((image, command)) = parsed.arguments.split_first() else {
        return Err(refuse("run needs an image; see edge-docker --help"));
    };
    let mut request = Request::new(image, command);
    for (option, value) in parsed.options {
        let Some((known, verdict)) = options::find(option) else {
            continue;
        };
        match verdict {
            Verdict::Allowed => request.apply(option, value)?,
            Verdict::Granted => request.request_grant(option, value)?,
            // A refused flag with the value `false` requests nothing.
            Verdict::Refused(_) if !known.value && value == "false" => {}
            Verdict::Refused(reason) => {
                return Err(refuse(format_args!(
                    "option --{option} is refused: {reason}"
                )));
            }
        }
    }
    request.finish()
}

impl Request {
    /// Returns a request with the settings of every container: default network, process
    /// limit, `no-new-privileges` and no restart.
    fn new(image: &str, command: &[&str]) -> Self {
        let mut body = Create {
            cmd: command.iter().map(ToString::to_string).collect(),
            ..Create::default()
        };
        let host = &mut body.host_config;
        host.network_mode = "default".into();
        host.restart_policy.name = "no".into();
        host.pids_limit = limits::DEFAULT_PIDS;
        host.security_opt = vec![limits::SECURITY_OPTION];
        Self {
            body,
            name: String::new(),
            detach: false,
            streams: Streams {
                signals: true,
                ..Streams::default()
            },
            mounts: Vec::new(),
            grants: Vec::new(),
            env_files: Vec::new(),
            allow_downgrade: false,
            never_pull: false,
            image: image.into(),
            aliases: Vec::new(),
        }
    }

    fn apply(&mut self, option: &str, text: &str) -> Result<()> {
        let yes = text == "true";
        match option {
            "detach" => self.detach = yes,
            "interactive" => self.body.open_stdin = yes,
            "tty" => self.body.tty = yes,
            "name" => self.name = values::container_name(option, text)?,
            "volume" => self.mounts.push(values::volume(text)?),
            "mount" => self.mount(text)?,
            "attach" if self.streams.add(text) => {}
            "sig-proxy" => self.streams.signals = yes,
            "quiet" => {}
            "allow-downgrade" => self.allow_downgrade = yes,
            "env-file" => {
                let file = EnvFile::parse(text, self.body.env.len());
                self.env_files.push(file);
            }
            // `always` is not accepted: edge-docker pulls by verified digest, and only if
            // necessary.
            "pull" if text == "never" || text == "missing" => self.never_pull = text == "never",
            "env" => self.body.env.push(values::environment(text)?),
            "label" => self.label(text)?,
            "hostname" => self.body.hostname = values::hostname(option, text)?,
            "user" => self.body.user = users::user(option, text)?,
            "workdir" => self.body.working_dir = values::workdir(option, text)?,
            // An empty entry point is kept, too: as in docker, it resets the entry point
            // of the image.
            "entrypoint" => self.body.entrypoint = Some(vec![text.into()]),
            "expose" => {
                for port in ports::ports(option, text)? {
                    self.body.exposed_ports.insert(port.container, Empty {});
                }
            }
            "stop-signal" => self.body.stop_signal = values::signal(option, text)?,
            "stop-timeout" => {
                self.body.stop_timeout = Some(values::number(option, text, limits::STOP_SECONDS)?)
            }
            "publish" => self.publish(text)?,
            _ if option.starts_with("health-") || option == "no-healthcheck" => {
                let health = self.body.healthcheck.get_or_insert_default();
                health::apply(health, option, text)?
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
            // A second network is refused: engines from version 25 on would join both
            // networks, older ones only the last.
            "network" | "net" if host.network_mode != "default" => {
                return Err(refuse("--network is refused a second time: one network"));
            }
            "network" | "net" => host.network_mode = values::network(text)?,
            "network-alias" | "net-alias" => self.aliases.push(values::name(option, text)?),
            "dns" => host.dns.push(values::address(option, text)?),
            "shm-size" => host.shm_size = quantities::memory_fs_bytes(option, text)?,
            "memory" => host.memory = quantities::bytes(option, text)?,
            "memory-reservation" => host.memory_reservation = quantities::bytes(option, text)?,
            "memory-swap" => {
                host.memory_swap = if text == "-1" {
                    -1
                } else {
                    quantities::bytes(option, text)?
                }
            }
            "cpus" => host.nano_cpus = quantities::cpus(option, text)?,
            "cpu-shares" => host.cpu_shares = values::number(option, text, 0..=262_144)?,
            "cpuset-cpus" => host.cpuset_cpus = quantities::processors(option, text)?,
            "pids-limit" => host.pids_limit = values::number(option, text, limits::PIDS)?,
            "ulimit" => {
                // As in docker, the last value of a limit holds.
                let limit = values::ulimit(text)?;
                host.ulimits.retain(|other| other.name != limit.name);
                host.ulimits.push(limit);
            }
            "add-host" => host.extra_hosts.push(values::extra_host(option, text)?),
            "group-add" => host.group_add.push(users::account(option, text)?),
            "cap-drop" => host.cap_drop.push(values::capability(option, text)?),
            "tmpfs" => {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                let (path, options) = (values::target(option, path)?, memory_fs::tmpfs(options)?);
                host.tmpfs.insert(path, options);
            }
            "log-driver" if limits::LOG_DRIVERS.contains(&text) => self.log().kind = text.into(),
            "log-opt" => self.log_option(text)?,
            // Every container has `no-new-privileges`, so that a request for it adds
            // nothing.
            "security-opt" if values::is_security_option(text) => {}
            _ => {
                return Err(refuse(format_args!(
                    "--{option}={text} is refused: see edge-docker --help for what run takes"
                )));
            }
        }
        Ok(())
    }

    fn request_grant(&mut self, option: &str, text: &str) -> Result<()> {
        let grant = match option {
            "grant" => RequestedGrant::Grant(values::plain(option, text)?),
            "gpus" if text == "all" => RequestedGrant::Gpus(-1),
            // Docker's form `device=…,capabilities=…` is refused: no grant lists
            // capabilities of a driver.
            "gpus" => RequestedGrant::Gpus(values::number(option, text, 1..=16)?),
            "runtime" => RequestedGrant::Runtime(values::plain(option, text)?),
            "device" if !text.starts_with('/') => RequestedGrant::Cdi(values::cdi(text)?),
            "device" => RequestedGrant::Device(values::device(text)?),
            "cap-add" => {
                let name = values::capability(option, text)?;
                if limits::needs_no_grant(&name) {
                    self.body.host_config.cap_add.push(name);
                    return Ok(());
                }
                RequestedGrant::Capability(name)
            }
            _ => {
                let (key, value) = values::sysctl(text)?;
                RequestedGrant::Sysctl(key, value)
            }
        };
        self.grants.push(grant);
        Ok(())
    }

    fn log(&mut self) -> &mut LogConfig {
        let config = &mut self.body.host_config.log_config;
        config.get_or_insert_with(|| LogConfig {
            kind: limits::DEFAULT_LOG_DRIVER.into(),
            ..LogConfig::default()
        })
    }

    fn log_option(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        log_options::check(key, value)?;
        self.log().config.insert(key.into(), value.into());
        Ok(())
    }

    fn label(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        // Compared in lower case: a program that ignores case must not take the label for
        // one of edge-docker.
        let lower = key.to_ascii_lowercase();
        let mut reserved = DOCKER_LABELS.iter().chain([&label::PREFIX]);
        if key.is_empty() || reserved.any(|prefix| lower.starts_with(prefix)) {
            return Err(refuse(format_args!(
                "--label {key} is refused: the name is reserved"
            )));
        }
        self.body.labels.insert(key.into(), value.into());
        Ok(())
    }

    fn publish(&mut self, text: &str) -> Result<()> {
        let body = &mut self.body;
        for port in ports::ports("publish", text)? {
            body.exposed_ports.insert(port.container.clone(), Empty {});
            let bindings = &mut body.host_config.port_bindings;
            bindings
                .entry(port.container)
                .or_default()
                .push(PortBinding {
                    host_ip: port.host_ip,
                    host_port: port.host_port,
                });
        }
        Ok(())
    }

    fn mount(&mut self, text: &str) -> Result<()> {
        match memory_fs::mount(text)? {
            MountOption::Bind(mount) => self.mounts.push(mount),
            MountOption::Memory(target, options) => {
                self.body.host_config.tmpfs.insert(target, options);
            }
        }
        Ok(())
    }

    /// Checks limits that more than one option counts towards.
    fn check_totals(&self) -> Result<()> {
        let host = &self.body.host_config;
        let bindings: usize = host.port_bindings.values().map(Vec::len).sum();
        let totals = [
            (
                "--publish and --expose",
                bindings.max(self.body.exposed_ports.len()),
                limits::MAX_PORTS,
            ),
            ("--add-host", host.extra_hosts.len(), limits::MAX_LIST),
            ("--group-add", host.group_add.len(), limits::MAX_LIST),
            ("--dns", host.dns.len(), limits::MAX_LIST),
            ("--network-alias", self.aliases.len(), limits::MAX_LIST),
        ];
        if let Some((option, count, most)) = totals.iter().find(|(_, count, most)| count > most) {
            return Err(refuse(format_args!(
                "{option}: {count} values, at most {most} are accepted"
            )));
        }
        host.log_config
            .as_ref()
            .map_or(Ok(()), log_options::check_total)
    }

    fn finish(mut self) -> Result<Self> {
        self.check_totals()?;
        let body = &mut self.body;
        let host = &mut body.host_config;
        if host.auto_remove && host.restart_policy.name != "no" {
            return Err(refuse("--rm and --restart exclude each other"));
        }
        if host.network_mode == "host" {
            self.grants.push(RequestedGrant::HostNetwork);
            // `Granted::fulfil` sets `host` again if a grant permits it, and otherwise
            // refuses. Until then the create request names the default bridge.
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
        // Up to here, `streams` contains only the streams that were named with `-a`.
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
        // As in docker's client, the input of the container ends with the input of `run`.
        body.stdin_once = body.attach_stdin && body.open_stdin;
        Ok(self)
    }
}
