//! Circles of `After=` and `Before=` through the units of the image. `systemd-analyze verify`
//! judges the same units as the generator, among all units of this machine's systemd and
//! of this repository.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use edge_common::Root;
use edge_generator::{Args, run};

const UNITS: &str = "usr/lib/systemd/system";
const ADMINISTRATOR: &str = "etc/systemd/system";

/// Image in a test root.
struct Image(tempfile::TempDir);

/// Units by file name, one case of the corpus.
type Units<'a> = Vec<(&'a str, String)>;

impl Image {
    fn new() -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        for directory in ["usr/lib/systemd", "usr/bin", ADMINISTRATOR, "dev", "proc"] {
            fs::create_dir_all(image.path(directory)).unwrap();
        }
        let mut copy = Command::new("cp");
        copy.args(["-a", "/usr/lib/systemd/system"])
            .arg(image.path(UNITS));
        assert!(copy.status().unwrap().success());
        // The engine's units, as the vendor has them, are not on every machine.
        for name in ["docker", "containerd"] {
            let text = "[Unit]\nAfter=network-online.target\nWants=network-online.target\n\
                 [Service]\nExecStart=/usr/bin/edge-docker\n[Install]\nWantedBy=multi-user.target\n";
            fs::write(image.path(UNITS).join(format!("{name}.service")), text).unwrap();
        }
        let units = repository_units();
        assert!(units.len() > 30, "{units:?}");
        for unit in &units {
            let name = unit.file_name().unwrap();
            fs::copy(unit, image.path(UNITS).join(name)).unwrap();
        }
        fs::write(image.path("proc/meminfo"), "MemTotal: 7990144 kB\n").unwrap();
        fs::copy("/bin/true", image.path("usr/bin/edge-docker")).unwrap();
        for name in ["docker.service", "containerd.service", "ssh.service"] {
            image.systemctl("enable", name);
        }
        for unit in units {
            if fs::read_to_string(&unit).unwrap().contains("[Install]") {
                image.systemctl("enable", unit.file_name().unwrap().to_str().unwrap());
            }
        }
        image
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn systemctl(&self, verb: &str, unit: &str) {
        let mut systemctl = Command::new("systemctl");
        systemctl.arg("--quiet").arg("--root").arg(self.0.path());
        let output = systemctl.args([verb, unit]).output().unwrap();
        assert!(output.status.success(), "{unit}: {output:?}");
    }

    /// Returns the messages of the generator.
    fn generate(&self, units: &Units) -> String {
        for directory in ["data", "normal", "early", "late"] {
            let _ = fs::remove_dir_all(self.path(directory));
            fs::create_dir(self.path(directory)).unwrap();
        }
        write(&self.path("data/services"), units);
        fs::write(self.path("dev/kmsg"), "").unwrap();
        let directories = ["normal", "early", "late"].map(|d| self.path(d));
        let args = [Path::new("x")]
            .into_iter()
            .chain(directories.iter().map(|d| &**d));
        run(&Root::at(self.0.path()), &Args::parse_from(args)).unwrap();
        fs::read_to_string(self.path("dev/kmsg")).unwrap()
    }

