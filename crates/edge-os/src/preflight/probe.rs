//! Facts of the running device, from sysfs, procfs and the firmware.

use std::fs;
use std::path::Path;

use anyhow::Result;
use edge_common::{Root, file};

use super::{Facts, Partition};
use crate::backend::{Backend, Variable};
use crate::decide::{Decision, decide};
use crate::floor;
use crate::image::Running;
use crate::journal::Recorded;
use crate::observe;
use crate::slot::Slot;
use crate::variables::Variables;

/// Size limit of a file of sysfs or procfs, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Size of a sector in sysfs, in bytes, whatever the disk's is.
const SECTOR: u64 = 512;
/// Kernel modules of a streamed and verified bundle.
const MODULES: [&str; 3] = ["nbd", "dm-verity", "squashfs"];
/// Directory of capsules on the EFI system partition.
const CAPSULES: &str = "/boot/efi/EFI/UpdateCapsule";
/// Unit of NVIDIA's that confirms every start.
const VERIFIER: &str = "nv_update_verifier.service";
/// Entry of the firmware in UEFI's table.
const ESRT: &str = "/sys/firmware/efi/esrt/entries/entry0";

/// Collects the facts. With `write`, the firmware's variables are tried by writing one,
/// and the result of an earlier change of the slot is deleted.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn probe(root: &Root, backend: &impl Backend, write: bool) -> Result<Facts> {
    let observed = observe::observe(root, backend).ok();
    let recorded = Recorded::load(root);
    let decision = observed.as_ref().map(|o| decide(&recorded, o));
    let failed = match &recorded {
        Recorded::Known(journal) => journal.back.as_ref().and_then(|b| b.digest.clone()),
        _ => None,
    };
    let committed = match &recorded {
        Recorded::Known(journal) => journal.committed.as_ref().map(|c| c.release.number),
        _ => None,
    };
    let running = Running::load(root).ok();
    let known = running.iter().map(|r| r.number).chain(committed);
    let slot = observed.as_ref().map(|o| o.root);
    let kernel = text(root, "/proc/sys/kernel/osrelease").unwrap_or_default();
    let (locked, leftover) = match write {
        true => (try_variables(backend), try_leftover(backend)),
        false => (None, None),
    };
    Ok(Facts {
        root: slot,
        root_disk: observe::root_disk(root).unwrap_or_default(),
        variables: Variables::read(backend)?,
        boot_next: backend.get(Variable::BootNext)?.is_some(),
        os_indications: backend.get(Variable::OsIndications)?.map_or(0, |v| {
            let bytes: [u8; 8] = v.data.try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        }),
        capsules: capsules(root),
        locked,
        leftover,
        targets: slot.map_or_else(Vec::new, |s| partitions(root, s.other())),
        under_way: decision.as_ref().and_then(under_way),
        missing_modules: missing_modules(root, &kernel),
        kernel,
        floor: floor::read(root, &known.collect::<Vec<_>>()),
        running,
        firmware: number(root, &format!("{ESRT}/fw_version")),
        firmware_result: number(root, &format!("{ESRT}/last_attempt_status")),
        data_free: data_free(root),
        verifier: verifier(root),
        watchdog: root.path("/dev/watchdog0").exists(),
        disk_problem: disk_problem(root),
        temperature: temperature(root),
        failed,
    })
}

fn text(root: &Root, path: &str) -> Option<String> {
    let text = file::read_text(&root.path(path), MAX_BYTES).ok()?;
    Some(text.trim().to_string())
}

