//! Comparison of the files of this repository in the device image and in the test VM: a
//! test on the VM is valid for the image only if their files are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use super::recipe::{Installed, Recipe, Stage};
use crate::shell;

/// Path prefixes of files that only the device image has, and the reason. A prefix
/// without a matching file is an error.
const IMAGE_ONLY: [(&str, &str); 16] = [
    (
        "/etc/edge-ai/ca/",
        "Amazon's roots; the local cloud has its own",
    ),
    ("/etc/edge-ai/devices.json", "devices of the board"),
    (
        "/etc/systemd/system/multi-user.target.wants/edge-cdi.service",
        "no GPU",
    ),
    (
        "/etc/systemd/system/multi-user.target.wants/var-lib-NetworkManager.mount",
        NETWORKD,
    ),
    ("/usr/lib/NetworkManager/", NETWORKD),
    (
        "/usr/lib/systemd/system/NetworkManager.service.d/",
        NETWORKD,
    ),
    ("/usr/lib/systemd/system/edge-cdi.service", "no GPU"),
    (
        "/usr/lib/systemd/pstore.conf.d/",
        "no memory that a reset keeps",
    ),
    ("/usr/lib/systemd/system.conf.d/", "no hardware watchdog"),
    (
        "/usr/lib/systemd/system/sshdgenkeys.service.d/",
        "Debian's sshd has no such unit",
    ),
    (
        "/usr/lib/systemd/system/var-lib-NetworkManager.mount",
        NETWORKD,
    ),
    ("/usr/lib/tmpfiles.d/edge-network.conf", NETWORKD),
    ("/usr/lib/udev/rules.d/70-edge-gpu.rules", "no GPU"),
    ("/usr/share/man/", "the VM has no program that shows pages"),
    ("/etc/platform-pre-switchroot", "of the initramfs"),
    ("/etc/rauc/system.conf", "one slot"),
];
const NETWORKD: &str = "the VM's network is that of its distribution";

/// Path prefixes of files that only the test VM has, and the reason.
const VM_ONLY: [(&str, &str); 10] = [
    ("/etc/docker/certs.d/", "the CA of the local registry"),
    ("/etc/docker/key.json", "its engine is older"),
    ("/etc/timestamp", "bitbake writes it into the image"),
    (
        "/etc/edge-ai/ca/local-cloud.pem",
        "the CA of the local cloud",
    ),
    (
        "/etc/edge-ai/container-config/container-signing-kms.pub",
        "a second key",
    ),
    (
        "/etc/edge-ai/container-config/engineer-signing-kms.pub",
        "a second key",
    ),
    ("/etc/machine-id", "its serial number"),
    ("/etc/ssh/sshd_config.d/vm.conf", "the tests log in as root"),
    (
        "/etc/ssl/certs/ca-certificates.crt",
        "the CA of the local cloud",
    ),
    ("/root/.ssh/authorized_keys", "the tests log in as root"),
];

/// File in the device image or in the test VM, with the properties that are compared.
struct Entry {
    mode: u32,
    owner: String,
    content: Option<Vec<u8>>,
}

type Manifest = BTreeMap<String, Entry>;

/// Compares the files of the device image with those of the test VM.
pub(super) fn check(recipes: &[Recipe]) -> Result<Findings> {
    let mut findings = Vec::new();
    let image = image(recipes, &mut findings)?;
    let vm = vm()?;
    let mut used = BTreeSet::new();
    let mut alone = |list: &[(&'static str, &str)], path: &str| {
        let known = list.iter().find(|(prefix, _)| path.starts_with(prefix));
        known.map(|(prefix, _)| used.insert(*prefix)).is_some()
    };
    for (path, entry) in &image {
        match vm.get(path) {
            Some(other) => findings.extend(differences(path, entry, other)),
            None if alone(&IMAGE_ONLY, path) => (),
            None => findings.push(format!("{path} is in the image, not in the test VM")),
        }
    }
    for path in vm.keys().filter(|p| !image.contains_key(*p)) {
        if !alone(&VM_ONLY, path) {
            findings.push(format!("{path} is in the test VM, not in the image"));
        }
    }
    for (prefix, _) in IMAGE_ONLY.iter().chain(&VM_ONLY) {
        if !used.contains(prefix) {
            findings.push(format!("{prefix} is listed as an exception and is none"));
        }
    }
    findings.extend(units(&image)?);
    Ok(findings)
}

fn differences(path: &str, image: &Entry, vm: &Entry) -> Findings {
    let mut findings = Vec::new();
    if image.mode != vm.mode {
        let (image, vm) = (image.mode, vm.mode);
        findings.push(format!(
            "{path}: mode {image:o} in the image, {vm:o} in the test VM"
        ));
    }
    if image.owner != vm.owner {
        let (image, vm) = (&image.owner, &vm.owner);
        findings.push(format!(
            "{path}: owner {image} in the image, {vm} in the test VM"
        ));
    }
    if let (Some(image), Some(vm)) = (&image.content, &vm.content)
        && image != vm
    {
        findings.push(format!(
            "{path}: other content in the image than in the test VM"
        ));
    }
    findings
}

/// Checks that the device image has every systemd unit of the programs in `crates/`.
fn units(image: &Manifest) -> Result<Findings> {
    let list = shell::read(shell::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "crates/*/systemd/*",
    ]))?;
    let mut findings = Vec::new();
    for unit in list.lines() {
        let name = unit.rsplit('/').next().unwrap_or_default();
        let content = fs::read(shell::repository().join(unit)).context("reading a unit")?;
        let installed = image.values().any(|e| e.content.as_ref() == Some(&content));
        if !installed {
            findings.push(format!("{unit}: no package holds {name}"));
        }
    }
    Ok(findings)
}

