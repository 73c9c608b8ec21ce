//! Checks of the layer by bitbake itself: every recipe of all layers is parsed, and the
//! settings of each machine and the task hash of the device programs are compared with
//! what they have to be. A whole build would need downloads.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Findings, layer};
use crate::shell;

/// kas files of each build, and the machine that they are for.
const BUILDS: [(&[&str], &str); 5] = [
    (&["kas/edge-ai.yml"], "jetson-orin-nano-devkit-nvme"),
    (&["kas/production.yml"], "jetson-orin-nano-devkit-nvme"),
    (
        &["kas/production.yml", "kas/gpu.yml"],
        "jetson-orin-nano-devkit-nvme",
    ),
    (
        &["kas/production.yml", "kas/orin-nx.yml"],
        "p3768-0000-p3767-0000",
    ),
    (
        &["kas/production.yml", "kas/agx-orin.yml"],
        "jetson-agx-orin-devkit",
    ),
];

/// Values of variables that every build has.
const EVERYWHERE: [(&str, &str); 5] = [
    ("USE_REDUNDANT_FLASH_LAYOUT", "1"),
    (
        "PARTITION_LAYOUT_EXTERNAL",
        "flash_l4t_t234_nvme_rootfs_ab.xml",
    ),
    ("PARTITION_LAYOUT_TEMPLATE", "flash_t234_qspi.xml"),
    ("ROOTFSPART_SIZE", "4294967296"),
    ("TNSPEC_BOOTDEV", "nvme0n1p1"),
];

/// Words that the values of variables contain in every build.
const CONTAINED: [(&str, &str); 8] = [
    (
        "TEGRA_BOOTCONTROL_OVERLAYS",
        "L4TConfiguration-RootfsRedundancyLevelABEnable.dtbo",
    ),
    ("KERNEL_ARGS", "ro"),
    ("KERNEL_ARGS", "panic=10"),
    ("TARGET_CC_ARCH", "-fstack-protector-strong"),
    ("TARGET_CC_ARCH", "-D_FORTIFY_SOURCE=2"),
    ("TARGET_LDFLAGS", "-Wl,-z,relro,-z,now"),
    ("INHERIT", "archiver"),
    ("INHERIT", "uninative"),
];

/// Recipes, a variable of each, and words that it contains, with the append files of
/// this layer.
const RECIPES: [(&str, &str, &[&str]); 5] = [
    (
        "linux-jammy-nvidia-tegra",
        "SRC_URI",
        &["file://pstore.cfg", "file://quota.cfg", "file://vpn.cfg"],
    ),
    (
        "l4t-launcher-extlinux",
        "L4T_UBOOT_EXTLINUX_FDT",
        &["tegra234-p3768-0000+p3767-0005-nv-super.dtb"],
    ),
    ("chrony", "PACKAGECONFIG", &["nts", "privdrop"]),
    ("systemd", "PACKAGECONFIG", &["pstore"]),
    (
        "packagegroup-edge",
        "RDEPENDS:packagegroup-edge",
        &["docker", "edge-system", "edge-tools", "kernel-modules"],
    ),
];

/// Merges kas files in order and prints machine, local configuration and the layers used.
const MERGE: &str = "
import json, sys, yaml
merged = {'machine': '', 'conf': {}, 'layers': []}
def take(file):
    content = yaml.safe_load(open(file))
    for other in content['header'].get('includes', []):
        take(other)
    merged['machine'] = content.get('machine', merged['machine'])
    merged['conf'].update(content.get('local_conf_header', {}))
    for name, repo in content.get('repos', {}).items():
        if 'url' in repo:
            for directory, state in (repo.get('layers') or {'.': None}).items():
                if state != 'disabled':
                    merged['layers'].append(name + '/' + directory)
for file in sys.argv[1:]:
    take(file)
print(json.dumps(merged))
";