    /// Returns the messages of systemd about cycles, with the units in the place of the
    /// administrator's.
    fn verify(&self, units: &Units) -> String {
        let place = self.path(ADMINISTRATOR);
        write(&place, units);
        let names: Vec<_> = units
            .iter()
            .map(|(name, _)| *name)
            .filter(|n| !n.contains('/'))
            .collect();
        for name in &names {
            if units
                .iter()
                .any(|(n, text)| n == name && text.contains("[Install]"))
            {
                self.systemctl("enable", name);
            }
        }
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no"])
            .arg(format!("--root={}", self.0.path().display()));
        let output = verify.arg("default.target").args(&names).output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        for name in &names {
            self.systemctl("disable", name);
            let _ = fs::remove_file(place.join(name));
            let _ = fs::remove_dir_all(place.join(format!("{name}.d")));
        }
        messages
            .lines()
            .filter(|line| line.contains("cycle"))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

fn write(directory: &Path, units: &Units) {
    for (name, text) in units {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Returns the unit files of the repository.
fn repository_units() -> Vec<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut directories: Vec<_> = fs::read_dir(repository.join("crates")).unwrap().collect();
    let recipes = repository.join("yocto/meta-edge-secure/recipes-edge");
    directories.extend(fs::read_dir(recipes).unwrap());
    let directories = directories.into_iter().map(|d| d.unwrap().path());
    let files = directories.flat_map(|d| [d.join("systemd"), d.join("files")]);
    let files = files.filter_map(|d| fs::read_dir(d).ok()).flatten();
    let kinds = ["service", "socket", "timer", "path", "mount", "target"];
    let is_unit = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| kinds.iter().any(|k| e == *k))
    };
    files.map(|f| f.unwrap().path()).filter(is_unit).collect()
}

/// Returns kind, title and units of all cases.
fn cases(text: &str) -> Vec<(&str, &str, Units<'_>)> {
    let mut cases = Vec::new();
    for case in text.split("\n== ").skip(1) {
        let mut parts = case.split("\n-- ");
        let (kind, title) = parts.next().unwrap().split_once(": ").unwrap();
        let unit = |part: &'_ str| part.split_once('\n').unwrap().1.to_string() + "\n";
        let units = parts.map(|part| (part.lines().next().unwrap(), unit(part)));
        cases.push((kind, title, units.collect()));
    }
    cases
}

#[test]
fn the_generator_and_systemd_find_the_same_circles() {
    let image = Image::new();
    assert_eq!(image.verify(&Vec::new()), "", "the image itself");
    let cases = cases(include_str!("cases.txt"));
    let count = |wanted: &str| cases.iter().filter(|(kind, ..)| *kind == wanted).count();
    assert!(count("cycle") >= 30 && count("ordinary") >= 15);
    let mut wrong = String::new();
    for (kind, title, units) in &cases {
        let (ours, systemd) = (image.generate(units), image.verify(units));
        let refused = ours.contains("waits for itself");
        let expected = (*kind != "ordinary", *kind == "cycle");
        if (refused, !systemd.is_empty()) != expected {
            wrong += &format!("{kind}: {title}\ngenerator: {ours}\nsystemd: {systemd}\n");
        }
        if *kind == "ordinary" && !ours.is_empty() {
            wrong += &format!("{title}: {ours}");
        }
        if refused {
            // What the generator leaves is no circle any more.
            let left = units
                .iter()
                .filter(|(name, _)| image.path("normal").join(name).is_symlink());
            let left: Units = left.cloned().collect();
            let after = image.verify(&left);
            if !after.is_empty() {
                wrong += &format!("{title}: left: {after}");
            }
        }
    }
    assert_eq!(wrong, "");
}

/// Links and masks of the administrator, and drop-ins of targets.
#[test]
fn links_masks_and_drop_ins_of_the_image_count() {
    let image = Image::new();
    let unit = |after: &str| {
        let text = format!(
            "[Unit]\nAfter={after}\n[Service]\nExecStart=/usr/bin/edge-docker x\n[Install]\nWantedBy=multi-user.target\n"
        );
        vec![("a.service", text)]
    };
    let judge = |units: &Units, expected: bool| {
        let (ours, systemd) = (image.generate(units), image.verify(units));
        assert_eq!(ours.contains("waits for itself"), expected, "{ours}");
        assert_eq!(!systemd.is_empty(), expected, "{systemd}");
    };
    let late = image.path(UNITS).join("late.service");
    fs::write(&late, "[Service]\nExecStart=/usr/bin/edge-docker\n").unwrap();
    let enabled = image
        .path(ADMINISTRATOR)
        .join("multi-user.target.wants/late.service");
    symlink("/usr/lib/systemd/system/late.service", enabled).unwrap();
    judge(&unit("late.service"), false);
    let drop_in = image.path(ADMINISTRATOR).join("late.service.d");
    fs::create_dir_all(&drop_in).unwrap();
    fs::write(drop_in.join("x.conf"), "[Unit]\nAfter=multi-user.target\n").unwrap();
    judge(&unit("late.service"), true);
    symlink("late.service", image.path(UNITS).join("other.service")).unwrap();
    judge(&unit("other.service"), true);
    symlink("/dev/null", image.path(ADMINISTRATOR).join("late.service")).unwrap();
    judge(&unit("late.service"), false);
}
