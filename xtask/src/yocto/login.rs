//! Checks of the login user: its ID in the recipe, in the test VM and in the contract of
//! the programs, and what sshd forwards.

use std::fs;

use anyhow::{Context, Result};

use super::Findings;
use super::recipe::{self, Recipe, Stage};
use crate::shell;

/// Files that state the ID of the login user, and the text before and after it.
const IDS: [(&str, &str, &str); 6] = [
    (
        "crates/edge-common/src/contract.rs",
        "pub const ID: u32 = ",
        ";",
    ),
    (USER_RECIPE, "--uid ", " "),
    (USER_RECIPE, "GROUPADD_PARAM:${PN} = \"--gid ", " "),
    (USER_RECIPE, " --gid ", " --no"),
    (CUSTOMIZE, "groupadd --gid ", " "),
    (CUSTOMIZE, "useradd --uid ", " "),
];
const USER_RECIPE: &str = "yocto/meta-edge-secure/recipes-edge/edge-user/edge-user_1.0.bb";
const CUSTOMIZE: &str = "crates/edge-sim/src/vm/customize.sh";

/// Checks that every file has the same ID, and that sshd forwards only what the build
/// requests.
pub(super) fn check(recipes: &[Recipe]) -> Result<Findings> {
    let mut findings = Vec::new();
    let mut ids = Vec::new();
    for (file, before, after) in IDS {
        let text = fs::read_to_string(shell::repository().join(file))
            .with_context(|| format!("reading {file}"))?;
        let rest = text.split_once(before).map(|(_, rest)| rest);
        let id = rest.and_then(|r| r.split_once(after)).map(|(id, _)| id);
        let id = id.with_context(|| format!("{file} has no {before:?}"))?;
        ids.push((file, id.replace('_', "")));
    }
    for (file, id) in &ids {
        if *id != ids[0].1 {
            findings.push(format!(
                "{file}: ID {id} of the login user, not {}",
                ids[0].1
            ));
        }
    }
    for (before, wanted) in [
        ("", "AllowTcpForwarding no"),
        ("EDGE_FORWARDING=none", "AllowTcpForwarding no"),
        ("EDGE_FORWARDING=local", "AllowTcpForwarding local"),
    ] {
        let stage = Stage::new()?;
        let installed = recipe::named(recipes, "edge-policy")?.install(&stage, before)?;
        let mut items = installed.items.iter();
        let file = items.find(|i| i.path == "/etc/ssh/sshd_config.d/edge.conf");
        let text = fs::read_to_string(&file.context("no edge.conf of sshd")?.file)?;
        if !text.lines().any(|l| l == wanted) || !text.contains("\nPermitTunnel no\n") {
            findings.push(format!("sshd after {before:?}: no line {wanted:?}"));
        }
    }
    Ok(findings)
}
