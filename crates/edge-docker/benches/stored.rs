//! `cargo bench -p edge-docker --bench stored`: the audit of 20 and of 100
//! containers with its memory, and `fsck` of an
//! image of 300 MB beside `docker save`. A table; nothing fails for being slow.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../tests/device/mod.rs"]
mod device;

mod clock;

use std::fs;
use std::path::Path;

use clock::{median, time};
use device::Device;

/// Numbers of containers, with the limits of their audit in milliseconds.
const COUNTS: [(usize, u32); 2] = [(20, 200), (100, 400)];
/// Limit of the memory of the audit, in megabytes.
const MEMORY_MB: u32 = 32;
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
    let mut made = 0;
    for (count, limit) in COUNTS {
        for at in made..count {
            let name = format!("c{at}");
            let mount = "/data/apps/small/state:/data";
            let create = ["edge-docker", "create", "--network", "none", "-v", mount];
            device.good(&[&create[..], &["--name", &name, &image.name]].concat());
        }
        made = count;
        device.stop_engine();
        let audit = || assert_eq!(device.good(&["edge-docker", "audit-stored"]), "");
        let audited = median((0..5).map(|_| time(audit)).collect());
        let memory = memory_kb(device) / 1024;
        let left = fs::read_dir(device.path("/data/docker/containers")).unwrap();
        assert_eq!(left.count(), count, "all are honest");
        assert!(!Path::new(&device.path("/data/docker/quarantine")).exists());
        println!("audit of {count:>3} containers (limit {limit}) {audited:>7.0} ms");
        println!("  its memory (limit {MEMORY_MB})        {memory:>7} MB");
        device.start_engine();
    }
}

/// Returns the largest resident memory of an audit, in kilobytes.
fn memory_kb(device: &Device) -> u64 {
    const MEASURE: &str = "import resource, subprocess
subprocess.run(['edge-docker', 'audit-stored'], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    device.good(&["python3", "-c", MEASURE]).parse().unwrap()
}
