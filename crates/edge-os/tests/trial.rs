//! An update from its request to its end, by the program's commands, on a device in a
//! directory whose engine answers as docker's does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod device;

use device::engine::engine;
use device::{Device, NVIDIA, follow};
use edge_os::exit_code::PHASE;
use edge_os::journal::{Journal, Phase, Recorded};
use edge_os::reason::Cause;
use edge_os::slot::Slot;
use edge_os::variables::Stage;

/// A device that has restarted into slot B.
fn on_trial() -> Device {
    let device = Device::new();
    engine(&device, "Up 2 days (healthy)", 403);
    assert_eq!(device.install(), (0, String::new()));
    follow(&device, "APP_b");
    for stage in ["initrd", "root", "system", "data"] {
        assert_eq!(device.run(&["mark", stage]).0, 0);
    }
    device
}

fn journal(device: &Device) -> Journal {
    match Recorded::load(&device.root()) {
        Recorded::Known(journal) => *journal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_healthy_slot_is_committed_once() {
    let device = on_trial();
    let before = journal(&device).update.unwrap().before;
    assert_eq!(before.apps.keys().collect::<Vec<_>>(), ["camera"]);
    assert_eq!(before.apps["camera"].gives_up_after, 690);
    assert_eq!(edge_os::floor::read(&device.root(), &[]), 0);
    assert_eq!(device.run(&["settle"]), (0, String::new()));
    let committed = journal(&device);
    assert_eq!(committed.phase, Phase::Committed);
    assert_eq!(committed.committed.as_ref().unwrap().slot, Slot::B);
    assert_eq!(committed.previous.as_ref().unwrap().slot, Slot::A);
    assert_eq!(edge_os::floor::read(&device.root(), &[]), 20);
    assert_eq!(device.ran("/usr/sbin/nvbootctrl").unwrap(), "verify\n");
    let trial = "EdgeOsTrial-6f2a5d0e-4c1b-4b52-9a43-1f0d6a7be0c5";
    let trial = device.path("/sys/firmware/efi/efivars").join(trial);
    assert!(!trial.exists());
    // A second run changes nothing.
    assert_eq!(device.run(&["settle"]).0, 0);
    assert_eq!(journal(&device), committed);
    // The way back is no way down.
    device.variable("BootChainFwStatus", NVIDIA, 7, 0);
    assert_eq!(device.run(&["rollback"]).0, 0);
    follow(&device, "APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    assert_eq!(journal(&device).committed.unwrap().slot, Slot::A);
    assert_eq!(edge_os::floor::read(&device.root(), &[]), 20);
}

#[test]
fn a_slot_whose_engine_takes_unsigned_containers_does_not_stay() {
    let device = on_trial();
    engine(&device, "Up 2 days (healthy)", 404);
    assert_eq!(device.run(&["settle"]).0, 0);
    assert_eq!(
        device.ran("/usr/bin/systemctl").unwrap(),
        "reboot\nreboot\n"
    );
    assert_eq!(device.read("BootChainFwNext"), Some(0));
    assert_eq!(device.read("RootfsStatusSlotB"), Some(0xff));
    // The power was lost before the restart: it leaves again.
    device.runs("APP_b");
    assert_eq!(device.run(&["settle"]).0, 0);
    follow(&device, "APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    let journal = journal(&device);
    let reason = journal.back.unwrap();
    assert_eq!(
        (journal.phase, reason.slot, reason.attempts),
        (Phase::Back, Slot::B, 1)
    );
    let Cause::Health {
        check,
        detail,
        lines,
    } = reason.cause
    else {
        panic!("{reason:?}");
    };
    assert!(
        check == "policy" && detail.contains("404"),
        "{check}: {detail}"
    );
    assert_eq!(lines, ["a line"]);
    assert_eq!(edge_os::floor::read(&device.root(), &[]), 0);
    assert_eq!(device.read("BootChainFwStatus"), None);
}

#[test]
fn the_factory_kernel_with_the_new_root_does_not_stay() {
    let device = on_trial();
    device.put("/proc/sys/kernel/osrelease", "5.15.148-tegra\n");
    assert_eq!(device.run(&["settle"]).0, 0);
    let verdict = journal(&device).update.unwrap().verdict.unwrap();
    assert!(
        verdict
            .to_string()
            .starts_with("check image: kernel 5.15.148"),
        "{verdict}"
    );
}

#[test]
fn power_cycles_use_up_the_attempts() {
    let device = Device::new();
    assert_eq!(device.install().0, 0);
    follow(&device, "APP_b");
    for _ in 0..3 {
        assert_eq!(device.run(&["mark", "initrd"]).0, 0);
    }
    let (code, message) = device.run(&["mark", "initrd"]);
    assert_eq!(code, PHASE, "{message}");
    assert_eq!(device.read("BootChainFwNext"), Some(0));
    follow(&device, "APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    let reason = journal(&device).back.unwrap();
    let after = Stage::Initrd;
    assert_eq!(
        reason.cause,
        Cause::Stopped {
            after,
            watchdog: false
        }
    );
    assert_eq!(reason.attempts, 3);
    // On the old slot, stages are nobody's.
    assert_eq!(device.run(&["mark", "initrd"]).0, 0);
}

#[test]
fn a_slot_whose_gate_does_not_begin_is_left() {
    let device = on_trial();
    assert_eq!(device.run(&["deadline"]).0, 0);
    assert_eq!(device.read("BootChainFwNext"), Some(0));
    device.put("/sys/class/watchdog/watchdog0/bootstatus", "32\n");
    follow(&device, "APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    let after = Stage::Data;
    let cause = journal(&device).back.unwrap().cause;
    assert_eq!(
        cause,
        Cause::Stopped {
            after,
            watchdog: true
        }
    );
    // Without a trial, the deadline does nothing.
    let restarts = device.ran("/usr/bin/systemctl");
    assert_eq!(device.run(&["deadline"]).0, 0);
    assert_eq!(device.ran("/usr/bin/systemctl"), restarts);
}

#[test]
fn an_operator_ends_a_trial() {
    let device = on_trial();
    assert_eq!(device.run(&["rollback"]).0, 0);
    follow(&device, "APP");
    assert_eq!(device.run(&["settle"]).0, 0);
    assert_eq!(journal(&device).back.unwrap().cause, Cause::Operator);
    for arguments in [&["status"][..], &["status", "--json"]] {
        assert_eq!(device.run(arguments).0, 0);
    }
}
