//! Files and links that are added to the base system of the test VM, from the files
//! that the Yocto recipes install in the device image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge_common::contract::{login, path};
use edge_common::{file, known_time, mqtt, time};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use serde::Deserialize;
use serde_json::{Value, json};

use super::base::Base;
use super::entry::{Entry, Kind};
use super::image_files;
use crate::cloud;

/// Programs of a device, and the directories in which they are installed.
const PROGRAMS: [(&str, &str); 8] = [
    ("edge-partition", "/usr/bin"),
    ("edge-provision", "/usr/bin"),
    ("edge-vpn", "/usr/bin"),
    ("edge-docker", "/usr/bin"),
    ("edge-heartbeat", "/usr/bin"),
    ("edge-os", "/usr/bin"),
    ("edge-fleet", "/usr/bin"),
    ("edge-generator", "/usr/lib/systemd/system-generators"),
];
/// Directory of systemd units in the test VM.
const UNITS: &str = "/usr/lib/systemd/system";
/// Path of the CA bundle of the system in the test VM.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Size limit of a source file, in bytes.
const MAX_SOURCE_BYTES: u64 = 1024 * 1024;

/// Fields of a local cloud's `endpoints.json` that the test VM needs.
#[derive(Deserialize)]
pub(crate) struct Endpoints {
    iot_endpoint: String,
    iot_port: u16,
    template_name: String,
    registry: String,
    registry_host: String,
    ca_file: PathBuf,
    claim_cert: PathBuf,
    claim_key: PathBuf,
    signing_pub: PathBuf,
    kms_pub: Option<PathBuf>,
    engineer_pub: PathBuf,
    set_pub: PathBuf,
    set_offline_pub: PathBuf,
    kms_engineer_pub: Option<PathBuf>,
    fleet_config: Option<PathBuf>,
    os_pub: PathBuf,
}

impl Endpoints {
    /// Reads `endpoints.json` from `dir`, the directory of a local cloud.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let text = file::read_text(&dir.join("endpoints.json"), MAX_SOURCE_BYTES)
            .context("the local cloud is not up: run edge-sim cloud up")?;
        serde_json::from_str(&text).context("parsing endpoints.json")
    }

    /// Returns the endpoints of a cloud whose only server is a strict endpoint with the
    /// state in `dir`.
    pub(crate) fn strict(dir: &Path) -> Self {
        Self {
            iot_endpoint: cloud::HOST.into(),
            iot_port: mqtt::PORT,
            template_name: cloud::TEMPLATE.into(),
            registry: "registry.test/edge-ai".into(),
            registry_host: "registry.test".into(),
            ca_file: dir.join("ca.pem"),
            claim_cert: dir.join("claim.crt"),
            claim_key: dir.join("claim.key"),
            signing_pub: dir.join("signing.pub"),
            kms_pub: None,
            engineer_pub: dir.join("engineer.pub"),
            set_pub: dir.join("set.pub"),
            set_offline_pub: dir.join("set-offline.pub"),
            kms_engineer_pub: None,
            fleet_config: None,
            os_pub: dir.join("os.pub"),
        }
    }
}

/// Sources of a test VM's files and links beyond the base system.
pub(crate) struct Contents<'a> {
    /// Top directory of this repository.
    pub source: &'a Path,
    /// Directory of the built programs of a device, for example `target/release`.
    pub programs: &'a Path,
    /// Endpoints of the local cloud to which the test VM connects.
    pub cloud: &'a Endpoints,
    /// Serial number of the test VM, written to `/etc/machine-id`.
    pub serial: &'a str,
    /// SSH public key that may log in as the users edge and root.
    pub public_key: &'a str,
}

