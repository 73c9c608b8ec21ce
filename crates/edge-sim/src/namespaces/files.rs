//! Files of a device in namespaces: configuration, programs, trust anchors and SSH
//! keys.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::contract::login;
use edge_common::{Root, file};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::json;

use super::{Link, Settings};
use crate::host::{find, program};

/// Directory of the trust anchors: repository, policy and public keys of signers.
const ANCHORS: &str = "root/etc/edge-ai/container-config";
const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
edge:x:61000:61000::/home/edge:/bin/sh
";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\nedge:x:61000:\ndocker:x:999:\n";
const SHADOW: &str = "root:*:1:0:99999:7:::\nsshd:*:1:0:99999:7:::\nedge:*:1:0:99999:7:::\n";
const SUDOERS: &str = "@includedir /etc/sudoers.d\n";
// sshd uses the first value of a keyword, so the file of the product is included
// first. Only lists such as AllowUsers are merged.
const SSHD: &str = "\
Include /etc/ssh/sshd_config.d/edge.conf
AllowUsers root
UsePAM no
";
/// Files of the product that are copied unchanged: source, target and mode.
const PRODUCT: [(&str, &str, u32); 3] = [
    ("seccomp.json", "root/etc/docker/seccomp.json", 0o644),
    ("sudoers-edge", "root/etc/sudoers.d/edge", 0o440),
    (
        "sshd-edge.conf",
        "root/etc/ssh/sshd_config.d/edge.conf",
        0o644,
    ),
];

/// Writes all files of a device below `directory`. A program that the device needs
/// and that is not installed is an error.
pub(crate) fn write(directory: &Path, settings: &Settings) -> Result<()> {
    for name in ["dockerd", "docker", "sshd", "sudo", "unshare", "ssh-keygen"] {
        find(name)?;
    }
    let put = |name: &str, text: &[u8], mode| {
        let path = directory.join(name);
        file::create_directory(path.parent().context("a directory")?, 0o755)?;
        file::write(&path, text, mode)
    };
    for name in [
        "root/home/edge",
        "root/data/apps",
        "root/data/sandbox",
        "root/data/config",
        "links",
        "programs",
    ] {
        file::create_directory(&directory.join(name), 0o755)?;
    }
    put("root/etc/passwd", PASSWD.as_bytes(), 0o644)?;
    put("root/etc/group", GROUP.as_bytes(), 0o644)?;
    put("root/etc/shadow", SHADOW.as_bytes(), 0o600)?;
    put(
        "root/etc/hosts",
        b"127.0.0.1 localhost cloud.edge.test\n",
        0o644,
    )?;
    put("root/etc/nsswitch.conf", b"hosts: files\n", 0o644)?;
    put("root/etc/sudoers", SUDOERS.as_bytes(), 0o440)?;
    put("root/etc/ssh/sshd_config", SSHD.as_bytes(), 0o644)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../yocto/meta-edge-secure/recipes-edge/edge-policy/files");
    for (from, to, mode) in PRODUCT {
        put(to, &file::read(&source.join(from), 64 * 1024)?, mode)?;
    }
    if settings.engine {
        let daemon = json!({ "data-root": "/data/docker", "log-driver": "json-file",
            "seccomp-profile": "/etc/docker/seccomp.json" });
        put(
            "root/etc/docker/daemon.json",
            daemon.to_string().as_bytes(),
            0o644,
        )?;
    }
    anchors(settings, &put)?;
    install_programs(directory, settings)?;
    if settings.ssh {
        keys(directory, settings)?;
    }
    Ok(())
}

