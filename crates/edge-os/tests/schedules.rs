//! Updates under random power losses, resets, refusals of the firmware and faults of the
//! new image: the device always starts, and never reports an update that does not run.
#![allow(clippy::unwrap_used, missing_docs)]

mod firmware;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use edge_common::Root;
use edge_os::backend::{Backend, UNBOOTABLE, Variable};
use edge_os::decide::Observed;
use edge_os::floor;
use edge_os::gate::Before;
use edge_os::journal::{Journal, Phase, Recorded, Release, Update};
use edge_os::reason::Cause;
use edge_os::settle::{After, arm, commit, fail, settle};
use edge_os::slot::Slot;
use edge_os::variables::{Noted, Stage, Variables, note};
use firmware::{Answer, Firmware, PowerLoss};

/// Reproducible pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Behaviour of an image at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    Good,
    /// The kernel is missing or panics.
    NeverStarts,
    /// It stops after a stage, and the device is reset or its power is cycled.
    Stops(Stage),
    Unhealthy,
    /// It is being written.
    Partial,
}

struct Device {
    directory: tempfile::TempDir,
    firmware: Firmware,
    images: BTreeMap<Slot, Image>,
    boot: usize,
    random: Random,
}

/// End of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Warm,
    Cold,
    Stays,
}

