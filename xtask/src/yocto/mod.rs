//! Checks of the Yocto layer and the kas files that do not need an image build.

mod crates;
mod lint;
mod login;
mod manifest;
mod parse;
mod recipe;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{shell, sizes};
use recipe::{Recipe, Stage};

/// Options of `cargo xtask yocto`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only compare the list of crates, without writing it
    #[arg(long)]
    check: bool,
    /// Parse the layer with bitbake, with copies of the other layers in DIR, named as in
    /// kas/edge-ai.yml; not as root
    #[arg(long, value_name = "DIR")]
    parse: Option<PathBuf>,
}

/// Returns the directory of the Yocto layer, `yocto/meta-edge-secure`.
fn layer() -> PathBuf {
    shell::repository().join("yocto/meta-edge-secure")
}

/// Messages, each of which describes one fault.
type Findings = Vec<String>;

/// Runs all checks of the layer, or only bitbake with `--parse`; returns false if there
/// is a finding.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if let Some(layers) = &args.parse {
        return parse::run(layers);
    }
    if !args.check {
        crates::write()?;
    }
    let recipes = recipe::all()?;
    let mut passed = true;
    let mut report = |name: &str, findings: Findings| {
        passed &= findings.is_empty();
        for finding in &findings {
            println!("{name}: {finding}");
        }
        let verdict = if findings.is_empty() { "ok" } else { "FAILED" };
        println!("{name:<20} {verdict}");
    };
    report("crates", crates::check()?);
    report("programs", programs(&recipes)?);
    report("files", recipe::files()?);
    report("refusals", refusals(&recipes)?);
    report("policy", policy(&recipes)?);
    report("login", login::check(&recipes)?);
    report("same as the test VM", manifest::check(&recipes)?);
    report("oelint-adv", lint::oelint()?);
    report("yamllint", lint::yamllint()?);
    report("kas", lint::kas()?);
    report("python", lint::python()?);
    Ok(passed)
}

/// Runs all checks without writing the list of crates, as a step of the test suite.
pub(crate) fn check() -> Result<bool> {
    run(&Args {
        check: true,
        parse: None,
    })
}

/// Checks that the recipe edge-tools builds exactly the device programs, in the version
/// of the workspace.
fn programs(recipes: &[Recipe]) -> Result<Findings> {
    let tools = recipe::named(recipes, "edge-tools")?;
    let mut listed: Vec<_> = tools.list("EDGE_TOOLS");
    let mut shipped: Vec<_> = sizes::PROGRAMS.map(String::from).into();
    listed.sort();
    shipped.sort();
    let mut findings = Vec::new();
    if listed != shipped {
        findings.push(format!(
            "{} lists {listed:?}, but what ships is {shipped:?}",
            tools.name()
        ));
    }
    let version = env!("CARGO_PKG_VERSION");
    if !tools.name().ends_with(&format!("_{version}.bb")) {
        findings.push(format!(
            "{} is not of version {version}: rename it",
            tools.name()
        ));
    }
    Ok(findings)
}

