//! Parser of the arguments of `run` and `create`: options become a create body, requested
//! mounts and requested grants.

use anyhow::Result;
use edge_common::contract::label;

use crate::cli::args::{self, Order};
use crate::cli::options::{self, Verdict};
use crate::cli::streams::Streams;
use crate::cli::values;
use crate::create_body::{Create, Empty, Endpoint, Health, LogConfig, Networking, PortBinding};
use crate::grants::RequestedGrant;
use crate::limits;
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Prefixes of label names that docker reserves for itself.
const DOCKER_LABELS: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];
const HEALTH_CONFLICT: &str = "--no-healthcheck and --health-… exclude each other";

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
    /// Paths from `--env-file`, only permitted below the app's directory.
    pub env_files: Vec<String>,
    /// Permission of the operator for a lower release number (`--allow-downgrade`).
    pub allow_downgrade: bool,
    /// Image reference as typed, for example `REPOSITORY:TAG` or `sandbox/APP`.
    pub image: String,
    /// Additional host names of the container in its network (`--network-alias`).
    aliases: Vec<String>,
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
            "name" => self.name = values::name(option, text)?,
            "volume" => self.mounts.push(values::volume(text)?),
            "mount" => self.mount(text)?,
            "attach" if self.streams.add(text) => {}
            "sig-proxy" => self.streams.signals = yes,
            "quiet" => {}
            "allow-downgrade" => self.allow_downgrade = yes,
            "env-file" => self.env_files.push(text.into()),
            // `always` is not accepted: edge-docker pulls by verified digest, and only if
            // necessary.
            "pull" if text == "never" || text == "missing" => {}
            "env" => self.body.env.push(values::environment(text)?),
            "label" => self.label(text)?,
            "hostname" => self.body.hostname = values::name(option, text)?,
            "user" => self.body.user = values::plain(option, text)?,
            "workdir" => self.body.working_dir = values::inside(option, text)?,
            // An empty entry point is kept, too: as in docker, it resets the entry point
            // of the image.
            "entrypoint" => self.body.entrypoint = Some(vec![text.into()]),
            "expose" => {
                let port = values::port(option, text)?.container;
                self.body.exposed_ports.insert(port, Empty {});
            }
            "stop-signal" => self.body.stop_signal = values::plain(option, text)?,
            "stop-timeout" => {
                self.body.stop_timeout = Some(values::number(option, text, -1..=3600)?)
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
            // A second network is refused: engines from version 25 on would join both
            // networks, older ones only the last.
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
            "cpu-shares" => host.cpu_shares = values::number(option, text, 0..=262_144)?,
            "cpuset-cpus" => host.cpuset_cpus = values::list(option, text)?,
            "pids-limit" => host.pids_limit = values::number(option, text, limits::PIDS)?,
            "ulimit" => host.ulimits.push(values::ulimit(text)?),
            "cap-drop" => host.cap_drop.push(values::plain(option, text)?),
            "tmpfs" => {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                host.tmpfs
                    .insert(values::inside(option, path)?, values::tmpfs(options)?);
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
            "cap-add" => RequestedGrant::Capability(values::capability(text)?),
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
        if !limits::LOG_OPTIONS.contains(&key) {
            return Err(refuse(format_args!(
                "--log-opt {key} is refused: only {}",
                limits::LOG_OPTIONS.join(", ")
            )));
        }
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
        let port = values::port("publish", text)?;
        let body = &mut self.body;
        body.exposed_ports.insert(port.container.clone(), Empty {});
        let bindings = &mut body.host_config.port_bindings;
        bindings
            .entry(port.container)
            .or_default()
            .push(PortBinding {
                host_ip: port.host_ip,
                host_port: port.host_port,
            });
        Ok(())
    }

    fn health(&mut self, option: &str, text: &str) -> Result<()> {
        let health = self.body.healthcheck.get_or_insert_with(Health::default);
        let (disabled, configured) = (health.test == ["NONE"], *health != Health::default());
        match option {
            "no-healthcheck" if text == "false" => return Ok(()),
            "no-healthcheck" if configured && !disabled => return Err(refuse(HEALTH_CONFLICT)),
            // `NONE` disables the health check in the API, also the one of the image.
            "no-healthcheck" => health.test = vec!["NONE".into()],
            _ if disabled => return Err(refuse(HEALTH_CONFLICT)),
            // `CMD-SHELL` runs the command by the shell in the container, not by one of
            // the device.
            "health-cmd" => health.test = vec!["CMD-SHELL".into(), text.into()],
            "health-interval" => health.interval = values::duration(option, text)?,
            "health-timeout" => health.timeout = values::duration(option, text)?,
            "health-start-period" => health.start_period = values::duration(option, text)?,
            _ => health.retries = values::number(option, text, 0..=1000)?,
        }
        Ok(())
    }

    /// Parses the value of `--mount`: `type=bind,source=…,target=…[,readonly]`, or
    /// `type=tmpfs`.
    fn mount(&mut self, text: &str) -> Result<()> {
        let (mut kind, mut source, mut target, mut read_only) = ("", "", "", false);
        // Quotes of CSV, which docker interprets, are not supported: a quoted field is
        // unknown here and therefore refused.
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
            // A type is required: without one, docker would create a volume.
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