impl Device {
    fn new(seed: u64) -> Self {
        Self {
            directory: tempfile::tempdir_in("/dev/shm").unwrap(),
            firmware: Firmware::default(),
            images: BTreeMap::from([(Slot::A, Image::Good), (Slot::B, Image::Good)]),
            boot: 0,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    fn root(&self) -> Root {
        Root::at(self.directory.path())
    }

    fn journal(&self) -> Journal {
        Recorded::load(&self.root()).journal()
    }

    fn observed(&self, slot: Slot) -> Observed {
        Observed {
            root: slot,
            boot_id: self.boot.to_string(),
            watchdog: false,
            variables: Variables::read(&self.firmware).unwrap(),
        }
    }

    /// Starts the device once; `lossy`: the power may be lost at any access.
    fn boot(&mut self, cold: bool, lossy: bool) -> (Slot, End) {
        self.boot += 1;
        let slot = self.firmware.start(cold);
        let slot = slot.expect("the firmware ended in its shell");
        let image = self.images[&slot];
        assert_ne!(image, Image::Partial, "an unfinished slot was started");
        if lossy && self.random.below(2) == 0 {
            let loss = (self.random.below(14), self.random.below(2) == 0);
            self.firmware.loss.set(Some(loss));
        }
        let ended = catch_unwind(AssertUnwindSafe(|| self.run(slot, image)));
        let end = match ended {
            Ok(end) => end,
            Err(thrown) if thrown.is::<PowerLoss>() => End::Cold,
            Err(thrown) => resume_unwind(thrown),
        };
        self.firmware.loss.set(None);
        self.check(slot, end);
        (slot, end)
    }

    fn stopped(&mut self) -> End {
        [End::Warm, End::Cold][self.random.below(2)]
    }

    fn run(&mut self, slot: Slot, image: Image) -> End {
        if image == Image::NeverStarts {
            return End::Warm;
        }
        let stages = [Stage::Initrd, Stage::Root, Stage::System, Stage::Data];
        for stage in stages.into_iter().chain([Stage::Gate]) {
            if stage == Stage::Gate {
                let observed = self.observed(slot);
                match settle(&self.root(), &self.firmware, &observed).unwrap() {
                    After::Run => return End::Stays,
                    After::Restart => return End::Warm,
                    After::Gate => {}
                }
            }
            if note(&self.firmware, stage).unwrap() == Noted::Restart {
                return End::Warm;
            }
            if image == Image::Stops(stage) {
                return self.stopped();
            }
        }
        let observed = self.observed(slot);
        if image == Image::Unhealthy {
            let cause = Cause::health("engine", "does not answer", &[]);
            let after = fail(&self.root(), &self.firmware, &observed, cause).unwrap();
            return match after {
                After::Restart => End::Warm,
                _ => End::Stays,
            };
        }
        commit(&self.root(), &self.firmware, &observed).unwrap();
        End::Stays
    }

    /// Invariants after every boot.
    fn check(&self, slot: Slot, end: End) {
        let journal = self.journal();
        if let (Phase::Committed, Some(committed)) = (journal.phase, &journal.committed) {
            if end == End::Stays {
                assert_eq!(committed.slot, slot, "success on the old slot");
            }
            assert_eq!(
                self.images[&committed.slot],
                Image::Good,
                "a bad image stays"
            );
        }
        let numbers = journal.committed.as_ref().map(|c| c.release.number);
        let floor = floor::read(&self.root(), &[]);
        assert!(
            floor <= numbers.unwrap_or(0),
            "the floor rose before the commit: {journal:?}"
        );
    }

    /// Installs an image from a running slot, as `edge-os install` does.
    fn install(&mut self, from: Slot, image: Image, number: u64, lossy: bool) -> bool {
        if lossy {
            let loss = (self.random.below(12), self.random.below(2) == 0);
            self.firmware.loss.set(Some(loss));
        }
        let target = from.other();
        let done = catch_unwind(AssertUnwindSafe(|| {
            let root = self.root();
            let mut journal = self.journal();
            journal.update = Some(Update {
                target,
                release: Release {
                    digest: format!("sha256:{number}"),
                    number,
                    version: number.to_string(),
                },
                boot_id: String::new(),
                before: Before::default(),
                verdict: None,
                rest: serde_json::Map::default(),
            });
            self.firmware.delete(Variable::Trial).unwrap();
            journal.save(&root, Phase::Fetching).unwrap();
            let status = Variable::Status(target);
            self.firmware.set(status, UNBOOTABLE).unwrap();
            self.images.insert(target, Image::Partial);
            self.firmware.set(status, UNBOOTABLE).unwrap();
            self.images.insert(target, image);
            journal.save(&root, Phase::Written).unwrap();
            arm(&root, &self.firmware, &self.boot.to_string()).unwrap();
        }));
        self.firmware.loss.set(None);
        match done {
            Ok(()) => true,
            Err(thrown) if thrown.is::<PowerLoss>() => false,
            Err(thrown) => resume_unwind(thrown),
        }
    }

    /// Boots until the device stays, without power losses at the end.
    fn until_it_stays(&mut self, mut cold: bool) -> Slot {
        for number in 0..40 {
            let (slot, end) = self.boot(cold, number < 6);
            match end {
                End::Stays => return slot,
                End::Warm => cold = self.random.below(8) == 0,
                End::Cold => cold = true,
            }
        }
        panic!("the device never stays: {:?}", self.journal());
    }
}

fn image(random: &mut Random) -> Image {
    match random.below(8) {
        0 => Image::NeverStarts,
        1 => Image::Unhealthy,
        2 => Image::Stops(Stage::Initrd),
        3 => Image::Stops(Stage::ALL[1 + random.below(5)]),
        _ => Image::Good,
    }
}

fn answers(random: &mut Random) -> Vec<Answer> {
    let answer = |random: &mut Random| match random.below(12) {
        0 => Answer::Refuses([3, 5, 12, 14, 17][random.below(5)]),
        1 => Answer::Ignores,
        2 => Answer::Sleeps,
        _ => Answer::Follows,
    };
    (0..2).map(|_| answer(random)).collect()
}

/// Returns whether a reason may be given for an image.
fn plausible(image: Image, cause: &Cause) -> bool {
    match cause {
        Cause::NeverStarted => image == Image::NeverStarts,
        // Power losses may use up the attempts of a good image.
        Cause::Stopped { .. } => image != Image::NeverStarts,
        Cause::Health { .. } => image == Image::Unhealthy,
        Cause::NeverLeft | Cause::FirmwareRefused { .. } | Cause::SwitchIgnored => true,
        _ => false,
    }
}

#[test]
fn every_schedule_ends_well() {
    let schedules = std::env::var("EDGE_SCHEDULES").map_or(1500, |n| n.parse().unwrap());
    let mut ends = BTreeMap::new();
    for seed in 0..schedules {
        let mut device = Device::new(seed);
        let mut slot = device.until_it_stays(true);
        for number in 1..4 {
            let image = image(&mut device.random);
            *device.firmware.answers.borrow_mut() = answers(&mut device.random);
            let lossy = device.random.below(2) == 0;
            let before = slot;
            let armed = device.install(before, image, number, lossy);
            slot = device.until_it_stays(!armed);
            let journal = device.journal();
            let digest = format!("sha256:{number}");
            let back = journal.back.as_ref();
            let back = back.filter(|b| b.digest.as_ref() == Some(&digest));
            let words = match (journal.phase, back) {
                (Phase::Committed, _) if slot == before.other() => {
                    assert_eq!(image, Image::Good);
                    assert_eq!(floor::read(&device.root(), &[]), number);
                    "committed".to_string()
                }
                (Phase::Back, Some(reason)) => {
                    assert_eq!(slot, before, "seed {seed}: {image:?} {journal:?}");
                    assert!(
                        plausible(image, &reason.cause),
                        "{seed}: {image:?} {reason:?}"
                    );
                    format!("{:?}", reason.cause)
                }
                // The power was lost before the request.
                (phase, _) => {
                    assert!(!armed, "seed {seed}: {journal:?}");
                    assert_eq!(slot, before);
                    format!("{phase:?}, not armed")
                }
            };
            *ends.entry(words).or_insert(0) += 1;
            // Nothing is left that acts at a later start.
            assert_eq!(device.firmware.peek(Variable::FwNext), None, "seed {seed}");
            if journal.phase != Phase::Written {
                assert_eq!(device.firmware.peek(Variable::Trial), None, "seed {seed}");
            }
        }
    }
    for (end, count) in &ends {
        println!("{count:6} {end}");
    }
    for expected in [
        "committed",
        "Health",
        "Stopped",
        "NeverStarted",
        "NeverLeft",
        "Refused",
        "Ignored",
    ] {
        assert!(
            ends.keys().any(|e| e.contains(expected)),
            "never: {expected}"
        );
    }
}
