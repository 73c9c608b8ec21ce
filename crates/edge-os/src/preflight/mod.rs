//! Checks before an update: whatever would make the change of the slot fail silently
//! refuses it before a byte is written.

mod probe;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_signature::os::{OsImage, l4t_number};

use crate::backend::{NORMAL, VOLATILE};
use crate::exit_code::{BUNDLE, DEVICE, FIRMWARE, IMAGE, PHASE};
use crate::image::Running;
use crate::slot::Slot;
use crate::variables::Variables;

pub use probe::probe;

/// Bit of `OsIndications` with which the system asks for an update by capsule.
const CAPSULE_REQUESTED: u64 = 1 << 2;
/// Room on `/data` beyond the index of RAUC, for journal and logs, in bytes.
const SPARE_BYTES: u64 = 16 << 20;
/// Part of the root's size that RAUC's index of both slots takes: 32 bytes for each 4 KiB.
const INDEX_PART: u64 = 125;
/// Temperature above which no update begins, in thousandths of a degree.
const MAX_MILLIDEGREES: i64 = 90_000;

/// Partition with the name of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Kernel's name of the partition.
    pub device: String,
    /// Kernel's name of its disk.
    pub disk: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether it is mounted.
    pub mounted: bool,
    /// Whether device mapper or another driver holds it.
    pub held: bool,
}

/// Answer of the server, or of the file system, about the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// File of this size.
    File(u64),
    /// Server that answers a request for one byte with a status and states a whole length.
    Server {
        /// Status of the response.
        status: u16,
        /// Length of the whole bundle, if it is stated.
        length: Option<u64>,
    },
    /// It cannot be read, or is not the signed one; the text says why.
    Unusable(String),
}

/// Facts about a device on which the checks depend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Slot of the root file system, by the name of its partition.
    pub root: Option<Slot>,
    /// Disk of the root file system.
    pub root_disk: String,
    /// Variables of the firmware.
    pub variables: Variables,
    /// Whether `BootNext` exists.
    pub boot_next: bool,
    /// Value of `OsIndications`.
    pub os_indications: u64,
    /// Capsules on the EFI system partition.
    pub capsules: Vec<String>,
    /// Reason why variables cannot be written, read back and deleted.
    pub locked: Option<String>,
    /// Reason why the result of an earlier change of the slot cannot be deleted.
    pub leftover: Option<String>,
    /// Partitions with the name of the target.
    pub targets: Vec<Partition>,
    /// Whether an update is on trial or armed.
    pub under_way: Option<String>,
    /// Release of the running kernel.
    pub kernel: String,
    /// Running image.
    pub running: Option<Running>,
    /// Version of the firmware in UEFI's table.
    pub firmware: Option<u32>,
    /// Result of the last update of the firmware in UEFI's table.
    pub firmware_result: Option<u32>,
    /// Lowest release number that is accepted.
    pub floor: u64,
    /// Free bytes on `/data`; `None` if it is not mounted or not writable.
    pub data_free: Option<u64>,
    /// Kernel modules that are neither built in nor installed.
    pub missing_modules: Vec<String>,
    /// Whether NVIDIA's unit confirms each start before the gate.
    pub verifier: bool,
    /// Whether there is a hardware watchdog.
    pub watchdog: bool,
    /// Problem of a disk or file system.
    pub disk_problem: Option<String>,
    /// Highest temperature of the board, in thousandths of a degree.
    pub temperature: Option<i64>,
    /// Digest of the image that came back last.
    pub failed: Option<String>,
}

/// Refusal of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the check.
    pub check: &'static str,
    /// Exit code.
    pub code: u8,
    /// Cause, and the next step.
    pub message: String,
}

impl Refusal {
    /// Returns the refusal as an error of the program.
    pub fn error(&self) -> anyhow::Error {
        let Self { check, message, .. } = self;
        Failure::error(self.code, format_args!("refused: {check}: {message}"))
    }
}

/// Image that is to be installed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Description from its signature.
    pub offered: &'a OsImage,
    /// Digest by which it is known.
    pub digest: &'a str,
    /// Place of the bundle.
    pub source: &'a Source,
    /// Whether a format on `/data` may change that the other slot cannot read.
    pub one_way: bool,
}

type Finding = Option<String>;

