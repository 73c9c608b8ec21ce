//! Local cloud for tests on one machine: mosquitto as MQTT broker, docker-registry,
//! moto as AWS API, and a responder that answers on the published topics of AWS
//! IoT.

pub(crate) mod answers;
mod aws;
pub(crate) mod control;
pub(crate) mod http;
mod index;
pub mod jobs;
pub(crate) mod jobs_service;
pub(crate) mod pki;
pub(crate) mod policy;
pub(crate) mod provisioning;
mod proxy;
pub(crate) mod responder;
pub mod services;
pub(crate) mod shadows;
pub(crate) mod sigv4;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use clap::Subcommand;
use edge_common::{Root, file, log};
use serde_json::{Value, json};

use crate::daemons::{self, Daemons, Ended};
use crate::host::{find, free_port};
use crate::signals;

/// Host name in the certificate of every server of the local cloud.
pub const HOST: &str = "cloud.edge.test";
/// Name of the local cloud's provisioning template.
pub(crate) const TEMPLATE: &str = "edge-ai-fleet";
/// User name at the local cloud's registry, the same as at ECR.
const USER: &str = "AWS";

/// Commands of `edge-sim cloud`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the local cloud and print its endpoints
    Up {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
        /// Serial number of a device that may provision; can be repeated
        #[arg(long, value_name = "SERIAL")]
        allow: Vec<String>,
        /// Omit the AWS API (SSM, KMS, ECR), which takes longest to start
        #[arg(long)]
        no_aws: bool,
    },
    /// Stop the local cloud
    Down {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
        /// Also remove the directory of the state
        #[arg(long)]
        purge: bool,
    },
    /// Print the endpoints of the local cloud and whether it runs
    Status {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
    },
    /// Permit a device to provision, by its serial number
    Allow {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
        /// Also permit a device that is registered already, for example after a
        /// repair in which it lost its identity
        #[arg(long)]
        again: bool,
        /// Serial number of the device
        serial: String,
    },
    /// Script faults of the credentials provider and of the API of ECR; without
    /// FAULT there are none
    Fault {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
        /// Fault SERVICE:KIND[*TIMES], for example ecr:error=429/ThrottlingException*2.
        /// Services: credentials, ecr. Kinds: error=STATUS/CODE silent late=MS
        /// dropped truncated oversized endless malformed incomplete redirect
        /// slow=MS ahead=SECONDS; of credentials also life=SECONDS
        fault: Vec<String>,
    },
    /// Answer requests of fleet provisioning and shadows (started by `up`)
    #[command(hide = true)]
    Serve {
        /// Directory of the local cloud's state
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Runs a command of `edge-sim cloud`. If `up` fails, no daemon stays running.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { dir, allow, no_aws } => up(&dir, &allow, !no_aws),
        Command::Down { dir, purge } => down(&dir, purge),
        Command::Status { dir } => status(&dir),
        Command::Allow { dir, again, serial } => allow(&dir, &serial, again),
        Command::Fault { dir, fault } => services::script(&dir, &fault),
        Command::Serve { dir } => responder::serve(&dir),
    }
}

/// Creates the state of a local cloud in `dir`: certificates, the allow-list and a
/// directory for shadows.
///
/// # Errors
/// If a key cannot be generated, or `dir` cannot be written.
pub fn create(dir: &Path, allow: &[String]) -> Result<()> {
    pki::create(dir)?;
    let allowed: String = allow.iter().map(|s| format!("{s}\n")).collect();
    put(dir, "allowlist", &allowed, 0o600)?;
    file::create_directory(&dir.join("shadows"), 0o700)
}

/// Attempts to start the daemons.
const MAX_ATTEMPTS: u32 = 3;