/// Runs all checks with copies of the other layers in `layers`; returns false if there is
/// a finding.
pub(super) fn run(layers: &Path) -> Result<bool> {
    let layers = fs::canonicalize(layers).context("finding the layers")?;
    let mut passed = true;
    let mut report = |name: &str, findings: Findings| {
        passed &= findings.is_empty();
        for finding in &findings {
            println!("{name}: {finding}");
        }
        let verdict = if findings.is_empty() { "ok" } else { "FAILED" };
        println!("{name:<60} {verdict}");
    };
    for (files, machine) in BUILDS {
        let build = Build::new(&layers, &layer(), files)?;
        report(&files.join(":"), build.settings(machine)?);
    }
    report("task hash of edge-tools", task_hash(&layers)?);
    let build = Build::new(&layers, &layer(), BUILDS[1].0)?;
    let parsed = build.bitbake(&["-p"]).status().context("running bitbake")?;
    report(
        "every recipe",
        Findings::from_iter((!parsed.success()).then(|| "bitbake -p failed".into())),
    );
    for (recipe, variable, words) in RECIPES {
        report(recipe, build.recipe(recipe, variable, words)?);
    }
    Ok(passed)
}

/// Build directory of bitbake, in a temporary directory that is removed on drop.
struct Build {
    directory: tempfile::TempDir,
    layers: PathBuf,
}

impl Build {
    /// Configures a build as kas would, with `ours` as this project's layer.
    fn new(layers: &Path, ours: &Path, files: &[&str]) -> Result<Self> {
        let output = shell::read(
            shell::python_tool("python")?
                .args(["-c", MERGE])
                .args(files),
        )?;
        let merged: serde_json::Value = serde_json::from_str(&output)?;
        let mut list = vec![ours.to_string_lossy().into_owned()];
        let others = merged["layers"].as_array().into_iter().flatten();
        for line in others.filter_map(|l| l.as_str()) {
            let path = layers.join(line);
            fs::metadata(path.join("conf/layer.conf"))
                .with_context(|| format!("{} is not a layer", path.display()))?;
            list.push(path.to_string_lossy().into_owned());
        }
        let directory = tempfile::tempdir()?;
        let conf = directory.path().join("conf");
        fs::create_dir(&conf)?;
        let bblayers = format!(
            "POKY_BBLAYERS_CONF_VERSION = \"2\"\nBBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\n\
             BBLAYERS = \"{}\"\n",
            list.join(" ")
        );
        write(&conf.join("bblayers.conf"), &bblayers)?;
        let sections = merged["conf"].as_object().into_iter().flatten();
        let sections: Vec<_> = sections.filter_map(|(_, text)| text.as_str()).collect();
        let local = format!(
            "DISTRO = \"edge\"\nMACHINE = \"{}\"\nBB_NO_NETWORK = \"1\"\n\
             CONNECTIVITY_CHECK_URIS = \"\"\n{}",
            merged["machine"].as_str().unwrap_or_default(),
            sections.join("\n")
        );
        write(&conf.join("local.conf"), &local)?;
        Ok(Self {
            directory,
            layers: layers.to_path_buf(),
        })
    }

    /// Returns a command that runs bitbake with `args` in the build directory.
    fn bitbake(&self, args: &[&str]) -> Command {
        let core = self.layers.join("openembedded-core");
        let script =
            ". \"$1/oe-init-build-env\" \"$2\" \"$3\" >/dev/null && shift 3 && exec bitbake \"$@\"";
        let mut command = shell::command("bash");
        command
            .current_dir(&core)
            .args(["-c", script, "bitbake"])
            .args([&core, self.directory.path(), &self.layers.join("bitbake")])
            .args(args);
        command
    }