fn anchors(settings: &Settings, put: &impl Fn(&str, &[u8], u32) -> Result<()>) -> Result<()> {
    let anchor = |name: &str| format!("{ANCHORS}/{name}");
    put(
        &anchor("ecr-url.txt"),
        settings.repository.as_bytes(),
        0o644,
    )?;
    let policy =
        json!({ "sandbox": settings.sandbox, "run": "any", "engineer": "debug" }).to_string();
    put(&anchor("policy.json"), policy.as_bytes(), 0o644)?;
    for (number, key) in settings.keys.iter().enumerate() {
        let name = anchor(&format!("container-signing-{number}.pub"));
        put(&name, &file::read(key, 64 * 1024)?, 0o644)?;
    }
    for (number, key) in settings.engineer_keys.iter().enumerate() {
        let name = anchor(&format!("engineer-signing-{number}.pub"));
        put(&name, &file::read(key, 64 * 1024)?, 0o644)?;
    }
    if settings.keys.is_empty() {
        put(&anchor("container-signing.pub"), &unused_key()?, 0o644)?;
    }
    let host = settings.repository.split('/').next().unwrap_or_default();
    let mut bundle = fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    for authority in settings.ca_bundle {
        let text = file::read(authority, 64 * 1024)?;
        put(
            &format!("root/etc/docker/certs.d/{host}/ca.crt"),
            &text,
            0o644,
        )?;
        bundle.extend(text);
    }
    put("root/etc/ssl/certs/ca-certificates.crt", &bundle, 0o644)
}

/// Returns a public key, PEM, whose private key is discarded: nothing can be signed
/// with it.
fn unused_key() -> Result<Vec<u8>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    Ok(key.public_key_to_pem()?)
}

fn install_programs(directory: &Path, settings: &Settings) -> Result<()> {
    let from = match settings.edge_docker {
        Some(path) => path.into(),
        None => program("edge-docker")?,
    };
    let to = directory.join("programs/edge-docker");
    fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
    let docker = find("docker")?;
    if docker != Path::new("/usr/bin/docker") {
        symlink(docker, directory.join("programs/docker")).context("linking docker")?;
    }
    Ok(())
}

/// Creates the SSH host key of the device and a key of the caller, and writes
/// `known_hosts` and `authorized_keys`.
fn keys(directory: &Path, settings: &Settings) -> Result<()> {
    let host = directory.join("root/data/config/ssh/ssh_host_ed25519_key");
    let user = directory.join("id");
    file::create_directory(host.parent().context("a directory")?, 0o700)?;
    for key in [&host, &user] {
        let mut command = Root::system().command(find("ssh-keygen")?);
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f"]);
        command.arg(key).run()?;
    }
    let public = |key: &Path| file::read_text(&key.with_extension("pub"), 4096);
    let known = format!("{} {}", settings.name, public(&host)?);
    file::write(&directory.join("known_hosts"), known.as_bytes(), 0o600)?;
    for (home, owner) in [("root/home/edge", login::ID), ("root/root", 0)] {
        let ssh = directory.join(home).join(".ssh");
        file::create_directory(&ssh, 0o700)?;
        let keys = ssh.join("authorized_keys");
        file::write(&keys, public(&user)?.as_bytes(), 0o600)?;
        for path in [&directory.join(home), &ssh, &keys] {
            chown(path, Some(owner), Some(owner)).context("changing the owner: run as root")?;
        }
    }
    if directory
        .to_string_lossy()
        .contains(|c: char| c.is_whitespace() || "'\"%$".contains(c))
    {
        bail!(
            "{} contains characters that the configuration of ssh cannot",
            directory.display()
        );
    }
    Ok(())
}

/// Returns the configuration of ssh for the device `name` whose first process is
/// `pid`. For each connection sshd is started on the streams of the link, so the
/// device needs no TCP port.
pub(crate) fn ssh_config(
    directory: &Path,
    name: &str,
    edge_sim: &Path,
    link: Link,
    pid: u32,
) -> String {
    let (directory, edge_sim) = (directory.display(), edge_sim.display());
    let Link { rtt, rate } = link;
    format!(
        "Host {name}\n  IdentityFile {directory}/id\n  IdentitiesOnly yes\n  \
         UserKnownHostsFile {directory}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  \
         StrictHostKeyChecking yes\n  \
         ProxyCommand {edge_sim} relay --rtt {rtt} --rate {rate} --count {directory}/links -- \
         /usr/bin/nsenter --all --root --wd=/ --target {pid} -- /usr/sbin/sshd -i\n"
    )
}
