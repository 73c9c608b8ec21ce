//! `cargo bench -p edge-docker --bench stored`: the audit of 20 and of 100 signed containers
//! with its memory, `fsck` of an image of 300 MB beside `docker save`, and the cost of
//! `"layers": "before-start"`. A table; nothing fails for being slow.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../tests/device/mod.rs"]
mod device;

mod clock;

use std::fs;

use clock::{Row, median, time};
use device::Device;
use edge_docker_policy::run_spec::{RunSpec, SpecVolume};

/// Numbers of containers, with the limits of their audit in milliseconds.
const COUNTS: [(usize, f64); 2] = [(20, 200.0), (100, 400.0)];
/// Limit of the memory of the audit, in megabytes.
const MEMORY_MB: f64 = 32.0;
/// Limit of the time of `fsck` in relation to `docker save`.
const RATIO: f64 = 1.5;
/// Size of an image with large layers, in bytes.
const BALLAST: usize = 300_000_000;
const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const ANY: &[u8] = br#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
const PRODUCTION: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const BEFORE_START: &[u8] =
    br#"{"sandbox":false,"run":"signed","engineer":"operate","layers":"before-start"}"#;
/// Marker of a boot whose first audit has emptied the top layers.
const EMPTIED: &str = "/run/edge-docker/emptied";
/// Results of the check of layers of this boot.
const CHECKED: &str = "/run/edge-ai/layers.json";
/// Removes the files of layers from the kernel's cache.
const FORGET: &str = "sync; find /data/docker/overlay2 -path '*/diff/*' -type f \
    -exec dd if={} iflag=nocache count=0 status=none ';'";

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let mut device = Device::start();
    device.start_engine();
    Row::head();
    audit(&mut device);
    let mut device = Device::start();
    device.start_engine();
    layers(&mut device);
}

/// Boot audits of signed containers that have run, each of an image of its own.
fn audit(device: &mut Device) {
    let mut made = 0;
    for (count, limit) in COUNTS {
        device.write(POLICY, ANY);
        let images: Vec<_> = (made..count)
            .map(|at| (at, device.image(&format!("app{at}"), 8 * at)))
            .collect();
        device.write(POLICY, PRODUCTION);
        for (at, image) in images {
            let spec = spec(&format!("app{at}"));
            device.sign_spec(&image.manifest, "v1", 1, &spec);
            device.good(&["edge-docker", "run", &format!("app{at}-v1")]);
        }
        made = count;
        device.stop_engine();
        let mut audit = |is_boot: bool| {
            if is_boot {
                device.restart_after_power_loss();
            }
            time(|| assert_eq!(device.good(&["edge-docker", "audit-stored"]), ""))
        };
        let audited = median((0..7).map(|_| audit(true)).collect());
        // The mount clones of before are removed first.
        let again = median((0..7).map(|_| audit(false)).collect());
        let left = fs::read_dir(device.path("/data/docker/containers")).unwrap();
        assert_eq!(left.count(), count, "all are as signed");
        for directory in ["quarantine", "withheld"] {
            let place = fs::read_dir(device.path("/data/docker").join(directory));
            assert_eq!(place.map_or(0, Iterator::count), 0, "{directory}");
        }
        Row::new(&format!("boot audit, {count} containers"), audited, "ms").print(Some(limit));
        Row::new("  before a restart of the engine", again, "ms").print(None);
        let memory = memory_mb(device);
        Row::new("  its memory", memory, "MB").print(Some(MEMORY_MB));
        device.start_engine();
    }
}

/// Specification of an app with a mount that ends at once.
fn spec(app: &str) -> RunSpec {
    let mut spec = RunSpec::new(app);
    spec.command = ["sh", "-c", "true"].map(String::from).into();
    spec.environment = [("MODE".into(), "signed".into())].into();
    spec.network_mode = "none".into();
    spec.volumes = vec![SpecVolume {
        target: "/state".into(),
        ..SpecVolume::default()
    }];
    spec
}

/// Returns the largest resident memory of an audit.
fn memory_mb(device: &Device) -> f64 {
    const MEASURE: &str = "import resource, subprocess
subprocess.run(['edge-docker', 'audit-stored'], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let kilobytes: f64 = device.good(&["python3", "-c", MEASURE]).parse().unwrap();
    kilobytes / 1024.0
}

/// `fsck`, and the audit that checks all layers, of one large image.
fn layers(device: &mut Device) {
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
    Row::new("docker save >/dev/null, 300 MB", save, "ms").print(None);
    Row::new("edge-docker fsck, 300 MB", fsck, "ms").print(None);
    Row::new("  ratio", fsck / save, "").print(Some(RATIO));

    device.stop_engine();
    device.write(POLICY, PRODUCTION);
    let audit = |is_cached: bool| {
        let _ = fs::remove_file(device.path(EMPTIED));
        let _ = fs::remove_file(device.path(CHECKED));
        if !is_cached {
            device.good(&["sh", "-c", FORGET]);
        }
        time(|| drop(device.good(&["edge-docker", "audit-stored"])))
    };
    let median_of = |is_cached| median((0..5).map(|_| audit(is_cached)).collect());
    let without = median_of(true);
    device.write(POLICY, BEFORE_START);
    let gigabytes = BALLAST as f64 / 1e9;
    for (what, is_cached) in [("from memory", true), ("from disk", false)] {
        let cost = (median_of(is_cached) - without) / gigabytes;
        Row::new(&format!("\"before-start\", 1 GB {what}"), cost, "ms").print(None);
    }
}
