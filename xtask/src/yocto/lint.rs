//! Linters of the Yocto layer and the kas files, from the Python environment of
//! `scripts/setup`.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Findings, layer};
use crate::shell;

/// Rules of oelint-adv that do not apply to this layer: a build machine cannot reach a
/// home page, and a licence in the layer itself is not a download.
const SUPPRESSED_RULES: [&str; 2] = ["oelint.vars.homepageping", "oelint.var.licenseremotefile"];
/// Variables of meta-rauc, in the form of oelint-adv.
const KNOWN_VARIABLES: &str = "yocto/variables.json";
/// Configuration of yamllint: kas files need no `---` at their beginning.
const YAMLLINT_CONFIG: &str = "{extends: default, rules: {document-start: disable}}";
/// Python script that validates a kas file with the schema of kas and prints the file as
/// JSON.
const VALIDATE_KAS: &str = "
import json, os, sys, jsonschema, kas, yaml
schema = json.load(open(os.path.join(os.path.dirname(kas.__file__), 'schema-kas.json')))
text = yaml.safe_load(open(sys.argv[1]))
errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(text))
for error in errors:
    print('/'.join(map(str, error.path)) + ': ' + error.message, file=sys.stderr)
print(json.dumps(text))
sys.exit(1 if errors else 0)
";

/// Checks the layer with oelint-adv, which knows the style rules of the Yocto project.
pub(super) fn oelint() -> Result<Findings> {
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
    command.arg(format!("--constantmods=+{KNOWN_VARIABLES}"));
    for rule in SUPPRESSED_RULES {
        command.args(["--suppress", rule]);
    }
    findings(command.args(files.lines().filter(bitbake)))
}

/// Checks the formatting of the kas files with yamllint.
pub(super) fn yamllint() -> Result<Findings> {
    findings(shell::python_tool("yamllint")?.args([
        "--strict",
        "-f",
        "parsable",
        "-d",
        YAMLLINT_CONFIG,
        "kas",
    ]))
}

/// Checks that each kas file is valid, and that external layers are pinned to a commit.
pub(super) fn kas() -> Result<Findings> {
    let list =
        shell::read(shell::command("git").args(["ls-files", "-co", "--exclude-standard", "kas"]))?;
    let mut findings = Vec::new();
    for file in list.lines() {
        let output = shell::output(shell::python_tool("python")?.args(["-c", VALIDATE_KAS, file]))?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        findings.extend(messages.lines().map(|l| format!("{file}: {l}")));
        let kas: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("reading {file}: {messages}"))?;
        findings.extend(unpinned(&kas).into_iter().map(|f| format!("{file}: {f}")));
    }
    Ok(findings)
}

fn unpinned(kas: &serde_json::Value) -> Findings {
    let repositories = kas["repos"].as_object().into_iter().flatten();
    let others = repositories.filter(|(_, r)| r["url"].is_string());
    let pinned = |commit: &str| commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    others
        .filter(|(_, r)| !r["commit"].as_str().is_some_and(pinned))
        .map(|(name, _)| format!("{name} is not pinned to a commit"))
        .collect()
}

/// Runs the unit tests of the layer's Python and shell code.
pub(super) fn python() -> Result<Findings> {
    let directory = layer().with_file_name("tests");
    let mut command = shell::python_tool("python")?;
    command.args(["-B", "-m", "unittest", "discover", "--quiet", "-s"]);
    let output = shell::output(command.arg(directory))?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = messages
        .lines()
        .any(|l| l.starts_with("Ran ") && !l.starts_with("Ran 0 "));
    if output.status.success() && ran {
        return Ok(Vec::new());
    }
    Ok(messages.lines().map(String::from).collect())
}

/// Runs a linter and returns the lines of its output if it fails.
fn findings(command: &mut Command) -> Result<Findings> {
    let output = shell::output(command)?;
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let messages = String::from_utf8_lossy(&both).into_owned();
    if output.status.success() {
        return Ok(Vec::new());
    }
    Ok(messages.lines().map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_others_is_pinned() {
        let kas = |commit: &str| serde_json::json!({ "repos": { "a": { "url": "https://x", "commit": commit }, "b": {} } });
        assert!(unpinned(&kas(&"0a".repeat(20))).is_empty());
        assert_eq!(unpinned(&kas("master")).len(), 1);
        assert!(unpinned(&serde_json::json!({})).is_empty());
    }
}
