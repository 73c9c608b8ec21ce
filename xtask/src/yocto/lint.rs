//! The linters of others, from the Python environment of `scripts/setup`.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Findings, layer};
use crate::shell;

/// Rules that say nothing about this layer: a home page cannot be reached from
/// a build machine, and a licence that lies beside the recipes is no download.
const SUPPRESSED: [&str; 2] = ["oelint.vars.homepageping", "oelint.var.licenseremotefile"];
/// Kas files need no `---`.
const YAMLLINT: &str = "{extends: default, rules: {document-start: disable}}";
/// Reads a kas file against kas's own schema; prints it as JSON.
const KAS: &str = "
import json, os, sys, jsonschema, kas, yaml
schema = json.load(open(os.path.join(os.path.dirname(kas.__file__), 'schema-kas.json')))
text = yaml.safe_load(open(sys.argv[1]))
errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(text))
for error in errors:
    print('/'.join(map(str, error.path)) + ': ' + error.message, file=sys.stderr)
print(json.dumps(text))
sys.exit(1 if errors else 0)
";

/// The layer in the form that the Yocto project asks for.
///
/// # Errors
/// The linter missing.
pub fn oelint() -> Result<Findings> {
    let files = shell::read(shell::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "yocto/*.bb",
        "yocto/*.bbappend",
        "yocto/*.bbclass",
        "yocto/*.conf",
    ]))?;
    let bitbake = |l: &&str| !l.contains("/files/");
    let mut command = shell::python_tool("oelint-adv")?;
    command.args([
        "--quiet",
        "--hide",
        "info",
        "--relpaths",
        "--release=scarthgap",
    ]);
    for rule in SUPPRESSED {
        command.args(["--suppress", rule]);
    }
    said(command.args(files.lines().filter(bitbake)))
}

/// The form of the kas files.
///
/// # Errors
/// The linter missing.
pub fn yamllint() -> Result<Findings> {
    said(
        shell::python_tool("yamllint")?.args(["--strict", "-f", "parsable", "-d", YAMLLINT, "kas"]),
    )
}

/// Each kas file fits the schema, and each layer from elsewhere is pinned.
///
/// # Errors
/// Kas missing.
pub fn kas() -> Result<Findings> {
    let list =
        shell::read(shell::command("git").args(["ls-files", "-co", "--exclude-standard", "kas"]))?;
    let mut findings = Vec::new();
    for file in list.lines() {
        let output = shell::output(shell::python_tool("python")?.args(["-c", KAS, file]))?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        findings.extend(words.lines().map(|l| format!("{file}: {l}")));
        let kas: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("reading {file}: {words}"))?;
        findings.extend(unpinned(&kas).into_iter().map(|f| format!("{file}: {f}")));
    }
    Ok(findings)
}

fn unpinned(kas: &serde_json::Value) -> Findings {
    let repositories = kas["repos"].as_object().into_iter().flatten();
    let elsewhere = repositories.filter(|(_, r)| r["url"].is_string());
    let pinned = |commit: &str| commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    elsewhere
        .filter(|(_, r)| !r["commit"].as_str().is_some_and(pinned))
        .map(|(name, _)| format!("{name} is not pinned to a commit"))
        .collect()
}

/// Tests of the layer's own Python and shell.
///
/// # Errors
/// Python missing.
pub fn python() -> Result<Findings> {
    let directory = layer().with_file_name("tests");
    let mut command = shell::python_tool("python")?;
    command.args(["-B", "-m", "unittest", "discover", "--quiet", "-s"]);
    let output = shell::output(command.arg(directory))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = words
        .lines()
        .any(|l| l.starts_with("Ran ") && !l.starts_with("Ran 0 "));
    if output.status.success() && ran {
        return Ok(Vec::new());
    }
    Ok(words.lines().map(String::from).collect())
}

/// Its lines if it is not content.
fn said(command: &mut Command) -> Result<Findings> {
    let output = shell::output(command)?;
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let words = String::from_utf8_lossy(&both).into_owned();
    if output.status.success() {
        return Ok(Vec::new());
    }
    Ok(words.lines().map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_from_elsewhere_is_pinned() {
        let kas = |commit: &str| serde_json::json!({ "repos": { "a": { "url": "https://x", "commit": commit }, "b": {} } });
        assert!(unpinned(&kas(&"0a".repeat(20))).is_empty());
        assert_eq!(unpinned(&kas("master")).len(), 1);
        assert!(unpinned(&serde_json::json!({})).is_empty());
    }
}
