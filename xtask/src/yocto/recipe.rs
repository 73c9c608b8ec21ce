//! Recipes: reading them, and running their `do_install` as bitbake would.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::Findings;
use crate::shell;

/// A recipe or an append.
pub struct Recipe {
    /// Where it lies.
    pub path: PathBuf,
    text: String,
}

/// Something that a recipe installs.
pub struct Item {
    /// Absolute path in the image.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its owner's name.
    pub owner: String,
    /// Where its content can be read.
    pub file: PathBuf,
}

/// What one recipe installs, and the units that it enables.
pub struct Installed {
    /// Files.
    pub items: Vec<Item>,
    /// Names of units; `None` for all that can be.
    pub enabled: Option<Vec<String>>,
    /// Keeps the files.
    _root: TempDir,
}

/// Every recipe of ours.
///
/// # Errors
/// As for files.
pub fn all() -> Result<Vec<Recipe>> {
    let mut paths = found("recipes-edge")?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "bb"));
    paths.into_iter().map(Recipe::read).collect()
}

/// One of them.
///
/// # Errors
/// It is not there.
pub fn named<'a>(recipes: &'a [Recipe], name: &str) -> Result<&'a Recipe> {
    let mut recipes = recipes.iter();
    let is = |r: &&Recipe| r.name().starts_with(&format!("{name}_"));
    recipes
        .find(is)
        .with_context(|| format!("no recipe {name}"))
}

/// Files that recipes name and that are not there, and the other way round.
///
/// # Errors
/// As for files.
pub fn files() -> Result<Findings> {
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
                findings.push(format!("{} names {name}: not there", recipe.name()));
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

/// Files of the layer, by git, sorted.
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

    /// The file's name.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// The value of a variable set with `=`, or appended.
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

    /// The words of a variable's value, or none.
    pub fn words(&self, variable: &str) -> Vec<String> {
        let value = self.value(variable).unwrap_or_default();
        value.split_whitespace().map(String::from).collect()
    }

    /// What `SRC_URI` names beside it.
    fn local(&self) -> Vec<String> {
        ["SRC_URI", "SRC_URI:append:edge"]
            .iter()
            .flat_map(|v| self.words(v))
            .filter_map(|w| w.strip_prefix("file://").map(String::from))
            .chain(self.overlaid())
            .collect()
    }

    /// What takes the place of another layer's file of the same name.
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

    /// Runs `do_install` after the shell words `before`.
    ///
    /// # Errors
    /// What it says when it refuses.
    pub fn install(&self, stage: &Stage, before: &str) -> Result<Installed> {
        let root = tempfile::tempdir()?;
        let directory = self.path.parent().context("a recipe without a directory")?;
        for name in self.local() {
            let from = directory.join("files").join(name);
            shell::run(shell::command("cp").arg("-r").arg(from).arg(stage.work()))?;
        }
        let mut script = String::from(PRELUDE);
        for line in self.text.lines().filter(|l| l.starts_with("EDGE_")) {
            let variable = line.split([' ', '?', '=']).next().unwrap_or_default();
            if line.contains("?=") {
                script += &format!(": \"${{{variable}=}}\"\n");
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
            bail!("{}: {}", self.name(), shell::said(&output));
        }
        let owners = fs::read_to_string(stage.place("owners")).unwrap_or_default();
        let enabled = self.value("SYSTEMD_SERVICE:${PN}");
        let enabled = enabled.map(|e| match e.strip_prefix("${") {
            Some(variable) => self.words(variable.trim_end_matches('}')),
            None => e.split_whitespace().map(String::from).collect(),
        });
        Ok(Installed {
            items: items(root.path(), &owners)?,
            enabled: enabled.or_else(|| self.value("EDGE_TOOLS").is_none().then(Vec::new)),
            _root: root,
        })
    }
}

/// Directories of bitbake, its words, and an `install` that notes owners, which
/// only root could set.
const PRELUDE: &str = r#"
bindir=/usr/bin sbindir=/usr/sbin sysconfdir=/etc localstatedir=/var
nonarch_libdir=/usr/lib systemd_system_unitdir=/usr/lib/systemd/system
CARGO_TARGET_SUBDIR=target
bbfatal() { echo "$*" >&2; exit 1; }
install() {
    owner= words=$# word=
    while [ $words -gt 0 ]; do
        word=$1; shift; words=$((words - 1))
        case $word in
        -o) owner=$1; shift; words=$((words - 1)) ;;
        -g) shift; words=$((words - 1)) ;;
        *) set -- "$@" "$word" ;;
        esac
    done
    [ -z "$owner" ] || echo "$owner ${word#"$D"}" >>"$OWNERS"
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

/// Directories that `do_install` reads: files of the recipe, what was built, and
/// what lies outside the repository.
pub struct Stage(TempDir);

impl Stage {
    /// Makes them, filled.
    ///
    /// # Errors
    /// As for files.
    pub fn new() -> Result<Self> {
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
            "policy/ecr-url.txt",
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
        assert_eq!(recipe.words("A"), ["x", "y"]);
        assert_eq!(recipe.local(), ["p", "q"]);
        assert!(recipe.words("B").is_empty());
    }

    #[test]
    fn finds_a_task_and_says_when_there_is_none() {
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