fn up(dir: &Path, allow: &[String], aws: bool) -> Result<()> {
    file::create_directory(dir, 0o700)?;
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    if daemons::running(dir) {
        log::info("already up");
        return status(dir);
    }
    signals::notice()?;
    create(dir, allow)?;
    let claim = policy::Policy::claim(TEMPLATE)?.access_list("claim", "")?;
    put(dir, "acl", &format!("{RESPONDER}\n{claim}"), 0o600)?;
    let password = pki::random_hex(16)?;
    put(dir, "registry.password", &password, 0o600)?;
    let (ports, daemons) = start_all(dir, &password, aws)?;
    let mut values = endpoints(dir, &ports);
    if aws {
        let public = aws::seed(dir, &ports)?;
        put(dir, "kms.pub", &public.containers, 0o644)?;
        put(dir, "kms-engineer.pub", &public.tickets, 0o644)?;
        put(dir, "kms-set.pub", &public.sets, 0o644)?;
        values["aws_endpoint"] = format!("http://127.0.0.1:{}", ports.aws).into();
        values["kms_alias"] = aws::KEY_ALIAS.into();
        values["kms_pub"] = dir.join("kms.pub").display().to_string().into();
        values["kms_ticket_alias"] = aws::TICKET_KEY_ALIAS.into();
        values["kms_set_alias"] = aws::SET_KEY_ALIAS.into();
        values["kms_set_pub"] = dir.join("kms-set.pub").display().to_string().into();
        values["kms_engineer_pub"] = dir.join("kms-engineer.pub").display().to_string().into();
    }
    let text = serde_json::to_string_pretty(&values)?;
    put(dir, "endpoints.json", &text, 0o600)?;
    put(dir, "fleet.json", &aws::fleet_config(&ports), 0o644)?;
    daemons.keep()?;
    status(dir)
}

/// TCP ports of 127.0.0.1 on which the daemons listen.
pub(crate) struct Ports {
    mqtt: u16,
    registry: u16,
    aws: u16,
    proxy: u16,
    /// Control plane of AWS IoT.
    control: u16,
    credentials: u16,
    /// API of ECR in front of the registry.
    ecr: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            mqtt: free_port()?,
            registry: free_port()?,
            aws: free_port()?,
            proxy: free_port()?,
            control: free_port()?,
            credentials: free_port()?,
            ecr: free_port()?,
        })
    }
}

fn put(dir: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    file::write(&dir.join(name), text.as_bytes(), mode)
}

/// Entry of the responder in the broker's access list. The entries of claims and
/// devices are generated from the deployed policies; that of a device is added when
/// the device is registered.
const RESPONDER: &str = "user responder\ntopic readwrite $aws/#\ntopic read edge-ai/#\n";

fn configure(dir: &Path, ports: &Ports, password: &str) -> Result<()> {
    let at = dir.display();
    let broker = format!(
        "user root\nper_listener_settings false\nallow_anonymous false\npersistence false\n\
         log_dest stderr\nlog_type all\nset_tcp_nodelay true\nlistener {} 127.0.0.1\n\
         cafile {at}/clients.pem\ncertfile {at}/server.crt\nkeyfile {at}/server.key\n\
         require_certificate true\nuse_identity_as_username true\nacl_file {at}/acl\n",
        ports.mqtt
    );
    put(dir, "mosquitto.conf", &broker, 0o600)?;
    let registry = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {at}/registry}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{}\", tls: {{certificate: {at}/server.crt, key: {at}/server.key}}}}\n\
         auth: {{htpasswd: {{realm: edge, path: {at}/htpasswd}}}}\n",
        ports.registry
    );
    put(dir, "registry.yml", &registry, 0o600)?;
    put(dir, "htpasswd", &htpasswd(USER, password)?, 0o600)
}

/// Starts all daemons. Again with other ports if one of them ends, since another program
/// may have taken a port after it was found free.
fn start_all(dir: &Path, password: &str, aws: bool) -> Result<(Ports, Daemons)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let ports = Ports::free()?;
        configure(dir, &ports, password)?;
        let mut daemons = Daemons::new(dir);
        match start(dir, &ports, &mut daemons, aws) {
            Ok(()) => return Ok((ports, daemons)),
            Err(error) if error.is::<Ended>() && attempts < MAX_ATTEMPTS => {
                log::warn(format_args!("{error:#}: starting again with other ports"));
            }
            Err(error) => return Err(error),
        }
    }
}

fn start(dir: &Path, ports: &Ports, daemons: &mut Daemons, aws: bool) -> Result<()> {
    let path = |name: &str| dir.join(name).display().to_string();
    daemons.start("mosquitto", &["-c", &path("mosquitto.conf")])?;
    daemons.start("docker-registry", &["serve", &path("registry.yml")])?;
    if aws {
        let port = ports.aws.to_string();
        daemons.start("moto_server", &["-H", "127.0.0.1", "-p", &port])?;
        daemons.wait_for(ports.aws)?;
    }
    daemons.wait_for(ports.mqtt)?;
    daemons.wait_for(ports.registry)?;
    put(
        dir,
        "responder.json",
        &json!({
            "mqtt": ports.mqtt, "proxy": ports.proxy, "control": ports.control,
            "credentials": ports.credentials, "ecr": ports.ecr, "registry": ports.registry,
        })
        .to_string(),
        0o600,
    )?;
    daemons.start_responder(&["cloud", "serve", "--dir", &dir.display().to_string()])?;
    for port in [ports.control, ports.credentials, ports.ecr] {
        daemons.wait_for(port)?;
    }
    daemons.wait_for(ports.proxy)?;
    // What listens may be another program.
    daemons.check()
}