    /// Returns the exported variables of `bitbake -e` with further arguments, by name.
    fn variables(&self, args: &[&str]) -> Result<BTreeMap<String, String>> {
        let output = shell::read(&mut self.bitbake(&[&["-e"], args].concat()))?;
        let assignment = |line: &str| {
            let (name, value) = line.split_once("=\"")?;
            Some((name.to_string(), value.strip_suffix('"')?.to_string()))
        };
        Ok(output.lines().filter_map(assignment).collect())
    }

    /// Compares the settings of the whole build with what every machine needs.
    fn settings(&self, machine: &str) -> Result<Findings> {
        let found = self.variables(&[])?;
        let value = |name: &str| found.get(name).map_or("", String::as_str);
        let mut findings = Vec::new();
        for (name, expected) in EVERYWHERE.into_iter().chain([("MACHINE", machine)]) {
            if value(name) != expected {
                findings.push(format!("{name} is {:?}, not {expected:?}", value(name)));
            }
        }
        for (name, word) in CONTAINED {
            if !value(name).split_whitespace().any(|w| w == word) {
                findings.push(format!("{name} lacks {word}: {:?}", value(name)));
            }
        }
        Ok(findings)
    }

    /// Checks that a variable of a recipe contains `words`.
    fn recipe(&self, name: &str, variable: &str, words: &[&str]) -> Result<Findings> {
        let found = self.variables(&[name])?;
        let value = found.get(variable).map_or("", String::as_str);
        let missing = words
            .iter()
            .filter(|w| !value.split_whitespace().any(|v| v == **w));
        Ok(missing
            .map(|w| format!("{variable} lacks {w}: {value:?}"))
            .collect())
    }
}

/// Writes a file of a temporary directory.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::File::create(path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())
        .with_context(|| path.display().to_string())
}

/// Checks that the hash of the task that compiles the device programs stays the same
/// after a build and after a change of something else, and not after a change of a source.
fn task_hash(layers: &Path) -> Result<Findings> {
    let copy = tempfile::tempdir()?;
    let files = shell::read(shell::command("git").args(["ls-files", "-co", "--exclude-standard"]))?;
    for file in files.lines() {
        let source = shell::repository().join(file);
        if !source.is_file() {
            continue;
        }
        let target = copy.path().join(file);
        fs::create_dir_all(target.parent().context("a file without a directory")?)?;
        fs::copy(source, target)?;
    }
    let hash = || -> Result<String> {
        let ours = copy.path().join("yocto/meta-edge-secure");
        let build = Build::new(layers, &ours, BUILDS[1].0)?;
        let recipe = ours.join("recipes-edge/edge-tools/edge-tools_0.1.0.bb");
        let recipe = recipe.to_string_lossy().into_owned();
        shell::read(&mut build.bitbake(&["-b", &recipe, "-c", "compile", "-S", "none"]))?;
        let stamps = shell::read(
            shell::command("find")
                .arg(build.directory.path())
                .args(["-name", "*do_compile.sigdata.*"]),
        )?;
        let (_, hash) = stamps
            .trim()
            .rsplit_once('.')
            .context("bitbake wrote no signature of do_compile")?;
        Ok(hash.into())
    };
    let append = |file: &str| -> Result<()> {
        let path = copy.path().join(file);
        fs::create_dir_all(path.parent().context("a file without a directory")?)?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        write(&path, &(text + "// changed\n"))
    };
    let first = hash()?;
    ensure!(first.len() == 64, "the hash of do_compile is {first:?}");
    let mut findings = Vec::new();
    let unrelated = [
        "build/tmp/work/file",
        "target/debug/file",
        "crates/edge-app/src/main.rs",
        "crates/edge-docker/tests/deploy/main.rs",
        "docs/boot.md",
    ];
    for file in unrelated {
        append(file)?;
    }
    if hash()? != first {
        findings.push(format!("changes with one of {unrelated:?}"));
    }
    append("crates/edge-common/src/lib.rs")?;
    if hash()? == first {
        findings.push("does not change with crates/edge-common/src/lib.rs".into());
    }
    Ok(findings)
}
