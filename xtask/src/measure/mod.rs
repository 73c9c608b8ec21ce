//! Measurement of the source code of each crate: sizes, import cycles, public items,
//! comments.

mod modules;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::shell;
use modules::{Imports, Module};
use source::Source;

/// Options of `cargo xtask measure`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Fail if a measure is over its limit, and print the lines
    #[arg(long)]
    check: bool,
}

/// Measures of one crate; test code is not counted, and sizes are numbers of lines.
#[derive(Default)]
struct Crate {
    name: String,
    files: usize,
    directories: usize,
    longest_file: usize,
    code: usize,
    documentation: usize,
    comments: usize,
    public: usize,
    functions: Vec<usize>,
    cycles: Vec<Vec<Module>>,
    /// Locations of doc comments that begin with a relative word such as "What".
    relative: Vec<String>,
    /// Locations of doc comments that are questions.
    questions: Vec<String>,
    /// Locations of the word `folder` in comments and messages, except in quotations.
    folders: Vec<String>,
}

/// Prints the measures as a table or JSON; returns false if `--check` is given and a
/// measure is over its limit.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let crates = measure()?;
    if args.json {
        let all: serde_json::Map<_, _> =
            crates.iter().map(|c| (c.name.clone(), c.json())).collect();
        println!("{}", Value::Object(all));
    } else {
        table(&crates);
    }
    if !args.check {
        return Ok(true);
    }
    let findings = rules::findings(&crates)?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("measure: {} findings", findings.len());
    Ok(findings.is_empty())
}

/// Compares all measures with their limits, as a step of the test suite.
pub(crate) fn check() -> Result<bool> {
    run(&Args {
        json: false,
        check: true,
    })
}

fn measure() -> Result<Vec<Crate>> {
    let repository = shell::repository();
    let list = shell::read(shell::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*/Cargo.toml",
    ]))?;
    let workspace = |m: &&str| {
        (m.starts_with("crates/") && m.split('/').count() == 3) || *m == "xtask/Cargo.toml"
    };
    let mut crates = Vec::new();
    for manifest in list.lines().filter(workspace) {
        let directory = repository.join(manifest).with_file_name("");
        if directory.join("src").is_dir() {
            crates.push(Crate::read(&directory)?);
        }
    }
    Ok(crates)
}

impl Crate {
    fn read(directory: &Path) -> Result<Self> {
        let src = directory.join("src");
        let name = directory.file_name().context("crate without a directory")?;
        let mut measured = Self {
            name: name.to_string_lossy().into_owned(),
            ..Self::default()
        };
        let files = files_without_tests(&src)?;
        let directories: BTreeSet<_> = files.iter().filter_map(|f| f.path.parent()).collect();
        measured.files = files.len();
        measured.directories = directories.len();
        let modules: BTreeSet<_> = files.iter().map(|f| f.module.clone()).collect();
        let mut imports = Imports::new();
        for file in &files {
            let path = file.path.strip_prefix(shell::repository())?;
            measured.count(&path.to_string_lossy(), &file.source);
            let imported = modules::imports(&file.module, &file.source.code(), &modules);
            imports
                .entry(file.module.clone())
                .or_default()
                .extend(imported);
        }
        measured.functions.sort_unstable();
        measured.cycles = modules::cycles(&imports);
        Ok(measured)
    }

    fn count(&mut self, file: &str, source: &Source) {
        self.longest_file = self.longest_file.max(source.length);
        self.functions.extend(source.functions());
        let mut in_paragraph = false;
        for line in &source.lines {
            let prose = [
                line.doc.as_deref(),
                line.comment.as_deref(),
                Some(line.text.as_str()),
            ];
            let place = |text: &str| format!("{file}:{}: {}", line.number, text.trim());
            if let Some(doc) = &line.doc {
                self.documentation += 1;
                let relative = !in_paragraph && rules::is_relative(doc);
                self.relative.extend(relative.then(|| place(doc)));
                self.questions
                    .extend(rules::is_question(doc).then(|| place(doc)));
            } else if !line.blank {
                let is_code = !line.code.trim().is_empty() || line.comment.is_none();
                self.code += usize::from(is_code);
                self.comments += usize::from(line.comment.is_some());
                self.public += usize::from(rules::is_public(&line.code));
            }
            in_paragraph = line.doc.as_ref().is_some_and(|d| !d.is_empty());
            let folder = prose.into_iter().flatten().find(|w| rules::says_folder(w));
            self.folders.extend(folder.map(place));
        }
    }

    fn function(&self, tenths: usize) -> usize {
        let index = self.functions.len() * tenths / 10;
        let function = self.functions.get(index).or(self.functions.last());
        function.copied().unwrap_or(0)
    }

    fn longest_function(&self) -> usize {
        self.functions.last().copied().unwrap_or(0)
    }

    fn comments_share(&self) -> f64 {
        percentage(self.comments, self.code)
    }

    fn relative_share(&self) -> f64 {
        percentage(self.relative.len(), self.documentation)
    }

    fn json(&self) -> Value {
        let cycles = |cycle: &Vec<Module>| cycle.iter().map(|m| m.join("::")).collect();
        json!({
            "files": self.files,
            "directories": self.directories,
            "longest_file": self.longest_file,
            "code": self.code,
            "documentation": self.documentation,
            "comments": self.comments,
            "comments_share": self.comments_share(),
            "relative": self.relative.len(),
            "relative_share": self.relative_share(),
            "questions": self.questions.len(),
            rules::FOLDER: self.folders.len(),
            "public": self.public,
            "cycles": self.cycles.iter().map(cycles).collect::<Vec<Vec<String>>>(),
            "functions": {
                "median": self.function(5),
                "p90": self.function(9),
                "longest": self.longest_function(),
            },
        })
    }
}

fn percentage(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "numbers of lines")]
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    share
}

/// Source file of a crate with its module path and parsed lines.
struct File {
    path: PathBuf,
    module: Module,
    source: Source,
}

/// Returns the source files of a crate, except modules that are declared after
/// `#[cfg(test)]`.
fn files_without_tests(src: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut tests = BTreeSet::new();
    for path in self::files(src)? {
        let module = modules::module(path.strip_prefix(src)?);
        let source = Source::read(&path)?;
        for name in &source.test_modules {
            tests.insert([&module[..], std::slice::from_ref(name)].concat());
        }
        files.push(File {
            path,
            module,
            source,
        });
    }
    files.retain(|f| (1..=f.module.len()).all(|n| !tests.contains(&f.module[..n])));
    Ok(files)
}

/// Returns the paths of all Rust files below `directory`, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn table(crates: &[Crate]) {
    println!(
        "{:<18} files dirs longest   code    doc comments     %  relative     %   ? {:>7}  public  cycles  fn median/p90/max",
        "crate",
        rules::FOLDER
    );
    for c in crates {
        let (median, p90, longest) = (c.function(5), c.function(9), c.longest_function());
        println!(
            "{:<18} {:>5} {:>4} {:>7} {:>6} {:>6} {:>8} {:>5.1} {:>9} {:>5.2} {:>3} {:>7} {:>7} {:>7}  {median}/{p90}/{longest}",
            c.name,
            c.files,
            c.directories,
            c.longest_file,
            c.code,
            c.documentation,
            c.comments,
            c.comments_share(),
            c.relative.len(),
            c.relative_share(),
            c.questions.len(),
            c.folders.len(),
            c.public,
            c.cycles.len(),
        );
    }
}