/// Checks that the policy of the image permits sandbox apps, or restricts SSH to the VPN,
/// only if the build requests that.
fn policy(recipes: &[Recipe]) -> Result<Findings> {
    let mut findings = Vec::new();
    for (before, key, value) in [
        ("", "sandbox", json!(false)),
        ("EDGE_SANDBOX=0", "sandbox", json!(false)),
        ("EDGE_SANDBOX=1", "sandbox", json!(true)),
        ("EDGE_SSH=any", "ssh", json!("any")),
        ("EDGE_SSH=vpn", "ssh", json!("vpn")),
        ("EDGE_RUN=any", "run", json!("any")),
        ("EDGE_ENGINEER=look", "engineer", json!("look")),
        ("EDGE_ENGINEER=debug", "engineer", json!("debug")),
        // Absent: the default.
        ("EDGE_LAYERS=background", "run", json!("signed")),
        ("EDGE_LAYERS=", "run", json!("signed")),
        ("EDGE_LAYERS=before-start", "layers", json!("before-start")),
        ("EDGE_STORAGE=", "run", json!("signed")),
        ("EDGE_STORAGE=100%", "storage", json!("100%")),
        ("EDGE_STORAGE=8g", "storage", json!("8g")),
        ("EDGE_SET_THRESHOLD=", "run", json!("signed")),
        ("EDGE_SET_THRESHOLD=2", "run", json!("signed")),
        ("EDGE_SET_THRESHOLD=1", "sets", json!({ "threshold": 1 })),
    ] {
        // Without a request of the build, the policy is that of a device in the field.
        let mut policy =
            json!({ "sandbox": false, "ssh": "any", "run": "signed", "engineer": "operate" });
        policy[key] = value;
        let stage = Stage::new()?;
        let installed = recipe::named(recipes, "edge-policy")?.install(&stage, before)?;
        let file = |name: &str| -> Result<serde_json::Value> {
            let item = installed.items.iter().find(|i| i.path.ends_with(name));
            let text = fs::read(&item.with_context(|| format!("no {name}"))?.file)?;
            serde_json::from_slice(&text).with_context(|| format!("parsing {name}"))
        };
        if file("/policy.json")? != policy {
            findings.push(format!("policy.json after {before:?} is not {policy}"));
        }
        if file("/vpn.json")? != json!({ "provider": "none" }) {
            findings.push("vpn.json names a VPN that the build did not ask for".into());
        }
        if file("/daemon.json")?.get("default-runtime").is_some() {
            findings.push("daemon.json names a default-runtime".into());
        }
        file("/devices.json")?;
    }
    for role in ["engineer", "os", "set"] {
        for (before, expected) in [("", true), ("rm $EDGE_POLICY_DIR/ROLE-*", false)] {
            let before = before.replace("ROLE", role);
            let stage = Stage::new()?;
            let installed = recipe::named(recipes, "edge-policy")?.install(&stage, &before)?;
            let name = format!("/{role}-signing.pub");
            if installed.items.iter().any(|i| i.path.ends_with(&name)) != expected {
                findings.push(format!("{name} is wrong after {before:?}"));
            }
        }
    }
    Ok(findings)
}

/// Name of a recipe, invalid build inputs (as shell code) that its `do_install` must
/// reject, and a word of the error message.
const REFUSALS: [(&str, &str, &str); 21] = [
    ("edge-claim", "EDGE_CLAIM_DIR=", "EDGE_CLAIM_DIR"),
    ("edge-claim", "rm $EDGE_CLAIM_DIR/claim.crt", "claim.crt"),
    ("edge-claim", ": >$EDGE_CLAIM_DIR/claim.key", "claim.key"),
    ("edge-policy", "EDGE_POLICY_DIR=", "EDGE_POLICY_DIR"),
    (
        "edge-policy",
        "rm $EDGE_POLICY_DIR/*.pub",
        "container-signing",
    ),
    (
        "edge-policy",
        "rm $EDGE_POLICY_DIR/ecr-url.txt",
        "ecr-url.txt",
    ),
    ("edge-policy", "EDGE_SSH=console", "EDGE_SSH"),
    ("edge-policy", "EDGE_FORWARDING=yes", "EDGE_FORWARDING"),
    ("edge-policy", "EDGE_RUN=unsigned", "EDGE_RUN"),
    ("edge-policy", "EDGE_ENGINEER=root", "EDGE_ENGINEER"),
    ("edge-policy", "EDGE_LAYERS=never", "EDGE_LAYERS"),
    ("edge-policy", "EDGE_STORAGE=0", "EDGE_STORAGE"),
    ("edge-policy", "EDGE_STORAGE=101%", "EDGE_STORAGE"),
    ("edge-policy", "EDGE_STORAGE=1.5g", "EDGE_STORAGE"),
    ("edge-policy", "EDGE_STORAGE='8g\"'", "EDGE_STORAGE"),
    ("edge-policy", "EDGE_LAYERS='before-start x'", "EDGE_LAYERS"),
    ("edge-policy", "EDGE_SET_THRESHOLD=0", "EDGE_SET_THRESHOLD"),
    ("edge-policy", "EDGE_SET_THRESHOLD=17", "EDGE_SET_THRESHOLD"),
    ("edge-policy", "EDGE_SET_THRESHOLD=3", "add a key"),
    ("edge-user", "EDGE_AUTHORIZED_KEYS=", "EDGE_AUTHORIZED_KEYS"),
    ("edge-user", "rm $EDGE_AUTHORIZED_KEYS", "missing or empty"),
];

/// Checks that a build with invalid inputs stops and names the cause.
fn refusals(recipes: &[Recipe]) -> Result<Findings> {
    let mut findings = Vec::new();
    for (name, before, word) in REFUSALS {
        let stage = Stage::new()?;
        match recipe::named(recipes, name)?.install(&stage, before) {
            Ok(_) => findings.push(format!("{name} installs after {before:?}")),
            Err(error) if format!("{error:#}").contains(word) => (),
            Err(error) => findings.push(format!(
                "{name} after {before:?} does not name {word}: {error:#}"
            )),
        }
    }
    Ok(findings)
}
