//! Recipes of the Yocto layer: a parser for their variables, and a shell environment in
//! which their `do_install` runs as in bitbake.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::Findings;
use crate::shell;

/// BitBake recipe (`.bb`) or append file (`.bbappend`) of the layer.
pub(super) struct Recipe {
    /// Absolute path of the recipe file.
    pub(super) path: PathBuf,
    text: String,
}

/// File that a recipe installs into the device image.
pub(super) struct Item {
    /// Absolute path in the device image.
    pub(super) path: String,
    /// Permission bits, for example `0o644`.
    pub(super) mode: u32,
    /// Name of the owning user, as given to `install`.
    pub(super) owner: String,
    /// Path of the installed copy in a temporary directory.
    pub(super) file: PathBuf,
}

/// Result of a recipe's `do_install`: files, and the units that the recipe enables.
pub(super) struct Installed {
    /// Installed files, with the mode and owner that `do_install` requested.
    pub(super) items: Vec<Item>,
    /// Names of the enabled units; `None` if every unit with an `[Install]` section is
    /// enabled.
    pub(super) enabled: Option<Vec<String>>,
    /// Temporary directory of the installed copies, removed on drop.
    _root: TempDir,
}

/// Reads all recipes of this project (`recipes-edge`), without append files.
pub(super) fn all() -> Result<Vec<Recipe>> {
    let mut paths = found("recipes-edge")?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "bb"));
    paths.into_iter().map(Recipe::read).collect()
}

/// Returns the recipe with this name, which precedes the version in its file name.
pub(super) fn named<'a>(recipes: &'a [Recipe], name: &str) -> Result<&'a Recipe> {
    let mut recipes = recipes.iter();
    let is = |r: &&Recipe| r.name().starts_with(&format!("{name}_"));
    recipes
        .find(is)
        .with_context(|| format!("no recipe {name}"))
}

/// Checks that each file named by a recipe exists, and that each file in a `files`
/// directory is named by a recipe.
pub(super) fn files() -> Result<Findings> {
    let mut findings = Vec::new();
    let mut named = Vec::new();
    let bitbake = |p: &PathBuf| p.to_string_lossy().contains(".bb");
    for recipe in found("recipes-*")?.into_iter().filter(bitbake) {
        let recipe = Recipe::read(recipe)?;
        let directory = recipe
            .path
            .parent()
            .context("a recipe without a directory")?;
        for name in recipe.local() {
            let file = directory.join("files").join(&name);
            if !file.exists() {
                findings.push(format!(
                    "{} names {name}, which does not exist",
                    recipe.name()
                ));
            }
            named.push(file);
        }
    }
    for file in found("recipes-*")? {
        let used = || named.iter().any(|n| file.starts_with(n));
        if file.iter().any(|part| part == "files") && !used() {
            findings.push(format!("{} is in no recipe", file.display()));
        }
    }
    Ok(findings)
}

