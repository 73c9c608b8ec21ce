//! Choice of the data partition among several disks, with image files as partitions and
//! a sysfs in the shape of the kernel's.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use clap::Parser;
use edge_common::{Root, exit};
use edge_partition::Args;
use edge_partition::exit_code::{AMBIGUOUS, DEVICE_ABSENT};

const NVME: &str = "platform/14160000.pcie/pci0004:00/0004:01:00.0/nvme/nvme0/nvme0n1";
const SECOND: &str = "platform/14100000.pcie/pci0001:00/0001:01:00.0/nvme/nvme1/nvme1n1";
const STICK: &str = "platform/3610000.usb/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda";
const CARD: &str = "platform/3400000.mmc/mmc_host/mmc1/mmc1:aaaa/block/mmcblk1";

struct Device(tempfile::TempDir);

impl Device {
    /// Creates a device whose root file system is on `nvme0n1p1`.
    fn new() -> Self {
        let device = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(device.path("usr/sbin")).unwrap();
        for tool in ["blkid", "mkfs.ext4", "tune2fs", "e2fsck", "e2undo"] {
            let real = format!("/usr/sbin/{tool}");
            let link = device.path(&format!("usr/sbin/{tool}"));
            assert!(PathBuf::from(&real).exists(), "{tool} is missing");
            symlink(real, link).unwrap();
        }
        device.add(NVME, "nvme0n1p1", "APP", "259:1");
        device.root_is("259:1", "ext4 /dev/nvme0n1p1");
        device
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn root_is(&self, number: &str, source: &str) {
        let lines = format!(
            "1 1 0:2 / / rw - rootfs rootfs rw\n22 1 0:21 / /proc rw - proc proc rw\n\
             30 1 {number} / / ro,relatime shared:1 - {source} ro\n\
             31 30 7:9 / /mnt rw - ext4 /dev/sda1 rw\n"
        );
        fs::create_dir_all(self.path("proc/self")).unwrap();
        fs::write(self.path("proc/self/mountinfo"), lines).unwrap();
    }

    /// Adds a partition with an empty image as its node.
    fn add(&self, disk: &str, name: &str, label: &str, number: &str) {
        let place = self.path("sys/devices").join(disk).join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("partition"), "1\n").unwrap();
        let uevent = format!("DEVNAME={name}\nDEVTYPE=partition\nPARTN=1\nPARTNAME={label}\n");
        fs::write(place.join("uevent"), uevent).unwrap();
        for (directory, link) in [("sys/class/block", name), ("sys/dev/block", number)] {
            fs::create_dir_all(self.path(directory)).unwrap();
            symlink(&place, self.path(directory).join(link)).unwrap();
        }
        fs::create_dir_all(self.path("dev/disk/by-partlabel")).unwrap();
        let image = self.path("dev").join(name);
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        // The link of udev points to the partition that appeared last.
        let link = self.path("dev/disk/by-partlabel").join(label);
        let _ = fs::remove_file(&link);
        symlink(image, link).unwrap();
    }

    fn attribute(&self, disk: &str, name: &str, value: &str) {
        let path = self.path("sys/devices").join(disk).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }

    /// Runs the boot step and returns the name of the partition that `data.mount` gets.
    fn run(&self) -> Result<String, (u8, String)> {
        let args = Args::parse_from(["x", "--timeout", "0"]);
        edge_partition::run(&Root::at(self.0.path()), &args)
            .map_err(|e| (exit::code_of(&e), format!("{e:#}")))?;
        let link = fs::read_link(self.path("run/edge-ai/data-partition")).unwrap();
        Ok(link.file_name().unwrap().to_string_lossy().into_owned())
    }

    fn is_untouched(&self, name: &str) -> bool {
        fs::read(self.path("dev").join(name))
            .unwrap()
            .iter()
            .all(|b| *b == 0)
    }
}