/// Returns the files that the recipes install, including the links of enabled units.
fn image(recipes: &[Recipe], findings: &mut Findings) -> Result<Manifest> {
    let mut image = Manifest::new();
    for recipe in recipes {
        let stage = Stage::new()?;
        let installed = recipe.install(&stage, "")?;
        enable(recipe, &installed, &mut image, findings)?;
        for item in installed.items {
            // The content of programs is not compared, since it depends on the build.
            let program = item.path.contains("/bin/") || item.path.contains("generators/");
            let content = (!program).then(|| fs::read(&item.file)).transpose()?;
            let entry = Entry {
                mode: item.mode,
                owner: item.owner,
                content,
            };
            if image.insert(item.path.clone(), entry).is_some() {
                findings.push(format!("{} is in two packages", item.path));
            }
        }
    }
    Ok(image)
}

/// Adds the symbolic links of the units that the recipe enables.
fn enable(
    recipe: &Recipe,
    installed: &Installed,
    image: &mut Manifest,
    findings: &mut Findings,
) -> Result<()> {
    let units = "/usr/lib/systemd/system/";
    let mut installed_units = BTreeSet::new();
    for item in &installed.items {
        let Some(name) = item.path.strip_prefix(units).filter(|n| !n.contains('/')) else {
            continue;
        };
        installed_units.insert(name);
        let links = links(&item.file, name)?;
        let enabled = installed.enabled.as_ref();
        if enabled.is_some_and(|e| !e.iter().any(|n| n == name)) {
            if !links.is_empty() {
                findings.push(format!(
                    "{}: {name} is not in SYSTEMD_SERVICE",
                    recipe.name()
                ));
            }
            continue;
        }
        for link in links {
            let entry = Entry {
                mode: 0o777,
                owner: "root".into(),
                content: Some(format!("{units}{name}").into_bytes()),
            };
            image.insert(link, entry);
        }
    }
    for name in installed.enabled.iter().flatten() {
        if !installed_units.contains(&**name) {
            findings.push(format!("{}: enables {name}, which it lacks", recipe.name()));
        }
    }
    Ok(())
}

fn links(unit: &Path, name: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(unit).context("reading a unit")?;
    let mut links = Vec::new();
    for (key, suffix) in [("WantedBy=", "wants"), ("RequiredBy=", "requires")] {
        let targets = text.lines().filter_map(|l| l.strip_prefix(key));
        let link = |t| format!("/etc/systemd/system/{t}.{suffix}/{name}");
        links.extend(targets.flat_map(str::split_whitespace).map(link));
    }
    Ok(links)
}

/// Returns the files of the test VM, according to `edge-sim`.
fn vm() -> Result<Manifest> {
    let build = ["build", "--quiet", "--workspace", "--bin=edge-sim"];
    shell::run(shell::cargo().args(build))?;
    let mut list = shell::command(shell::target()?.join("debug/edge-sim"));
    list.args(["vm", "contents", "--source"]);
    let printed = shell::read(list.arg(shell::repository()))?;
    let list: Vec<Value> =
        serde_json::from_str(&printed).context("parsing the list of the test VM")?;
    let entry = |value: &Value| {
        let text = |key: &str| value[key].as_str();
        let content = match (text("from"), text("link")) {
            (Some(from), _) => Some(fs::read(from).with_context(|| format!("reading {from}"))?),
            (None, link) => link.map(|l| l.as_bytes().to_vec()),
        };
        let owner = match value["owner"].as_u64() {
            Some(0) => "root",
            Some(61_000) => "edge",
            _ => "?",
        };
        let entry = Entry {
            mode: u32::try_from(value["mode"].as_u64().context("a mode")?)?,
            owner: owner.into(),
            content,
        };
        Ok((text("path").context("a path")?.to_string(), entry))
    };
    list.iter().map(entry).collect()
}