/// Returns the files of the layer below `part` that git does not ignore, sorted.
fn found(part: &str) -> Result<Vec<PathBuf>> {
    let list = shell::read(
        shell::command("git")
            .args(["ls-files", "-co", "--exclude-standard", "--"])
            .arg(format!("yocto/meta-edge-secure/{part}")),
    )?;
    let mut paths: Vec<_> = list
        .lines()
        .map(|l| shell::repository().join(l))
        .filter(|p| p.exists())
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

impl Recipe {
    fn read(path: PathBuf) -> Result<Self> {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { path, text })
    }

    /// Returns the file name of the recipe, for example `NAME_VERSION.bb`.
    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Returns the value of a variable that the recipe sets or appends to with `=` or
    /// `+=`.
    fn value(&self, variable: &str) -> Option<String> {
        let mut lines = self.text.lines();
        let line = lines.find_map(|l| {
            let rest = l.strip_prefix(variable)?.trim_start();
            rest.strip_prefix("=")
                .or_else(|| rest.strip_prefix("+="))?
                .trim_start()
                .strip_prefix('"')
        })?;
        let mut value = String::from(line);
        while let Some(begun) = value.strip_suffix('\\') {
            value = format!("{begun} {}", lines.next()?.trim());
        }
        Some(value.trim_end().trim_end_matches('"').into())
    }

    /// Returns the elements of a variable's value; empty if the recipe does not set the
    /// variable.
    pub(super) fn list(&self, variable: &str) -> Vec<String> {
        let value = self.value(variable).unwrap_or_default();
        value.split_whitespace().map(String::from).collect()
    }

    /// Returns the local files that `SRC_URI` names with `file://`.
    fn local(&self) -> Vec<String> {
        ["SRC_URI", "SRC_URI:append:edge"]
            .iter()
            .flat_map(|v| self.list(v))
            .filter_map(|w| w.strip_prefix("file://").map(String::from))
            .chain(self.overlaid())
            .collect()
    }

    /// Returns the name of a file with which an append file replaces that of another
    /// layer.
    fn overlaid(&self) -> Option<String> {
        self.name()
            .starts_with("chrony_")
            .then(|| "chrony.conf".to_string())
    }

    fn task(&self, name: &str) -> Result<&str> {
        let start = self.text.find(&format!("\n{name}() {{\n"));
        let body = start.and_then(|s| self.text[s..].split_once("{\n"));
        let body = body.and_then(|(_, rest)| rest.split_once("\n}"));
        body.map(|(body, _)| body)
            .with_context(|| format!("{} has no {name}", self.name()))
    }

    /// Runs the recipe's `do_install` after the shell code `before`; an error has the
    /// message of `do_install`.
    pub(super) fn install(&self, stage: &Stage, before: &str) -> Result<Installed> {
        let root = tempfile::tempdir()?;
        let directory = self.path.parent().context("a recipe without a directory")?;
        for name in self.local() {
            let from = directory.join("files").join(name);
            shell::run(shell::command("cp").arg("-r").arg(from).arg(stage.work()))?;
        }
        let mut script = String::from(PRELUDE);
        for line in self.text.lines().filter(|l| l.starts_with("EDGE_")) {
            let variable = line.split([' ', '?', '=']).next().unwrap_or_default();
            if let Some((_, default)) = line.split_once("?=") {
                let default = default.trim().trim_matches('"');
                script += &format!(": \"${{{variable}={default}}}\"\n");
            } else if let Some(value) = self.value(variable) {
                script += &format!("{variable}='{value}'\n");
            }
        }
        script += &format!("{before}\n{}\n", self.task("do_install")?);
        let output = shell::output(
            stage
                .shell(root.path())
                .args(["-euc", &script, "do_install"]),
        )?;
        if !output.status.success() {
            bail!("{}: {}", self.name(), shell::tail(&output));
        }
        let owners = fs::read_to_string(stage.place("owners")).unwrap_or_default();
        let enabled = self.value("SYSTEMD_SERVICE:${PN}");
        let enabled = enabled.map(|e| match e.strip_prefix("${") {
            Some(variable) => self.list(variable.trim_end_matches('}')),
            None => e.split_whitespace().map(String::from).collect(),
        });
        Ok(Installed {
            items: items(root.path(), &owners)?,
            enabled: enabled.or_else(|| self.value("EDGE_TOOLS").is_none().then(Vec::new)),
            _root: root,
        })
    }
}

/// Shell code with bitbake's directories and functions, and an `install` that records
/// owners, since only root could set them.
const PRELUDE: &str = r#"
bindir=/usr/bin sbindir=/usr/sbin sysconfdir=/etc localstatedir=/var mandir=/usr/share/man
nonarch_libdir=/usr/lib systemd_system_unitdir=/usr/lib/systemd/system
CARGO_TARGET_SUBDIR=target
bbfatal() { echo "$*" >&2; exit 1; }
install() {
    owner= left=$# arg=
    while [ $left -gt 0 ]; do
        arg=$1; shift; left=$((left - 1))
        case $arg in
        -o) owner=$1; shift; left=$((left - 1)) ;;
        -g) shift; left=$((left - 1)) ;;
        *) set -- "$@" "$arg" ;;
        esac
    done
    [ -z "$owner" ] || echo "$owner ${arg#"$D"}" >>"$OWNERS"
    command install "$@"
}
"#;

