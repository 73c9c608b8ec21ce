//! Device nodes that amount to root on the device.

/// Families of names below `/dev`, each with what its devices give. In a name, `#` at the
/// end stands for a text that begins with a digit, `~` for a letter and `@` for up to
/// three letters, both with an optional number, and `*` for any text.
const FAMILIES: [(&[&str], &str); 9] = [
    (
        &[
            "sd@",
            "hd~",
            "vd~",
            "xvd~",
            "dasd~",
            "nvme*",
            "ng#",
            "mmcblk*",
            "mtd*",
            "ubi*",
            "loop*",
            "dm-*",
            "md#",
            "md_*",
            "zram*",
            "ram#",
            "nbd#",
            "rbd#",
            "drbd*",
            "bcache*",
            "pmem*",
            "dax*",
            "ndctl#",
            "nmem#",
            "ublk*",
            "zd#",
            "zvol",
            "zfs",
            "sg#",
            "bsg",
            "sr#",
            "scd#",
            "cdrom",
            "st#",
            "nst#",
            "sch#",
            "pktcdvd",
            "raw",
            "rawctl",
            "rpmb*",
            "ufs*",
            "btrfs-control",
            "bcachefs-ctl",
            "device-mapper",
            "mapper",
            "root",
            "disk",
            "block",
            "md",
            "megaraid*",
            "mpt#",
            "cciss*",
            "fd#",
        ],
        "which reads and writes a disk below its file system",
    ),
    (
        &[
            "mem", "kmem", "port", "oldmem", "crash", "core", "kcore", "vmcore", "vc-mem",
            "agpgart", "snapshot", "cpu", "mcelog", "nvram", "xen", "mst",
        ],
        "which reads or writes the memory of the kernel or the registers of the machine",
    ),
    (
        &["vfio", "vfio-*", "iommu", "uio#", "fw#"],
        "which lets a device write to all memory",
    ),
    (
        &["uinput", "uhid", "userio", "vhci", "vhci_hcd"],
        "which types into the consoles of the device",
    ),
    (
        &["console", "tty#", "ttyTCU*", "hvc*", "xvc#", "vcs*", "pts"],
        "which is a console of the device",
    ),
    (
        &["tpm*", "tee#", "teepriv#", "tee", "optee*", "trusty*"],
        "which holds the keys of the device",
    ),
    (
        &["cuse", "autofs", "ipmi*", "mei", "mei#"],
        "which provides devices or mounts to the device, or controls its board",
    ),
    (
        &["shm", "mqueue", "hugepages*", "log", "initctl"],
        "which processes of the device share",
    ),
    (
        &["char", "fd", "stdin", "stdout", "stderr", ".*"],
        "which is another name for any device",
    ),
];
/// Directories below `/dev` with ordinary devices. In others, such as those of volume
/// groups, a name says nothing about the device.
const DIRECTORIES: [&str; 19] = [
    "accel",
    "bus",
    "dma_heap",
    "dri",
    "dsp",
    "dvb",
    "gpio",
    "i2c",
    "iio",
    "infiniband",
    "input",
    "net",
    "nvgpu",
    "nvidia-caps",
    "nvidia-caps-imex-channels",
    "serial",
    "snd",
    "usb",
    "v4l",
];

/// Returns why a device node amounts to root, `None` for an ordinary one.
pub(super) fn reason(path: &str) -> Option<&'static str> {
    let Some(name) = path.strip_prefix("/dev/") else {
        return Some("which is not below /dev");
    };
    if name.contains(['*', '?', '[', '\\', '{']) {
        return Some("which is a pattern and may be any device");
    }
    // Some distributions have the same node in a directory, such as input/uinput.
    for part in name.split('/') {
        let member = |names: &[&str]| names.iter().any(|family| is_member(part, family));
        if let Some((_, why)) = FAMILIES.iter().find(|(names, _)| member(names)) {
            return Some(why);
        }
    }
    let directory = name.split_once('/').map(|(directory, _)| directory);
    match directory.is_none_or(|directory| DIRECTORIES.contains(&directory)) {
        true => None,
        false => Some("which is in a directory of unknown devices"),
    }
}

fn is_member(name: &str, family: &str) -> bool {
    let Some((last, _)) = family.char_indices().next_back() else {
        return false;
    };
    let (stem, kind) = family.split_at(last);
    let Some(rest) = name.strip_prefix(stem) else {
        return false;
    };
    match kind {
        "*" => true,
        "#" => rest.starts_with(|c: char| c.is_ascii_digit()),
        "~" | "@" => {
            let number = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
            let letters = rest.len() - number.len();
            let most = if kind == "@" { 3 } else { 1 };
            (1..=most).contains(&letters) && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => name == family,
    }
}
