//! A device in a directory: partitions, firmware's variables, image and programs as files.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod engine;
pub mod server;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use clap::Parser;
use edge_common::{Root, exit, hex};
use edge_signature::dsse::Role;
use edge_signature::os::OsImage;
use edge_signature::{BundleSignature, Digest, Keys, sign_with_pem};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sha::sha256;

pub const NVIDIA: &str = "781e084c-a330-417c-b678-38e696380cb9";
pub const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
pub const CONTENT: &[u8] = b"content of a bundle";
pub const MANIFEST: &[u8] = b"[update]\ncompatible=jetson-orin-nano-devkit\n";

/// Private key in PEM, and its public half.
pub struct Key {
    pub private: Vec<u8>,
    pub public: Vec<u8>,
}

pub fn key() -> Key {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Key {
        private: key.private_key_to_pem_pkcs8().unwrap(),
        public: key.public_key_to_pem().unwrap(),
    }
}

pub fn image() -> OsImage {
    OsImage {
        v: 1,
        version: "2026.11".into(),
        number: 20,
        compatible: "jetson-orin-nano-devkit".into(),
        l4t: "36.5.0".into(),
        size: 1 << 20,
        manifest_hash: hex::encode(sha256(MANIFEST)),
        bundle: format!("sha256:{}", "b".repeat(64)),
        bundle_size: 1,
        data_format: 1,
        read_by_data_format: 1,
        capsule: false,
    }
}

/// Returns a bundle whose manifest a key has signed.
pub fn bundle(content: &[u8], manifest: &[u8], key: &Key) -> Vec<u8> {
    let keys = Keys::from_pems(&[&key.public]).unwrap();
    let signature = BundleSignature::new(manifest, &keys, "2026-11-26T18:49:34Z").unwrap();
    let made = sign_with_pem(&key.private, &signature.to_sign()).unwrap().0;
    let signature = signature.finish(&made);
    let size = (signature.len() as u64).to_be_bytes();
    [content, &signature, &size].concat()
}

pub struct Device {
    pub directory: tempfile::TempDir,
    pub key: Key,
}