impl Contents<'_> {
    /// Returns all files and links to add to `base`. A missing source is an error.
    pub(crate) fn entries(&self, base: &Base) -> Result<Vec<Entry>> {
        for (name, _) in PROGRAMS {
            let from = self.programs.join(name);
            fs::metadata(&from).with_context(|| {
                format!("{} is not built: cargo build --release", from.display())
            })?;
        }
        let mut bundle = image_files::read(&base.image, CA_BUNDLE)?;
        bundle.extend(file::read(&self.cloud.ca_file, MAX_SOURCE_BYTES)?);
        self.with(bundle)
    }

    fn with(&self, bundle: Vec<u8>) -> Result<Vec<Entry>> {
        let mut entries = self.programs();
        entries.extend(self.units()?);
        entries.extend(self.policy());
        entries.extend(self.anchors());
        entries.extend(self.claim());
        entries.extend(self.access(bundle)?);
        Ok(entries)
    }

    fn programs(&self) -> Vec<Entry> {
        let entry = |(name, directory): (&str, &str)| {
            copy(
                self.programs.join(name),
                &format!("{directory}/{name}"),
                0o755,
            )
        };
        PROGRAMS.into_iter().map(entry).collect()
    }

    /// Returns the systemd units of the crates and of the Yocto layer, and the
    /// links that enable them according to their sections `[Install]`.
    fn units(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let recipes = self.source.join("yocto/meta-edge-secure/recipes-edge");
        let mut directories: Vec<_> = ["edge-data/files", "edge-user/files"]
            .map(|d| recipes.join(d))
            .into();
        for (name, _) in PROGRAMS {
            directories.push(self.source.join("crates").join(name).join("systemd"));
        }
        for path in directories.iter().filter(|f| f.exists()).map(|f| files(f)) {
            for path in path? {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if name.ends_with(".conf") {
                    continue;
                }
                entries.extend(enabled(&path, &name)?);
                entries.push(copy(path, &format!("{UNITS}/{name}"), 0o644));
            }
        }
        Ok(entries)
    }

    fn policy(&self) -> Vec<Entry> {
        let recipes = self.source.join("yocto/meta-edge-secure/recipes-edge");
        let files = [
            ("edge-policy/files/vpn.json", "/etc/edge-ai/vpn.json"),
            (
                "edge-data/files/edge-data.conf",
                "/usr/lib/tmpfiles.d/edge-data.conf",
            ),
            (
                "edge-data/files/journald-edge.conf",
                "/usr/lib/systemd/journald.conf.d/edge.conf",
            ),
            (
                "edge-data/files/journald-audit.conf",
                "/usr/lib/systemd/journald@edge-audit.conf.d/edge.conf",
            ),
            ("edge-policy/files/daemon.json", "/etc/docker/daemon.json"),
            ("edge-policy/files/seccomp.json", "/etc/docker/seccomp.json"),
            (
                "edge-policy/files/docker-data.conf",
                "/usr/lib/systemd/system/docker.service.d/edge.conf",
            ),
            (
                "edge-policy/files/containerd-engine.conf",
                "/usr/lib/systemd/system/containerd.service.d/edge.conf",
            ),
            (
                "edge-policy/files/containerd.toml",
                "/etc/containerd/config.toml",
            ),
            (
                "edge-policy/files/loopback.nft",
                "/etc/edge-ai/loopback.nft",
            ),
            (
                "edge-policy/files/sshd-edge.conf",
                "/etc/ssh/sshd_config.d/edge.conf",
            ),
            (
                "edge-user/files/sysctl-edge.conf",
                "/usr/lib/sysctl.d/60-edge.conf",
            ),
            (
                "edge-user/files/user-runtime-dir-edge.conf",
                "/usr/lib/systemd/system/user-runtime-dir@.service.d/edge.conf",
            ),
        ];
        let sudoers = recipes.join("edge-policy/files/sudoers-edge");
        let mut entries = vec![copy(sudoers, "/etc/sudoers.d/edge", 0o440)];
        entries.extend(files.map(|(from, to)| copy(recipes.join(from), to, 0o644)));
        entries
    }

    /// Returns the trust anchors at the paths where the Yocto recipe installs them.
    fn anchors(&self) -> Vec<Entry> {
        let directory = "/etc/edge-ai/container-config";
        let cloud = self.cloud;
        let registry = format!("/etc/docker/certs.d/{}/ca.crt", cloud.registry_host);
        let kms = [
            (&cloud.kms_pub, "container-signing-kms.pub"),
            (&cloud.kms_engineer_pub, "engineer-signing-kms.pub"),
        ];
        let kms = kms.into_iter().filter_map(|(key, name)| {
            let key = key.clone()?;
            Some(copy(key, &format!("{directory}/{name}"), 0o644))
        });
        let mut entries = vec![
            copy(
                cloud.ca_file.clone(),
                "/etc/edge-ai/ca/local-cloud.pem",
                0o644,
            ),
            copy(cloud.ca_file.clone(), &registry, 0o644),
            bytes(
                format!("{}\n", cloud.registry),
                &format!("{directory}/ecr-url.txt"),
                0o644,
            ),
            bytes(
                json!({ "sandbox": true, "run": "any", "engineer": "debug" }).to_string(),
                &format!("{directory}/policy.json"),
                0o644,
            ),
        ];
        let keys = [
            (&cloud.signing_pub, "container-signing.pub"),
            (&cloud.engineer_pub, "engineer-signing.pub"),
            (&cloud.os_pub, "os-signing.pub"),
            (&cloud.set_pub, "set-signing.pub"),
            (&cloud.set_offline_pub, "set-signing-offline.pub"),
        ];
        let place = |name| format!("{directory}/{name}");
        entries.extend(keys.map(|(key, name)| copy(key.clone(), &place(name), 0o644)));
        entries.extend(kms);
        let fleet = cloud.fleet_config.clone();
        entries.extend(fleet.map(|config| copy(config, path::FLEET, 0o644)));
        entries
    }

    fn claim(&self) -> Vec<Entry> {
        let cloud = self.cloud;
        let config = json!({
            "endpoint": cloud.iot_endpoint, "port": cloud.iot_port, "template_name": cloud.template_name,
            "spread_seconds": 0,
        });
        let directory = "/etc/edge-ai/claim";
        vec![
            copy(
                cloud.claim_cert.clone(),
                &format!("{directory}/claim.crt"),
                0o644,
            ),
            copy(
                cloud.claim_key.clone(),
                &format!("{directory}/claim.key"),
                0o600,
            ),
            bytes(
                config.to_string(),
                &format!("{directory}/config.json"),
                0o644,
            ),
        ]
    }

    /// Returns the files of the serial number and of access by ssh, docker's key,
    /// and the system's CA bundle, which includes the CA certificate of the local
    /// cloud.
    fn access(&self, bundle: Vec<u8>) -> Result<Vec<Entry>> {
        let key = |home: &str, owner| Entry {
            owner,
            ..bytes(
                format!("{}\n", self.public_key),
                &format!("{home}/.ssh/authorized_keys"),
                0o600,
            )
        };
        Ok(vec![
            bytes(format!("{}\n", self.serial), "/etc/machine-id", 0o444),
            bytes("AllowUsers root\n", "/etc/ssh/sshd_config.d/vm.conf", 0o644),
            bytes(bundle, CA_BUNDLE, 0o644),
            bytes(image_time(), path::IMAGE_TIME, 0o644),
            bytes(docker_key()?, "/etc/docker/key.json", 0o600),
            key("/home/edge", login::ID),
            key("/root", 0),
        ])
    }
}