/// Returns all refusals for the device, and for an image if one is given.
pub fn refusals(facts: &Facts, wanted: Option<Wanted>) -> Vec<Refusal> {
    let device: [(&str, u8, Finding); 15] = [
        ("slots", FIRMWARE, slots(facts)),
        ("redundancy", FIRMWARE, redundancy(facts)),
        ("status", FIRMWARE, status(facts)),
        ("pending", FIRMWARE, pending(facts)),
        ("last-change", FIRMWARE, facts.leftover.clone()),
        ("variables", FIRMWARE, facts.locked.clone()),
        ("verifier", FIRMWARE, verifier(facts)),
        ("under-way", PHASE, facts.under_way.clone()),
        ("target", DEVICE, target(facts, wanted)),
        ("kernel", DEVICE, kernel(facts)),
        ("data", DEVICE, data(facts, wanted)),
        ("modules", DEVICE, modules(facts)),
        ("watchdog", DEVICE, watchdog(facts)),
        ("disk", DEVICE, facts.disk_problem.clone()),
        ("temperature", DEVICE, temperature(facts)),
    ];
    let mut findings = device.to_vec();
    if let Some(wanted) = wanted {
        findings.extend([
            ("firmware", IMAGE, firmware(facts, wanted.offered)),
            ("capsule", IMAGE, capsule(facts, wanted.offered)),
            ("board", IMAGE, board(facts, wanted.offered)),
            ("number", IMAGE, number(facts, wanted.offered)),
            ("one-way", IMAGE, one_way(facts, wanted)),
            ("known-bad", IMAGE, known_bad(facts, wanted)),
            ("bundle", BUNDLE, bundle(wanted)),
        ]);
    }
    let refusal = |(check, code, finding): (&'static str, u8, Finding)| {
        finding.map(|message| Refusal {
            check,
            code,
            message,
        })
    };
    findings.into_iter().filter_map(refusal).collect()
}

/// Fails with the first refusal.
///
/// # Errors
/// There is one.
pub fn require(refusals: &[Refusal]) -> Result<()> {
    refusals.first().map_or(Ok(()), |r| Err(r.error()))
}

fn unless(good: bool, message: impl Into<String>) -> Finding {
    (!good).then(|| message.into())
}

fn slots(facts: &Facts) -> Finding {
    let Some(root) = facts.root else {
        return Some(
            "the root file system is on neither APP nor APP_b: flash the layout with two slots"
                .into(),
        );
    };
    let variables = &facts.variables;
    let number = Some(root.number());
    let words = |n: Option<u32>| n.map_or("nothing".into(), |n| n.to_string());
    unless(
        variables.os_current == number && variables.fw_current == number,
        format!(
            "root is slot {root}, the firmware started slot {} in chain {} (0 is A): restart, \
             and flash both slots if it stays",
            words(variables.os_current),
            words(variables.fw_current)
        ),
    )
}

fn redundancy(facts: &Facts) -> Finding {
    let level = facts.variables.level.as_ref();
    let armed = level.is_some_and(|l| l.number() == Some(1) && l.attributes == VOLATILE);
    unless(
        armed,
        "the firmware does not know two root slots: flash its QSPI with the redundant layout",
    )
}

fn status(facts: &Facts) -> Finding {
    for (slot, status) in Slot::ALL.into_iter().zip(&facts.variables.status) {
        match status.as_ref().map(|v| v.number()) {
            None => {
                return Some(format!(
                    "RootfsStatusSlot{slot} does not exist: flash the QSPI"
                ));
            }
            Some(None) => {
                return Some(format!(
                    "RootfsStatusSlot{slot} is no number: flash the QSPI"
                ));
            }
            Some(Some(number)) if Some(slot) == facts.root && number != NORMAL => {
                return Some(format!(
                    "RootfsStatusSlot{slot}, the running slot's, is {number:#x}: run edge-os settle"
                ));
            }
            Some(Some(_)) => {}
        }
    }
    None
}

fn pending(facts: &Facts) -> Finding {
    if facts.boot_next {
        return Some(
            "BootNext is set, with which the firmware refuses another slot: restart first".into(),
        );
    }
    if let Some(next) = facts.variables.fw_next {
        return Some(format!(
            "BootChainFwNext is {next} already: run edge-os rollback, which takes it back"
        ));
    }
    if facts.os_indications & CAPSULE_REQUESTED != 0 {
        return Some("an update of the firmware by capsule is requested: restart first".into());
    }
    let capsule = facts.capsules.first()?;
    Some(format!(
        "{capsule} is on the EFI system partition, and the firmware would install it: remove it, \
         or restart first"
    ))
}

fn verifier(facts: &Facts) -> Finding {
    unless(
        !facts.verifier,
        "nv_update_verifier.service is enabled and would confirm every start before the gate: \
         disable it in the image",
    )
}

fn target(facts: &Facts, wanted: Option<Wanted>) -> Finding {
    let name = facts.root?.other().partition();
    let [target] = &facts.targets[..] else {
        let count = facts.targets.len();
        return Some(format!("{count} partitions are named {name}, not 1"));
    };
    let device = &target.device;
    if target.disk != facts.root_disk {
        let (disk, root) = (&target.disk, &facts.root_disk);
        return Some(format!(
            "{device} is on disk {disk}, the root on {root}: detach the other disk"
        ));
    }
    if target.mounted {
        return Some(format!("{device} is mounted: umount it"));
    }
    if target.held {
        return Some(format!(
            "{device} is held by device mapper or another driver: release it"
        ));
    }
    let size = wanted?.offered.size;
    unless(
        target.bytes >= size,
        format!(
            "{device} has {} bytes, the image {size}: flash larger slots",
            target.bytes
        ),
    )
}