fn items(root: &Path, owners: &str) -> Result<Vec<Item>> {
    let list = shell::read(
        shell::command("find")
            .arg(root)
            .args(["-type", "f", "-printf", "%m %P\n"]),
    )?;
    let item = |line: &str| {
        let (mode, path) = line.split_once(' ')?;
        let to = format!("/{path}");
        let owner = owners
            .lines()
            .filter_map(|l| l.split_once(' '))
            .find(|(_, p)| *p == to);
        Some(Item {
            mode: u32::from_str_radix(mode, 8).ok()?,
            owner: owner.map_or("root", |(o, _)| o).into(),
            file: root.join(path),
            path: to,
        })
    };
    list.lines()
        .map(|l| item(l).with_context(|| format!("reading {l:?}")))
        .collect()
}

/// Directories from which `do_install` reads: files of the recipe, built programs, and
/// files from outside the repository.
pub(super) struct Stage(TempDir);

impl Stage {
    /// Creates the directories and fills them with placeholder files.
    pub(super) fn new() -> Result<Self> {
        let stage = Self(tempfile::tempdir()?);
        for directory in ["work", "build/target/target", "claim", "policy"] {
            fs::create_dir_all(stage.place(directory))?;
        }
        let tools = crate::sizes::PROGRAMS.map(|p| format!("build/target/target/{p}"));
        let outside = [
            "claim/claim.crt",
            "claim/claim.key",
            "claim/config.json",
            "policy/container-signing.pub",
            "policy/engineer-signing.pub",
            "policy/set-signing.pub",
            "policy/set-signing-offline.pub",
            "policy/os-signing.pub",
            "policy/ecr-url.txt",
            "policy/fleet.json",
            "authorized_keys",
        ];
        for file in outside.into_iter().chain(tools.iter().map(String::as_str)) {
            fs::copy("/etc/os-release", stage.place(file))?;
        }
        Ok(stage)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.place("work")
    }

    fn shell(&self, root: &Path) -> std::process::Command {
        let mut shell = shell::command("sh");
        shell
            .env("D", root)
            .env("S", shell::repository())
            .env("B", self.place("build"))
            .env("WORKDIR", self.work())
            .env("OWNERS", self.place("owners"))
            .env("EDGE_AUTHORIZED_KEYS", self.place("authorized_keys"))
            .env("EDGE_CLAIM_DIR", self.place("claim"))
            .env("EDGE_POLICY_DIR", self.place("policy"));
        shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Recipe {
        Recipe {
            path: "a_1.bb".into(),
            text: text.into(),
        }
    }

    #[test]
    fn reads_values_of_one_and_of_many_lines() {
        let recipe = recipe("A = \"x y\"\nSRC_URI = \"file://p \\\n           file://q \\\n  \"\n");
        assert_eq!(recipe.list("A"), ["x", "y"]);
        assert_eq!(recipe.local(), ["p", "q"]);
        assert!(recipe.list("B").is_empty());
    }

    #[test]
    fn finds_a_task_or_names_the_missing_one() {
        let recipe =
            recipe("A = \"1\"\n\ndo_install() {\n    if x; then\n    fi\n}\n\nB = \"2\"\n");
        assert_eq!(recipe.task("do_install").unwrap(), "    if x; then\n    fi");
        assert!(recipe.task("do_compile").is_err());
    }

    #[test]
    fn installs_with_modes_and_owners() {
        let stage = Stage::new().unwrap();
        let recipe = recipe(
            "EDGE_X = \"y\"\n\ndo_install() {\n    install -d -m 0700 -o edge -g edge ${D}/a\n    \
             install -m 0600 -o edge -g edge ${EDGE_CLAIM_DIR}/claim.key ${D}/a/${EDGE_X}\n}\n",
        );
        let installed = recipe.install(&stage, "").unwrap();
        let item = &installed.items[0];
        assert_eq!(
            (&*item.path, item.mode, &*item.owner),
            ("/a/y", 0o600, "edge")
        );
        assert!(recipe.install(&stage, "bbfatal no").is_err());
    }
}
