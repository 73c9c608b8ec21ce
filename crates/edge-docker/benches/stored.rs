//! `cargo bench -p edge-docker --bench stored`: the audit of 100 containers, and `fsck` of an
//! image of 300 MB beside `docker save`. A table; nothing fails for being slow.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../tests/device/mod.rs"]
mod device;

mod clock;

use std::fs;
use std::path::Path;

use clock::{median, time};
use device::Device;

const COUNT: usize = 100;
const BALLAST: usize = 300_000_000;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let mut device = Device::start();
    device.start_engine();
    fsck(&device);
    audit(&mut device);
}

fn fsck(device: &Device) {
    let image = device.image("large", BALLAST);
    let save = format!("docker save {} >/dev/null", image.id);
    let save = ["sh", "-c", &save];
    let fsck = ["edge-docker", "fsck", "large"];
    // Once each for the caches, then in turns.
    device.good(&save);
    device.good(&fsck);
    let (mut saves, mut fscks) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        saves.push(time(|| drop(device.good(&save))));
        fscks.push(time(|| drop(device.good(&fsck))));
    }
    let (save, fsck) = (median(saves), median(fscks));
    let ratio = fsck / save;
    println!("docker save >/dev/null, 300 MB   {:>8.0} ms", save);
    println!("edge-docker fsck                 {:>8.0} ms", fsck);
    println!("ratio (limit 1.5)                {ratio:>8.2}");
}

fn audit(device: &mut Device) {
    let image = device.image("small", 0);
    for at in 0..COUNT {
        let name = format!("c{at}");
        let mount = "/data/apps/small/state:/data";
        let words = [
            "edge-docker",
            "create",
            "--network",
            "none",
            "-v",
            mount,
            "--name",
            &name,
        ];
        device.good(&[&words[..], &[&image.name]].concat());
    }
    device.stop_engine();
    let times =
        (0..5).map(|_| time(|| assert_eq!(device.good(&["edge-docker", "audit-stored"]), "")));
    let audited = median(times.collect());
    let left = fs::read_dir(device.path("/data/docker/containers"))
        .unwrap()
        .count();
    assert_eq!(left, COUNT, "all are honest");
    assert!(!Path::new(&device.path("/data/docker/quarantine")).exists());
    println!(
        "audit of {COUNT} containers (limit 200) {:>7.0} ms",
        audited
    );
}