fn endpoints(dir: &Path, ports: &Ports) -> Value {
    let path = |name: &str| dir.join(name).display().to_string();
    json!({
        "iot_endpoint": HOST, "iot_port": ports.mqtt, "template_name": TEMPLATE,
        "registry": format!("{HOST}:{}/edge-ai", ports.registry),
        "registry_host": format!("{HOST}:{}", ports.registry),
        "registry_user": USER, "registry_password_file": path("registry.password"),
        "proxy": format!("http://127.0.0.1:{}", ports.proxy),
        "credentials_endpoint": format!("{HOST}:{}", ports.credentials),
        "ecr_endpoint": format!("{HOST}:{}", ports.ecr),
        "role_alias": policy::ROLE_ALIAS, "region": aws::REGION,
        "fleet_config": path("fleet.json"),
        "iot_control": format!("http://127.0.0.1:{}", ports.control),
        "ca_file": path("ca.pem"), "claim_cert": path("claim.crt"), "claim_key": path("claim.key"),
        "signing_key": path("signing.key"), "signing_pub": path("signing.pub"),
        "engineer_key": path("engineer.key"), "engineer_pub": path("engineer.pub"),
        "set_key": path("set.key"), "set_pub": path("set.pub"),
        "set_offline_key": path("set-offline.key"), "set_offline_pub": path("set-offline.pub"),
        "os_key": path("os.key"), "os_pub": path("os.pub"),
        "allowlist": path("allowlist"),
    })
}

/// Adds a serial number to the allow-list, with `again` also to `windows`, the list
/// of registered devices that may provision once more.
///
/// # Errors
/// If the lists cannot be written.
pub fn allow(dir: &Path, serial: &str, again: bool) -> Result<()> {
    for name in ["allowlist", "windows"].iter().take(1 + usize::from(again)) {
        let path = dir.join(name);
        let text = if path.exists() {
            file::read_text(&path, 1024 * 1024)?
        } else {
            String::new()
        };
        if !text.lines().any(|l| l == serial) {
            file::write(&path, format!("{text}{serial}\n").as_bytes(), 0o600)?;
        }
    }
    Ok(())
}

/// Returns the thing to which the active certificate with this ID is attached.
pub(crate) fn attached(dir: &Path, certificate: &str) -> Option<String> {
    let id = certificate.bytes().all(|b| b.is_ascii_hexdigit());
    if !id || dir.join("inactive").join(certificate).exists() {
        return None;
    }
    file::read_text(&dir.join("attached").join(certificate), 256).ok()
}

/// Deactivates the certificate of a device, as an operator does in the AWS console. The
/// strict endpoint enforces it, mosquitto does not.
///
/// # Errors
/// If the device is not registered, or the state cannot be written.
pub fn deactivate(dir: &Path, serial: &str) -> Result<()> {
    let current = dir.join("things").join(format!("edge-ai-{serial}.pem"));
    let pem = file::read(&current, 64 * 1024)?;
    let id = pki::common_name(&pem)?;
    file::create_directory(&dir.join("inactive"), 0o700)?;
    put(dir, &format!("inactive/{id}"), "", 0o600)
}

fn down(dir: &Path, purge: bool) -> Result<()> {
    daemons::stop(dir)?;
    if purge && dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

fn status(dir: &Path) -> Result<()> {
    let text = file::read_text(&dir.join("endpoints.json"), 64 * 1024)?;
    let values: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
    for (key, value) in values {
        println!(
            "{key:<23} {}",
            value.as_str().map_or(value.to_string(), String::from)
        );
    }
    println!(
        "{:<23} {}",
        "state",
        if daemons::running(dir) { "up" } else { "down" }
    );
    Ok(())
}

/// Returns a line of an htpasswd file with the bcrypt hash of a password. htpasswd
/// receives the password through a pipe, since every user can read command lines.
fn htpasswd(user: &str, password: &str) -> Result<String> {
    let mut command = Root::system().command(find("htpasswd")?);
    command
        .args(["-inB", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("starting htpasswd")?;
    child
        .stdin
        .take()
        .context("standard input")?
        .write_all(password.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_string() + "\n")
}
