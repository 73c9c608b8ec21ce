//! Bundles of the operating system, made and read by the RAUC that `scripts/setup` builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host;

/// Returns the path of RAUC.
///
/// # Panics
/// If RAUC is not built.
pub fn rauc() -> PathBuf {
    let path = host::cache().join("rauc/rauc");
    assert!(path.exists(), "rauc is missing: run scripts/setup");
    path
}

/// Bundle that a build makes: it is signed with a key that the build throws away.
pub struct Bundle<'a> {
    /// Machine for which the image is.
    pub compatible: &'a str,
    /// Version for people.
    pub version: &'a str,
    /// Root file system.
    pub rootfs: &'a [u8],
}

impl Bundle<'_> {
    /// Builds the bundle `os.raucb` in an existing directory.
    ///
    /// # Panics
    /// If RAUC or OpenSSL fails.
    pub fn build(&self, directory: &Path) -> PathBuf {
        let content = directory.join("content");
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("rootfs.ext4"), self.rootfs).unwrap();
        let manifest = format!(
            "[update]\ncompatible={}\nversion={}\n\n[bundle]\nformat=verity\n\n\
             [image.rootfs]\nfilename=rootfs.ext4\nadaptive=block-hash-index\n",
            self.compatible, self.version
        );
        fs::write(content.join("manifest.raucm"), manifest).unwrap();
        let [key, certificate] = ["build.key", "build.pem"].map(|n| directory.join(n));
        let bundle = directory.join("os.raucb");
        let _ = fs::remove_file(&bundle);
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                "/CN=build",
                "-keyout",
            ])
            .args([&key, Path::new("-out"), &certificate]));
        run(Command::new(rauc())
            .arg("bundle")
            .args([
                format!("--cert={}", certificate.display()),
                format!("--key={}", key.display()),
            ])
            .args([&content, &bundle]));
        fs::remove_dir_all(content).unwrap();
        bundle
    }
}

fn run(command: &mut Command) {
    let (code, text) = super::run(command);
    assert_eq!(code, 0, "{command:?}: {text}");
}
