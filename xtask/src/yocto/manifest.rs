//! What the image holds of ours, compared with what the twin holds: the twin
//! is proof of the image only as far as they are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use super::recipe::{Installed, Recipe, Stage};
use crate::shell;

/// In the image alone, and why. A prefix that fits nothing is an error.
const IMAGE: [(&str, &str); 12] = [
    (
        "/etc/edge-ai/ca/",
        "Amazon's ca_bundle; the twin's cloud has its own",
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
        "/usr/lib/systemd/system/sshdgenkeys.service.d/",
        "Debian's sshd has no such unit",
    ),
    (
        "/usr/lib/systemd/system/var-lib-NetworkManager.mount",
        NETWORKD,
    ),
    ("/usr/lib/tmpfiles.d/edge-network.conf", NETWORKD),
    ("/usr/lib/udev/rules.d/70-edge-gpu.rules", "no GPU"),
    ("/etc/platform-pre-switchroot", "of the initramfs"),
];
const NETWORKD: &str = "the twin's network is that of its distribution";

/// In the twin alone, and why.
const TWIN: [(&str, &str); 8] = [
    ("/etc/docker/certs.d/", "the stand-in registry's authority"),
    ("/etc/docker/key.json", "its engine is older"),
    (
        "/etc/edge-ai/ca/local-cloud.pem",
        "the stand-in cloud's authority",
    ),
    (
        "/etc/edge-ai/container-config/container-signing-kms.pub",
        "a second key",
    ),
    ("/etc/machine-id", "its serial number"),
    (
        "/etc/ssh/sshd_config.d/vm.conf",
        "root is the bench's way in",
    ),
    (
        "/etc/ssl/certs/ca-certificates.crt",
        "the stand-in cloud's authority",
    ),
    ("/root/.ssh/authorized_keys", "root is the bench's way in"),
];

/// One path of either side.
struct Entry {
    mode: u32,
    owner: String,
    content: Option<Vec<u8>>,
}

type Manifest = BTreeMap<String, Entry>;

/// Compares.
///
/// # Errors
/// A recipe that cannot be run, or `edge-sim`.
pub fn check(recipes: &[Recipe]) -> Result<Findings> {
    let mut findings = Vec::new();
    let image = image(recipes, &mut findings)?;
    let twin = twin()?;
    let mut used = BTreeSet::new();
    let mut alone = |list: &[(&'static str, &str)], path: &str| {
        let known = list.iter().find(|(prefix, _)| path.starts_with(prefix));
        known.map(|(prefix, _)| used.insert(*prefix)).is_some()
    };
    for (path, entry) in &image {
        match twin.get(path) {
            Some(other) => findings.extend(differences(path, entry, other)),
            None if alone(&IMAGE, path) => (),
            None => findings.push(format!("{path} is in the image, not in the twin")),
        }
    }
    for path in twin.keys().filter(|p| !image.contains_key(*p)) {
        if !alone(&TWIN, path) {
            findings.push(format!("{path} is in the twin, not in the image"));
        }
    }
    for (prefix, _) in IMAGE.iter().chain(&TWIN) {
        if !used.contains(prefix) {
            findings.push(format!("{prefix} is listed as an exception and is none"));
        }
    }
    findings.extend(units(&image)?);
    Ok(findings)
}

fn differences(path: &str, image: &Entry, twin: &Entry) -> Findings {
    let mut findings = Vec::new();
    if image.mode != twin.mode {
        let (image, twin) = (image.mode, twin.mode);
        findings.push(format!(
            "{path}: mode {image:o} in the image, {twin:o} in the twin"
        ));
    }
    if image.owner != twin.owner {
        let (image, twin) = (&image.owner, &twin.owner);
        findings.push(format!(
            "{path}: owner {image} in the image, {twin} in the twin"
        ));
    }
    if let (Some(image), Some(twin)) = (&image.content, &twin.content)
        && image != twin
    {
        findings.push(format!(
            "{path}: other content in the image than in the twin"
        ));
    }
    findings
}

/// Every unit beside a program is in the image.
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

/// What the recipes install and enable.
fn image(recipes: &[Recipe], findings: &mut Findings) -> Result<Manifest> {
    let mut image = Manifest::new();
    for recipe in recipes {
        let stage = Stage::new()?;
        let installed = recipe.install(&stage, "")?;
        enable(recipe, &installed, &mut image, findings)?;
        for item in installed.items {
            // A program's content is a build's.
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

/// The links that the recipe's units ask for.
fn enable(
    recipe: &Recipe,
    installed: &Installed,
    image: &mut Manifest,
    findings: &mut Findings,
) -> Result<()> {
    let units = "/usr/lib/systemd/system/";
    let mut there = BTreeSet::new();
    for item in &installed.items {
        let Some(name) = item.path.strip_prefix(units).filter(|n| !n.contains('/')) else {
            continue;
        };
        there.insert(name);
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
        if !there.contains(&**name) {
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

/// What the twin holds, by its own words.
fn twin() -> Result<Manifest> {
    let source = shell::repository();
    let printed = shell::read(
        shell::cargo()
            .args(["run", "--quiet", "-p", "edge-sim", "--", "vm", "contents"])
            .arg("--source")
            .arg(&source),
    )?;
    let list: Vec<Value> = serde_json::from_str(&printed).context("parsing the twin's list")?;
    let entry = |value: &Value| {
        let text = |key: &str| value[key].as_str();
        let content = match (text("from"), text("link")) {
            (Some(from), _) => Some(fs::read(from).with_context(|| format!("reading {from}"))?),
            (None, link) => link.map(|l| l.as_bytes().to_vec()),
        };
        let owner = match value["owner"].as_u64() {
            Some(0) => "root",
            Some(1000) => "edge",
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