fn number<T: std::str::FromStr>(root: &Root, path: &str) -> Option<T> {
    text(root, path)?.parse().ok()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Writes, reads back and deletes a variable of our own.
fn try_variables(backend: &impl Backend) -> Option<String> {
    let tried = backend
        .set(Variable::Probe, 1)
        .and_then(|()| backend.set(Variable::Probe, 2))
        .and_then(|()| backend.delete(Variable::Probe));
    let error = tried.err()?;
    Some(format!(
        "the firmware's variables cannot be written: {error:#}"
    ))
}

fn try_leftover(backend: &impl Backend) -> Option<String> {
    let error = backend.delete(Variable::FwStatus).err()?;
    Some(format!(
        "BootChainFwStatus of an earlier change stays, and the firmware would ignore a request: \
         {error:#}"
    ))
}

fn under_way(decision: &Decision) -> Option<String> {
    let words = match decision {
        Decision::Settled | Decision::Interrupted | Decision::Ready => return None,
        Decision::Awaiting => "an update waits for a restart: restart, or run edge-os rollback",
        Decision::Trial => "an update is on trial: wait for its gate",
        Decision::GoBack(_) => "an update did not pass and goes back: restart",
        Decision::CameBack(_) => "an update came back and is not settled: run edge-os settle",
        Decision::Stray(_) => {
            "the running slot did not pass its gate, and nothing else starts: flash the device"
        }
    };
    Some(words.into())
}

fn capsules(root: &Root) -> Vec<String> {
    let mut names = names(&root.path(CAPSULES));
    names.retain(|n| n.to_ascii_lowercase().ends_with(".cap"));
    names
}

/// Returns the partitions with the name of a slot, on all disks.
fn partitions(root: &Root, slot: Slot) -> Vec<Partition> {
    let class = root.path("/sys/class/block");
    let mounted = observe::mounted_devices(root);
    let mut found = Vec::new();
    for device in names(&class) {
        let path = format!("/sys/class/block/{device}");
        let Some(event) = text(root, &format!("{path}/uevent")) else {
            continue;
        };
        let name = event.lines().find_map(|l| l.strip_prefix("PARTNAME="));
        if name != Some(slot.partition()) {
            continue;
        }
        let number = text(root, &format!("{path}/dev")).unwrap_or_default();
        found.push(Partition {
            disk: observe::disk_of(root, &device).unwrap_or_default(),
            bytes: self::number::<u64>(root, &format!("{path}/size")).unwrap_or(0) * SECTOR,
            mounted: mounted.contains(&number),
            held: !names(&class.join(&device).join("holders")).is_empty(),
            device,
        });
    }
    found
}

/// Returns the modules that neither are built in nor can be loaded.
fn missing_modules(root: &Root, kernel: &str) -> Vec<String> {
    let lists = ["modules.builtin", "modules.dep"];
    let lists =
        lists.map(|l| text(root, &format!("/lib/modules/{kernel}/{l}")).unwrap_or_default());
    let known = |module: &&str| {
        let loaded = format!("/sys/module/{}", module.replace('-', "_"));
        let file = format!("/{module}.ko");
        root.path(loaded).exists() || lists.iter().any(|l| l.contains(&file))
    };
    let missing = MODULES.iter().filter(|m| !known(m));
    missing.map(ToString::to_string).collect()
}

fn verifier(root: &Root) -> bool {
    let directories = ["/etc/systemd/system", "/usr/lib/systemd/system"];
    directories.into_iter().any(|directory| {
        let wants = names(&root.path(directory));
        let wants = wants.iter().filter(|n| n.ends_with(".wants"));
        let mut links = wants.map(|w| root.path(directory).join(w).join(VERIFIER));
        links.any(|link| fs::symlink_metadata(link).is_ok())
    })
}

/// Returns the free bytes of `/data` for users; `None` if it is not a mounted, writable
/// file system.
fn data_free(root: &Root) -> Option<u64> {
    // The mount point always exists; `log` only on the mounted file system.
    if !root.path("/data/log").is_dir() {
        return None;
    }
    let state = rustix::fs::statvfs(root.path("/data")).ok()?;
    let writable = !state.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    writable.then(|| state.f_bavail.saturating_mul(state.f_frsize))
}

/// Returns a file system that has errors, or a disk that does not work.
fn disk_problem(root: &Root) -> Option<String> {
    for device in names(&root.path("/sys/fs/ext4")) {
        let errors = number::<u64>(root, &format!("/sys/fs/ext4/{device}/errors_count"));
        if let Some(errors) = errors.filter(|e| *e > 0) {
            return Some(format!(
                "the file system of {device} has {errors} errors: restart, it is repaired then"
            ));
        }
    }
    for device in names(&root.path("/sys/class/nvme")) {
        let state = text(root, &format!("/sys/class/nvme/{device}/state"));
        if let Some(state) = state.filter(|s| s != "live") {
            return Some(format!("disk {device} is {state}, not live"));
        }
    }
    None
}

fn temperature(root: &Root) -> Option<i64> {
    let zones = names(&root.path("/sys/class/thermal"));
    let zones = zones.iter().filter(|z| z.starts_with("thermal_zone"));
    let read = |z: &String| number(root, &format!("/sys/class/thermal/{z}/temp"));
    zones.filter_map(read).max()
}
