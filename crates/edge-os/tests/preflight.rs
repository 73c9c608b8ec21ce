//! Each way in which a change of the slot fails silently, planted: refused before the
//! first byte is written, with its reason and exit code.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod device;

use std::fs;
use std::os::unix::fs::symlink;

use device::{CONTENT, Device, GLOBAL, MANIFEST, NVIDIA, bundle, image, key, lock};
use edge_os::exit_code::{BUNDLE, DEVICE, FIRMWARE, IMAGE, PHASE};
use edge_signature::dsse::Role;
use serde_json::json;

/// Plants a fault and expects the refusal of `install`, without a write.
fn refused(code: u8, check: &str, plant: impl Fn(&Device)) {
    let device = Device::new();
    plant(&device);
    let (found, message) = device.install();
    assert_eq!(found, code, "{check}: {message}");
    assert!(
        message.starts_with(&format!("refused: {check}")),
        "{check}: {message}"
    );
    assert_eq!(device.ran("/usr/bin/rauc"), None, "{check}: written");
    assert_eq!(device.ran("/usr/bin/systemctl"), None, "{check}: restarted");
    assert_eq!(
        device
            .read("BootChainFwNext")
            .filter(|_| check != "pending"),
        None,
        "{check}"
    );
}

#[test]
fn a_sound_device_is_updated() {
    let device = Device::new();
    assert_eq!(
        device
            .run(&["check", "@/os.dsse.json", "--bundle", "@/os.raucb"])
            .0,
        0
    );
    assert_eq!(device.run(&["check"]).0, 0);
    assert_eq!(device.ran("/usr/bin/rauc"), None);
    assert_eq!(device.install(), (0, String::new()));
    let hash = format!("--require-manifest-hash={}", image().manifest_hash);
    let ran = device.ran("/usr/bin/rauc").unwrap();
    assert!(ran.contains(&hash), "{ran}");
    assert!(ran.contains("--override-boot-slot=A"), "{ran}");
    let anchors = fs::read_to_string(device.path("/run/edge-os/keyring.pem")).unwrap();
    assert_eq!(anchors.matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(device.ran("/usr/bin/systemctl").unwrap(), "reboot\n");
    assert_eq!(device.read("BootChainFwNext"), Some(1));
    // Again, before the restart.
    let (code, message) = device.install();
    assert_eq!(code, FIRMWARE, "{message}");
    assert!(message.contains("edge-os rollback"), "{message}");
    assert_eq!(device.run(&["rollback"]).0, 0);
    assert_eq!(device.read("BootChainFwNext"), None);
    assert_eq!(device.install().0, 0);
}

#[test]
fn firmware() {
    refused(FIRMWARE, "slots", |d| {
        d.variable("BootChainOsCurrent", NVIDIA, 6, 1)
    });
    refused(FIRMWARE, "slots", |d| {
        d.variable("BootChainFwCurrent", NVIDIA, 6, 1)
    });
    refused(FIRMWARE, "slots", |d| {
        d.put("/sys/devices/nvme0n1/nvme0n1p1/uevent", "PARTNAME=UDA\n")
    });
    refused(FIRMWARE, "redundancy", |d| {
        d.variable("RootfsRedundancyLevel", NVIDIA, 6, 0)
    });
    refused(FIRMWARE, "redundancy", |d| {
        d.variable("RootfsRedundancyLevel", NVIDIA, 7, 1)
    });
    refused(FIRMWARE, "redundancy", |d| {
        fs::remove_file(d.variable_path("RootfsRedundancyLevel", NVIDIA)).unwrap();
    });
    refused(FIRMWARE, "status", |d| {
        fs::remove_file(d.variable_path("RootfsStatusSlotB", NVIDIA)).unwrap();
    });
    refused(FIRMWARE, "status", |d| {
        fs::write(
            d.variable_path("RootfsStatusSlotB", NVIDIA),
            [7, 0, 0, 0, 0],
        )
        .unwrap();
    });
    refused(FIRMWARE, "status", |d| {
        d.variable("RootfsStatusSlotA", NVIDIA, 7, 0xff)
    });
    refused(FIRMWARE, "pending", |d| {
        fs::write(d.variable_path("BootNext", GLOBAL), [7, 0, 0, 0, 1, 0]).unwrap();
    });
    refused(FIRMWARE, "pending", |d| {
        d.variable("BootChainFwNext", NVIDIA, 7, 1)
    });
    refused(FIRMWARE, "pending", |d| {
        fs::write(
            d.variable_path("OsIndications", GLOBAL),
            [7, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
        )
        .unwrap();
    });
    refused(FIRMWARE, "pending", |d| {
        d.put("/boot/efi/EFI/UpdateCapsule/TEGRA_BL.Cap", "x")
    });
    refused(FIRMWARE, "verifier", |d| {
        let wants = d.path("/usr/lib/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        symlink(
            "../nv_update_verifier.service",
            wants.join("nv_update_verifier.service"),
        )
        .unwrap();
    });
}

/// Variables that cannot be written. Needs root, and a file system with flags.
#[test]
fn locked_variables() {
    refused(FIRMWARE, "last-change", |d| {
        let path = d.variable_path("BootChainFwStatus", NVIDIA);
        d.variable("BootChainFwStatus", NVIDIA, 7, 0);
        lock(&path, true);
    });
    refused(FIRMWARE, "variables", |d| {
        lock(&d.path("/sys/firmware/efi/efivars"), true)
    });
}

#[test]
fn condition_of_the_device() {
    refused(DEVICE, "target", |d| {
        d.put("/sys/devices/nvme0n1/nvme0n1p2/uevent", "PARTNAME=UDA\n")
    });
    refused(DEVICE, "target", |d| {
        d.put("/sys/class/block/sda1/uevent", "PARTNAME=APP_b\n");
    });
    refused(DEVICE, "target", |d| {
        fs::remove_file(d.path("/sys/class/block/nvme0n1p2")).unwrap();
        d.put("/sys/devices/sda/sda1/uevent", "PARTNAME=APP_b\n");
        symlink("../../devices/sda/sda1", d.path("/sys/class/block/sda1")).unwrap();
    });
    refused(DEVICE, "target", |d| {
        d.put("/sys/devices/nvme0n1/nvme0n1p2/size", "2047\n")
    });
    refused(DEVICE, "target", |d| {
        let mounts = fs::read_to_string(d.path("/proc/self/mountinfo")).unwrap();
        d.put(
            "/proc/self/mountinfo",
            &(mounts + "30 25 259:2 / /mnt rw - ext4 x rw\n"),
        );
    });
    refused(DEVICE, "target", |d| {
        d.put("/sys/devices/nvme0n1/nvme0n1p2/holders/dm-0", "")
    });
    refused(DEVICE, "kernel", |d| {
        d.put("/proc/sys/kernel/osrelease", "5.15.148-tegra\n");
        let modules = "kernel/nbd.ko\nkernel/dm-verity.ko\nkernel/squashfs.ko\n";
        d.put("/lib/modules/5.15.148-tegra/modules.builtin", modules);
    });
    refused(DEVICE, "kernel", |d| d.put("/etc/edge-ai/os.json", "{}"));
    refused(DEVICE, "data", |d| {
        fs::remove_dir(d.path("/data/log")).unwrap()
    });
    refused(DEVICE, "data", |d| {
        let huge = edge_signature::os::OsImage {
            size: 1 << 60,
            ..image()
        };
        d.offer(&huge);
        d.put(
            "/sys/devices/nvme0n1/nvme0n1p2/size",
            &format!("{}\n", 1u64 << 54),
        );
    });
    for module in ["nbd", "dm-verity", "squashfs"] {
        refused(DEVICE, "modules", |d| {
            let path = "/lib/modules/5.15.185-tegra/modules.builtin";
            let modules = fs::read_to_string(d.path(path)).unwrap();
            d.put(path, &modules.replace(module, "x"));
        });
    }
}

#[test]
fn health_of_the_device() {
    refused(DEVICE, "watchdog", |d| {
        fs::remove_file(d.path("/dev/watchdog0")).unwrap()
    });
    refused(DEVICE, "disk", |d| {
        d.put("/sys/fs/ext4/nvme0n1p17/errors_count", "3\n")
    });
    refused(DEVICE, "disk", |d| {
        d.put("/sys/class/nvme/nvme0/state", "resetting\n")
    });
    refused(DEVICE, "temperature", |d| {
        d.put("/sys/class/thermal/thermal_zone1/temp", "99000\n")
    });
}

#[test]
fn image_and_bundle() {
    type Change = fn(&mut edge_signature::os::OsImage);
    let changes: [(u8, &str, Change); 7] = [
        (IMAGE, "firmware", |i| i.l4t = "36.4.0".into()),
        (IMAGE, "capsule", |i| i.capsule = true),
        (IMAGE, "board", |i| {
            i.compatible = "jetson-agx-orin-devkit".into()
        }),
        (IMAGE, "number", |i| i.number = 9),
        (IMAGE, "one-way", |i| {
            (i.data_format, i.read_by_data_format) = (3, 2)
        }),
        (BUNDLE, "bundle", |i| i.bundle_size += 1),
        (DEVICE, "target", |i| i.size = 1 << 40),
    ];
    for (code, check, change) in changes {
        refused(code, check, |d| {
            let mut image = d.image();
            change(&mut image);
            d.offer(&image);
        });
    }
    refused(IMAGE, "firmware", |d| {
        fs::remove_dir_all(d.path("/sys/firmware/efi/esrt")).unwrap();
    });
    refused(BUNDLE, "bundle", |d| {
        fs::remove_file(d.path("/os.raucb")).unwrap()
    });
    refused(BUNDLE, "bundle", |d| {
        fs::write(d.path("/os.raucb"), "truncated").unwrap()
    });
    // The floor, and not the running image alone.
    refused(IMAGE, "number", |d| {
        edge_os::floor::raise(&d.root(), 21).unwrap()
    });
    let device = Device::new();
    let newer = edge_signature::os::OsImage {
        data_format: 3,
        read_by_data_format: 2,
        ..device.image()
    };
    device.offer(&newer);
    let (code, message) = device.run(&[
        "install",
        "@/os.dsse.json",
        "--bundle",
        "@/os.raucb",
        "--one-way",
    ]);
    assert_eq!(code, 0, "{message}");
}

/// A bundle that is not the described one, or whose signature RAUC would refuse.
#[test]
fn bundles() {
    type Plant = fn(&Device) -> Vec<u8>;
    let plants: [(&str, Plant); 9] = [
        ("is no bundle", |_| b"anything".to_vec()),
        ("is no bundle", |_| vec![0xff; 100_000]),
        ("is no bundle", |_| vec![0; 8]),
        ("is no bundle", |d| {
            let bytes = bundle(CONTENT, MANIFEST, &d.key);
            bytes[..bytes.len() - 1].to_vec()
        }),
        ("did not sign it", |_| bundle(CONTENT, MANIFEST, &key())),
        ("did not sign it", |_| {
            [CONTENT, &[1; 70], &70u64.to_be_bytes()].concat()
        }),
        ("did not sign it", |d| {
            let mut bytes = bundle(CONTENT, MANIFEST, &d.key);
            let end = bytes.len();
            bytes[end - 20] ^= 1;
            bytes
        }),
        ("not the one that is described", |d| {
            bundle(CONTENT, b"[update]\ncompatible=other\n", &d.key)
        }),
        ("not the one that is described", |d| {
            bundle(CONTENT, b"", &d.key)
        }),
    ];
    for (expected, plant) in plants {
        refused(BUNDLE, "bundle", |d| {
            fs::write(d.path("/os.raucb"), plant(d)).unwrap();
            d.offer(&d.image());
        });
        let device = Device::new();
        fs::write(device.path("/os.raucb"), plant(&device)).unwrap();
        device.offer(&device.image());
        let (_, message) = device.install();
        assert!(message.contains(expected), "{message}");
        assert!(!device.path("/data/os/state.json").exists());
        assert_eq!(device.read("RootfsStatusSlotB"), Some(0));
    }
    // Exchanged after the signature was made: same size, same manifest.
    refused(BUNDLE, "bundle: ", |d| {
        let exchanged = [b"C", &CONTENT[1..]].concat();
        let offered = d.image();
        let genuine = fs::read(d.path("/os.raucb")).unwrap();
        let bytes = [&exchanged, &genuine[CONTENT.len()..]].concat();
        fs::write(d.path("/os.raucb"), bytes).unwrap();
        d.offer(&offered);
    });
}

#[test]
fn signatures() {
    let payload = image().payload();
    refused(IMAGE, "signature", |d| d.sign(Role::Os, &key(), &payload));
    for role in Role::ALL.into_iter().filter(|r| *r != Role::Os) {
        refused(IMAGE, "signature", |d| d.sign(role, &d.key, &payload));
    }
    refused(IMAGE, "signature", |d| {
        fs::remove_file(d.path("/etc/edge-ai/container-config/os-signing.pub")).unwrap();
        // Keys of the other roles sign no OS.
        for name in [
            "container-signing.pub",
            "engineer-signing.pub",
            "set-signing.pub",
        ] {
            let path = d.path("/etc/edge-ai/container-config").join(name);
            fs::write(path, &d.key.public).unwrap();
        }
    });
    for text in ["", "{", "null"] {
        refused(IMAGE, "signature", |d| d.put("/os.dsse.json", text));
    }
    refused(IMAGE, "signature", |d| {
        d.put("/os.dsse.json", &" ".repeat(20_000))
    });
    refused(IMAGE, "signature", |d| {
        fs::remove_file(d.path("/os.dsse.json")).unwrap()
    });
    // Signed, but malformed.
    let valid = serde_json::to_value(image()).unwrap();
    for (field, value) in [
        ("v", json!(2)),
        ("version", json!("")),
        ("version", json!("a b")),
        ("compatible", json!("x".repeat(65))),
        ("l4t", json!("36.5")),
        ("l4t", json!("36.5.0.1")),
        ("l4t", json!("+36.5.0")),
        ("manifest_hash", json!("A".repeat(64))),
        ("manifest_hash", json!("a".repeat(63))),
        ("bundle", json!("b".repeat(64))),
        ("size", json!(0)),
        ("number", json!(-1)),
        ("newer", json!(1)),
    ] {
        let mut changed = valid.clone();
        changed[field] = value;
        let payload = changed.to_string();
        refused(IMAGE, "signature", |d| {
            d.sign(Role::Os, &d.key, payload.as_bytes())
        });
    }
}

#[test]
fn phases() {
    let armed = |d: &Device| {
        assert_eq!(d.install().0, 0);
        for program in ["/usr/bin/rauc", "/usr/bin/systemctl"] {
            fs::remove_file(d.path(&format!("{program}.ran"))).unwrap();
        }
        fs::remove_file(d.variable_path("BootChainFwNext", NVIDIA)).unwrap();
    };
    // On trial.
    refused(PHASE, "under-way", |d| {
        armed(d);
        d.runs("APP_b");
    });
    // Came back, and not settled.
    refused(PHASE, "under-way", |d| {
        armed(d);
        d.runs("APP");
    });
    // Settled: the very image that came back is refused, another one is not.
    refused(IMAGE, "known-bad", |d| {
        armed(d);
        d.runs("APP");
        assert_eq!(d.run(&["settle"]).0, 0);
    });
    let device = Device::new();
    armed(&device);
    device.runs("APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    device.offer(&edge_signature::os::OsImage {
        number: 21,
        ..device.image()
    });
    assert_eq!(device.install().0, 0);
    assert_eq!(Device::new().run(&["rollback"]).0, PHASE);
}

#[test]
fn an_interrupted_write_is_repeated_and_a_failed_one_is_no_request() {
    let device = Device::new();
    device.program("/usr/bin/rauc", "echo 'LastError: signature' >&2; exit 1");
    let (code, message) = device.install();
    assert_eq!(code, BUNDLE);
    assert!(message.contains("LastError: signature"), "{message}");
    // Half of a system is in it.
    assert_eq!(device.read("RootfsStatusSlotB"), Some(0xff));
    assert_eq!(device.read("BootChainFwNext"), None);
    assert_eq!(device.ran("/usr/bin/systemctl"), None);
    device.runs("APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    assert_eq!(device.read("RootfsStatusSlotB"), Some(0xff));
    device.program("/usr/bin/rauc", "echo \"$*\" >>$0.ran");
    assert_eq!(device.install().0, 0);
    assert_eq!(device.read("RootfsStatusSlotB"), Some(0));
}
