//! Check of the layer by bitbake, which parses the recipes of all layers; a whole build
//! would need downloads.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::layer;
use crate::shell;

/// Python script that prints the layers used by `kas/edge-ai.yml`, one per line.
const PRINT_LAYERS: &str = "
import yaml
for name, repo in yaml.safe_load(open('kas/edge-ai.yml'))['repos'].items():
    if 'url' in repo:
        for directory, state in (repo.get('layers') or {'.': None}).items():
            if state != 'disabled':
                print(name + '/' + directory)
";

/// Runs bitbake with the copies of the other layers in `layers`; returns false if it
/// fails.
pub(super) fn run(layers: &Path) -> Result<bool> {
    let layers = fs::canonicalize(layers).context("finding the layers")?;
    let mut list = vec![layer()];
    for line in shell::read(shell::python_tool("python")?.args(["-c", PRINT_LAYERS]))?.lines() {
        let path = layers.join(line);
        fs::metadata(path.join("conf/layer.conf"))
            .with_context(|| format!("{} is not a layer", path.display()))?;
        list.push(path);
    }
    let build = tempfile::tempdir()?;
    let conf = build.path().join("conf");
    fs::create_dir(&conf)?;
    let list: Vec<_> = list.iter().map(|l| l.to_string_lossy()).collect();
    let file = |name: &str, text: String| -> Result<()> {
        let mut file = fs::File::create(conf.join(name)).context(name.to_string())?;
        file.write_all(text.as_bytes()).context(name.to_string())
    };
    file(
        "bblayers.conf",
        format!(
            "POKY_BBLAYERS_CONF_VERSION = \"2\"\nBBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\n\
             BBLAYERS = \"{}\"\n",
            list.join(" ")
        ),
    )?;
    file(
        "local.conf",
        "CONF_VERSION = \"2\"\nDISTRO = \"edge\"\nMACHINE = \"jetson-orin-nano-devkit-nvme\"\n\
         BB_NO_NETWORK = \"1\"\nCONNECTIVITY_CHECK_URIS = \"\"\n"
            .into(),
    )?;
    let core = layers.join("openembedded-core");
    let script = ". \"$1/oe-init-build-env\" \"$2\" \"$3\" >/dev/null && exec bitbake -p";
    let status = shell::command("bash")
        .current_dir(&core)
        .args(["-c", script, "bitbake"])
        .args([&core, build.path(), &layers.join("bitbake")])
        .status()
        .context("running bitbake")?;
    Ok(status.success())
}