fn kernel(facts: &Facts) -> Finding {
    let Some(running) = &facts.running else {
        return Some(
            "/etc/edge-ai/os.json is missing or malformed: flash an image that has it".into(),
        );
    };
    unless(
        running.kernel == facts.kernel,
        format!(
            "kernel {} runs, the image has {}: the firmware fell back to the factory's, flash the slot",
            facts.kernel, running.kernel
        ),
    )
}

fn data(facts: &Facts, wanted: Option<Wanted>) -> Finding {
    let Some(free) = facts.data_free else {
        return Some("/data is not mounted, or not writable: see edge-partition --check".into());
    };
    let size = wanted.map_or(0, |w| w.offered.size);
    let needed = size / INDEX_PART + SPARE_BYTES;
    unless(
        free >= needed,
        format!("/data has {free} bytes free, {needed} are needed: run edge-docker prune"),
    )
}

fn modules(facts: &Facts) -> Finding {
    unless(
        facts.missing_modules.is_empty(),
        format!(
            "the kernel lacks {}: install its modules in the image",
            facts.missing_modules.join(", ")
        ),
    )
}

fn watchdog(facts: &Facts) -> Finding {
    unless(
        facts.watchdog,
        "there is no /dev/watchdog0: a new system that hangs would hang for ever",
    )
}

fn temperature(facts: &Facts) -> Finding {
    let degrees = facts.temperature.filter(|t| *t > MAX_MILLIDEGREES)?;
    Some(format!("the board has {} °C: let it cool", degrees / 1000))
}

fn firmware(facts: &Facts, offered: &OsImage) -> Finding {
    let Some(running) = facts.firmware else {
        return Some("UEFI does not state the version of its firmware: flash the QSPI".into());
    };
    let wanted = l4t_number(&offered.l4t)?;
    let [_, major, minor, patch] = running.to_be_bytes();
    unless(
        running == wanted,
        format!(
            "the image needs the firmware of L4T {}, {major}.{minor}.{patch} runs: update the \
             firmware first, a step of its own",
            offered.l4t
        ),
    )
}

fn capsule(facts: &Facts, offered: &OsImage) -> Finding {
    if !offered.capsule {
        return None;
    }
    let before = match facts.firmware_result {
        Some(0) => "",
        _ => ", and its last update failed",
    };
    Some(format!(
        "the bundle has firmware in a capsule{before}: an update of the OS and one of the firmware \
         are two steps, push it without"
    ))
}

fn board(facts: &Facts, offered: &OsImage) -> Finding {
    let running = facts.running.as_ref()?;
    unless(
        running.compatible == offered.compatible,
        format!(
            "the image is for {}, this is {}",
            offered.compatible, running.compatible
        ),
    )
}

fn number(facts: &Facts, offered: &OsImage) -> Finding {
    crate::floor::check(facts.floor, offered.number)
        .err()
        .map(|e| e.to_string())
}

fn one_way(facts: &Facts, wanted: Wanted) -> Finding {
    let running = facts.running.as_ref()?;
    let (theirs, ours) = (wanted.offered, running.data_format);
    unless(
        wanted.one_way || (theirs.data_format == ours || theirs.read_by_data_format <= ours),
        format!(
            "the image writes format {} of /data, which this one (format {ours}) cannot read on the \
             way back: install the version between first, or pass --one-way",
            theirs.data_format
        ),
    )
}

fn known_bad(facts: &Facts, wanted: Wanted) -> Finding {
    unless(
        facts.failed.as_deref() != Some(wanted.digest),
        "this very image came back: see edge-os status, and push a repaired version",
    )
}

fn bundle(wanted: Wanted) -> Finding {
    let expected = wanted.offered.bundle_size;
    match wanted.source {
        Source::File(bytes) => unless(
            *bytes == expected,
            format!("the bundle has {bytes} bytes, {expected} are signed: fetch it again"),
        ),
        Source::Server {
            status: 206,
            length,
        } => {
            let stated = length.map_or("no length".into(), |l| format!("{l} bytes"));
            unless(
                *length == Some(expected),
                format!("the server states {stated}, {expected} bytes are signed"),
            )
        }
        Source::Server { status, .. } => Some(format!(
            "the server answers a request for one byte with {status}, not 206: it cannot send \
             parts; a cache that is still cold does so, too: try again"
        )),
        Source::Unusable(reason) => Some(reason.clone()),
    }
}
