//! Commands that free space on a data partition without a free byte or inode, in a real
//! engine on a file system of its own. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;
use std::path::Path;

use device::{Device, until};

/// Mount unit of the data partition, for its options.
const UNIT: &str = "../../yocto/meta-edge-secure/recipes-edge/edge-data/files/data.mount";
/// Fills the container's own layer with bytes, then stays.
const BYTES: &str = "x=0123456789abcdef
n=0; while [ $n -lt 12 ]; do x=$x$x; n=$((n + 1)); done
while printf %s \"$x\"; do :; done >>/tmp/large
while printf 0123456789abcdef; do :; done >>/tmp/small
exec sleep 1000";
/// Fills the container's own layer with files, then stays.
const INODES: &str = "n=0
while ( : >/tmp/f$n ); do n=$((n + 1)); done
exec sleep 1000";

/// Device with a small data partition, mounted with the options of the image.
fn device() -> Device {
    let device = Device::start();
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)).unwrap();
    let mut lines = unit.lines();
    let options = lines.find_map(|l| l.strip_prefix("Options=")).unwrap();
    let script = format!(
        "truncate -s 400M /disk && mkfs.ext4 -q -m 5 -N 9000 /disk
         mkdir /new && mount -o loop,{options} /disk /new && cp -a /data/. /new
         mount --move /new /data"
    );
    device.good(&["sh", "-euc", &script]);
    device
}

/// Occupies all bytes of the partition but 20 MB, so that a container fills it soon.
const MOST: &str = "free=$(df --output=avail -B 1 /data | tail -n 1)
fallocate -l $((free - 20000000)) /data/apps/most";

/// Starts the container `filler`, and returns once it has filled the partition.
fn fill(device: &Device, script: &str) {
    let run = ["edge-docker", "run", "-d", "--name=filler"];
    let filler = ["sandbox/lamp:base", "sh", "-c", script];
    device.good(&[&run[..], &filler].concat());
    // Not the container's output: an engine without CAP_SYS_RESOURCE, as on some machines
    // of the tests, cannot log it any more.
    until("a full partition", || {
        let free = device.good(&["df", "--output=avail,iavail", "-k", "/data"]);
        let numbers = free.split_whitespace().skip(2);
        let numbers: Vec<u64> = numbers.map(|n| n.parse().unwrap()).collect();
        (numbers[0] < 100 || numbers[1] == 0).then_some(())
    });
}

fn free_space(device: &Device) {
    for args in [
        &["ps", "-a"][..],
        &["images"],
        &["logs", "filler"],
        &["stop", "-t", "1", "other"],
        &["rm", "other"],
        &["stop", "-t", "1", "filler"],
        &["system", "prune", "-f"],
        &["rmi", "sandbox/spare:base"],
    ] {
        device.good(&[&["edge-docker"], args].concat());
    }
    assert_eq!(device.running(), [""; 0]);
    // The device works again.
    device.image("spare", 20);
    device.good(&["edge-docker", "run", "--rm", "sandbox/spare:base", "ls"]);
}

/// As [`free_space`], after the engine has started on a full partition.
fn free_again(device: &Device) {
    for args in [
        &["logs", "filler"][..],
        &["rm", "filler"],
        &["system", "prune", "-f"],
    ] {
        device.good(&[&["edge-docker"], args].concat());
    }
}

fn prepare() -> Device {
    let mut device = device();
    device.start_engine();
    device.image("lamp", 10);
    device.image("spare", 20);
    let other = ["--name=other", "sandbox/lamp:base", "sleep", "1000"];
    device.good(&[&["edge-docker", "run", "-d"], &other[..]].concat());
    device
}

fn show(device: &Device) {
    println!("{}", device.good(&["sh", "-c", "df -k /data; df -i /data"]));
}

fn restart(device: &mut Device) {
    show(device);
    device.stop_engine();
    device.start_engine();
    show(device);
}

#[test]
fn a_container_fills_all_bytes() {
    let mut device = prepare();
    device.good(&["sh", "-euc", MOST]);
    fill(&device, BYTES);
    free_space(&device);
    fill(&device, BYTES);
    restart(&mut device);
    free_again(&device);
}

#[test]
fn a_container_fills_all_inodes() {
    let mut device = prepare();
    fill(&device, INODES);
    free_space(&device);
    fill(&device, INODES);
    restart(&mut device);
    free_again(&device);
}

#[test]
fn the_engine_itself_fills_all_bytes() {
    let mut device = prepare();
    let filler = ["--name=filler", "sandbox/lamp:base", "sleep", "1000"];
    device.good(&[&["edge-docker", "run", "-d"], &filler[..]].concat());
    // With CAP_SYS_RESOURCE, root of the device uses the reserved blocks, as the engine
    // does for logs and pulls.
    device.good(&["sh", "-euc", MOST]);
    device.run(&["sh", "-c", "cat /dev/zero >/data/apps/rest"]);
    restart(&mut device);
    free_again(&device);
}