/// Lists the files and links of a test VM as JSON, without a local cloud: path,
/// mode, owner, and the source file in this repository or the target of the link.
pub(crate) fn list(source: &Path) -> Result<Value> {
    let nowhere = PathBuf::new;
    let cloud = Endpoints {
        iot_endpoint: String::new(),
        iot_port: 0,
        template_name: String::new(),
        registry: String::new(),
        registry_host: "REGISTRY".into(),
        ca_file: nowhere(),
        claim_cert: nowhere(),
        claim_key: nowhere(),
        signing_pub: nowhere(),
        kms_pub: Some(nowhere()),
        engineer_pub: nowhere(),
        set_pub: nowhere(),
        set_offline_pub: nowhere(),
        kms_engineer_pub: Some(nowhere()),
        fleet_config: Some(nowhere()),
        os_pub: nowhere(),
    };
    let contents = Contents {
        source,
        programs: Path::new(""),
        cloud: &cloud,
        serial: "",
        public_key: "",
    };
    let item = |entry: Entry| {
        let mut item = json!({ "path": entry.to, "mode": entry.mode, "owner": entry.owner });
        match entry.kind {
            Kind::File(from) if from.starts_with(source) => item["from"] = json!(from),
            Kind::Link(target) => item["link"] = json!(target),
            Kind::File(_) | Kind::Bytes(_) => (),
        }
        item
    };
    Ok(contents.with(Vec::new())?.into_iter().map(item).collect())
}

/// Returns a new private key as a JSON Web Key (RFC 7517). Docker before 24 writes
/// such a key beside its configuration, which is read-only in the test VM; the
/// Docker of the device image is newer.
fn docker_key() -> Result<String> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).context("generating a key")?;
    let key = EcKey::generate(&group).context("generating a key")?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    let public = key.public_key();
    public.affine_coordinates(&group, &mut x, &mut y, &mut context)?;
    let text =
        |n: &BigNumRef| Ok::<_, ErrorStack>(BASE64_URL_SAFE_NO_PAD.encode(n.to_vec_padded(32)?));
    let key = json!({
        "kty": "EC", "crv": "P-256", "x": text(&x)?, "y": text(&y)?, "d": text(key.private_key())?,
    });
    Ok(key.to_string())
}

/// Returns the present time in the form of `/etc/timestamp`.
fn image_time() -> String {
    let text = time::rfc3339(known_time::clock());
    text.chars().filter(char::is_ascii_digit).collect()
}

fn copy(from: PathBuf, to: &str, mode: u32) -> Entry {
    Entry {
        to: to.into(),
        kind: Kind::File(from),
        mode,
        owner: 0,
    }
}

fn bytes(content: impl Into<Vec<u8>>, to: &str, mode: u32) -> Entry {
    Entry {
        to: to.into(),
        kind: Kind::Bytes(content.into()),
        mode,
        owner: 0,
    }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths = entries
        .map(|e| Ok(e?.path()))
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("reading {}", directory.display()))?;
    paths.sort();
    Ok(paths)
}

/// Returns the links that `systemctl enable` creates for a unit.
fn enabled(unit: &Path, name: &str) -> Result<Vec<Entry>> {
    let text = file::read_text(unit, MAX_SOURCE_BYTES)?;
    let mut links = Vec::new();
    for (key, suffix) in [("WantedBy=", "wants"), ("RequiredBy=", "requires")] {
        let targets = text.lines().filter_map(|l| l.strip_prefix(key));
        for target in targets.flat_map(str::split_whitespace) {
            links.push(Entry {
                to: format!("/etc/systemd/system/{target}.{suffix}/{name}"),
                kind: Kind::Link(format!("{UNITS}/{name}")),
                mode: 0o777,
                owner: 0,
            });
        }
    }
    Ok(links)
}