#[test]
fn the_partition_on_the_disk_of_the_root_file_system_is_taken() {
    let device = Device::new();
    device.add(NVME, "nvme0n1p17", "DATA", "259:17");
    device.add(SECOND, "nvme1n1p1", "DATA", "259:30");
    device.add(STICK, "sda1", "DATA", "8:1");
    assert_eq!(device.run().unwrap(), "nvme0n1p17");
    assert!(device.is_untouched("nvme1n1p1") && device.is_untouched("sda1"));
    // Mapped devices, and file systems with a device number of their own.
    let place = device.path("sys/devices/virtual/block/dm-0");
    fs::create_dir_all(place.join("slaves")).unwrap();
    symlink(
        device.path("sys/class/block/nvme0n1p1"),
        place.join("slaves/nvme0n1p1"),
    )
    .unwrap();
    symlink(&place, device.path("sys/dev/block/253:0")).unwrap();
    for (number, source) in [
        ("253:0", "ext4 /dev/mapper/root"),
        ("0:40", "btrfs /dev/nvme0n1p1"),
    ] {
        device.root_is(number, source);
        assert_eq!(device.run().unwrap(), "nvme0n1p17", "{source}");
    }
}

#[test]
fn a_disk_that_can_be_unplugged_is_never_taken_or_formatted() {
    let removable = |disk: &str, name: &str| {
        let device = Device::new();
        device.add(disk, name, "DATA", "8:1");
        device
    };
    let card = removable(CARD, "mmcblk1p1");
    card.attribute(CARD, "device/type", "SD");
    let cartridge = removable(SECOND, "nvme1n1p1");
    cartridge.attribute(SECOND, "removable", "1");
    let unplugged = [
        (removable(STICK, "sda1"), "sda1"),
        (card, "mmcblk1p1"),
        (cartridge, "nvme1n1p1"),
    ];
    for (device, name) in unplugged {
        let (code, message) = device.run().unwrap_err();
        assert_eq!(code, DEVICE_ABSENT, "{message}");
        assert!(
            message.contains(name) && message.contains("removable"),
            "{message}"
        );
        assert!(device.is_untouched(name), "{name}");
        assert!(!device.path("run/edge-ai/data-partition").exists());
    }
    // A stick that carries the root file system is one, too.
    let device = removable(STICK, "sda2");
    device.root_is("8:1", "ext4 /dev/sda1");
    assert_eq!(device.run().unwrap_err().0, DEVICE_ABSENT);
}

#[test]
fn another_fixed_disk_is_taken_only_alone() {
    let device = Device::new();
    device.add(SECOND, "nvme1n1p1", "DATA", "259:30");
    device.add(STICK, "sda1", "DATA", "8:1");
    device.attribute(SECOND, "removable", "0");
    assert_eq!(device.run().unwrap(), "nvme1n1p1");
    device.add("pci/third/nvme2n1", "nvme2n1p1", "DATA", "259:40");
    let (code, message) = device.run().unwrap_err();
    assert_eq!(code, AMBIGUOUS, "{message}");
    assert!(device.is_untouched("nvme2n1p1") && device.is_untouched("sda1"));
}

#[test]
fn the_number_of_a_partition_means_nothing() {
    // With two slots partition 16 is NVIDIA's empty "reserved".
    let device = Device::new();
    device.add(NVME, "nvme0n1p16", "reserved", "259:16");
    assert_eq!(device.run().unwrap_err().0, DEVICE_ABSENT);
    assert!(device.is_untouched("nvme0n1p16"));
    device.add(NVME, "nvme0n1p17", "DATA", "259:17");
    assert_eq!(device.run().unwrap(), "nvme0n1p17");
    for label in ["DATA2", "data", "XDATA"] {
        let device = Device::new();
        device.add(NVME, "nvme0n1p16", label, "259:16");
        assert_eq!(device.run().unwrap_err().0, DEVICE_ABSENT, "{label}");
    }
}