impl Device {
    /// A device that runs slot A, on which nothing speaks against an update.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = Self {
            directory,
            key: key(),
        };
        device.runs("APP");
        device.put("/proc/sys/kernel/osrelease", "5.15.185-tegra\n");
        device.put("/proc/uptime", "600.00 1.00\n");
        for part in 1..=2 {
            let name = ["APP", "APP_b"][part - 1];
            let path = format!("/sys/devices/nvme0n1/nvme0n1p{part}");
            device.put(&format!("{path}/uevent"), &format!("PARTNAME={name}\n"));
            device.put(&format!("{path}/size"), "8388608\n");
            device.put(&format!("{path}/dev"), &format!("259:{part}\n"));
            fs::create_dir_all(device.path(&format!("{path}/holders"))).unwrap();
            let link = device.path(&format!("/sys/class/block/nvme0n1p{part}"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(format!("../../devices/nvme0n1/nvme0n1p{part}"), link).unwrap();
            let event = format!("DEVNAME=nvme0n1p{part}\n");
            device.put(&format!("/sys/dev/block/259:{part}/uevent"), &event);
        }
        device.variable("RootfsRedundancyLevel", NVIDIA, 6, 1);
        device.variable("RootfsStatusSlotA", NVIDIA, 7, 0);
        device.variable("RootfsStatusSlotB", NVIDIA, 7, 0);
        device.put(
            "/etc/edge-ai/os.json",
            r#"{"version":"2026.10","number":10,"compatible":"jetson-orin-nano-devkit",
            "kernel":"5.15.185-tegra","data_format":1}"#,
        );
        let modules = "kernel/nbd.ko\nkernel/dm-verity.ko\nkernel/squashfs.ko\n";
        device.put("/lib/modules/5.15.185-tegra/modules.builtin", modules);
        device.put(
            "/sys/firmware/efi/esrt/entries/entry0/fw_version",
            "2360576\n",
        );
        device.put(
            "/sys/firmware/efi/esrt/entries/entry0/last_attempt_status",
            "0\n",
        );
        device.put("/dev/watchdog0", "");
        device.put("/sys/class/thermal/thermal_zone0/temp", "45000\n");
        device.put("/sys/class/nvme/nvme0/state", "live\n");
        device.put("/sys/fs/ext4/nvme0n1p17/errors_count", "0\n");
        device.put("/etc/edge-ai/container-config/os-signing.pub", "");
        fs::write(
            device.path("/etc/edge-ai/container-config/os-signing.pub"),
            &device.key.public,
        )
        .unwrap();
        fs::create_dir_all(device.path("/data/log")).unwrap();
        let bundle = bundle(CONTENT, MANIFEST, &device.key);
        fs::write(device.path("/os.raucb"), bundle).unwrap();
        device.offer(&device.image());
        device.program("/usr/bin/rauc", "echo \"$*\" >>$0.ran");
        device.program("/usr/bin/systemctl", "echo \"$*\" >>$0.ran");
        device.program("/usr/bin/journalctl", "echo a line");
        device.program("/usr/sbin/nvbootctrl", "echo \"$*\" >>$0.ran");
        device
    }

    pub fn root(&self) -> Root {
        Root::at(self.directory.path())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().path(path)
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn program(&self, path: &str, script: &str) {
        self.put(path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets the device run from a partition, in a new boot.
    pub fn runs(&self, partition: &str) {
        let (part, slot) = if partition == "APP_b" { (2, 1) } else { (1, 0) };
        let mounts = format!(
            "25 1 259:{part} / / ro - ext4 /dev/root ro\n26 25 259:17 / /data rw - ext4 x rw\n"
        );
        self.put("/proc/self/mountinfo", &mounts);
        self.variable("BootChainFwCurrent", NVIDIA, 6, slot);
        self.variable("BootChainOsCurrent", NVIDIA, 6, slot);
        let boot = fs::read_to_string(self.path("/proc/sys/kernel/random/boot_id"));
        let boot = boot.unwrap_or_default();
        self.put(
            "/proc/sys/kernel/random/boot_id",
            &format!("{}x", boot.trim()),
        );
    }

    pub fn variable_path(&self, name: &str, vendor: &str) -> PathBuf {
        self.path(&format!("/sys/firmware/efi/efivars/{name}-{vendor}"))
    }

    pub fn variable(&self, name: &str, vendor: &str, attributes: u32, number: u32) {
        let path = self.variable_path(name, vendor);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            [attributes.to_le_bytes(), number.to_le_bytes()].concat(),
        )
        .unwrap();
    }

    pub fn read(&self, name: &str) -> Option<u8> {
        // An empty file is no variable: its first write did not come.
        let bytes = fs::read(self.variable_path(name, NVIDIA)).ok()?;
        bytes.get(4).copied()
    }

    /// Returns the description of the bundle in `/os.raucb`.
    pub fn image(&self) -> OsImage {
        let bytes = fs::read(self.path("/os.raucb")).unwrap();
        OsImage {
            bundle: Digest::of(&bytes).as_str().into(),
            bundle_size: bytes.len() as u64,
            ..image()
        }
    }

    /// Signs the description of an image for the role of the OS.
    pub fn offer(&self, image: &OsImage) {
        self.sign(Role::Os, &self.key, &image.payload());
    }

    pub fn sign(&self, role: Role, key: &Key, payload: &[u8]) {
        let signature = sign_with_pem(&key.private, &role.to_sign(payload))
            .unwrap()
            .0;
        fs::write(self.path("/os.dsse.json"), role.seal(payload, &signature)).unwrap();
    }

    /// Runs a command; returns the exit code and the message.
    pub fn run(&self, arguments: &[&str]) -> (u8, String) {
        let arguments = ["edge-os"].iter().chain(arguments).copied();
        let arguments = arguments.map(|a| match a.strip_prefix('@') {
            Some(path) => self.path(path).display().to_string(),
            None => a.to_string(),
        });
        let args = edge_os::Args::try_parse_from(arguments).unwrap();
        match edge_os::run(&self.root(), &args) {
            Ok(_) => (0, String::new()),
            Err(error) => (exit::code_of(&error), format!("{error:#}")),
        }
    }

    pub fn install(&self) -> (u8, String) {
        self.run(&["install", "@/os.dsse.json", "--bundle", "@/os.raucb"])
    }

    /// Arguments with which a program was run.
    pub fn ran(&self, program: &str) -> Option<String> {
        fs::read_to_string(self.path(&format!("{program}.ran"))).ok()
    }
}

/// Sets or clears a flag that the kernel protects a file by: append-only for a file, so
/// that edge-os, which clears the immutable flag of variables, cannot change it either.
pub fn lock(path: &std::path::Path, on: bool) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let file = fs::File::open(path).unwrap();
    let flag = match path.is_dir() {
        true => IFlags::IMMUTABLE,
        false => IFlags::APPEND,
    };
    let Ok(flags) = ioctl_getflags(&file) else {
        return;
    };
    let flags = if on { flags | flag } else { flags - flag };
    ioctl_setflags(&file, flags).unwrap();
}

impl Drop for Device {
    fn drop(&mut self) {
        let directory = self.path("/sys/firmware/efi/efivars");
        lock(&directory, false);
        for entry in fs::read_dir(directory).unwrap().flatten() {
            lock(&entry.path(), false);
        }
    }
}

/// Restarts into a slot, as the firmware does that follows a request.
pub fn follow(device: &Device, partition: &str) {
    fs::remove_file(device.variable_path("BootChainFwNext", NVIDIA)).unwrap();
    device.variable("BootChainFwStatus", NVIDIA, 7, 0);
    device.runs(partition);
}
