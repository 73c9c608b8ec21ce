//! Mount clones at an audit without a reboot: those that are right stay, all others are
//! created again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::device::Device;

const PINS: &str = "/run/edge-docker/pins";
const APP: &str = "/data/apps/foo";

/// Stopped device with a container that has three mounts, the last one of a file.
struct Testbed {
    device: Device,
    id: String,
    place: String,
}

impl Testbed {
    fn start() -> Self {
        let mut device = Device::start();
        device.start_engine();
        let image = device.image("foo", 0);
        device.write(&format!("{APP}/file"), b"old");
        let mounts = ["a", "b/c", "file"].map(|name| format!("{APP}/{name}:/mnt/{name}"));
        let [a, b, file] = &mounts;
        let id = device.good(&[
            "edge-docker",
            "create",
            "--network=none",
            "--name=foo",
            "-v",
            a,
            "-v",
            b,
            "-v",
            file,
            &image.name,
        ]);
        device.stop_engine();
        let keys = fs::read_dir(device.path(PINS)).unwrap();
        let keys: Vec<_> = keys.map(|key| key.unwrap().file_name()).collect();
        let [key] = &keys[..] else { panic!("{keys:?}") };
        let place = format!("{PINS}/{}", key.to_str().unwrap());
        Self { device, id, place }
    }

    /// Runs an audit that leaves the container to the engine, with these warnings.
    fn audit(&self) {
        assert_eq!(self.device.good(&["edge-docker", "audit-stored"]), "");
        let container = format!("/data/docker/containers/{}", self.id);
        assert!(self.device.path(&container).exists());
    }

    /// Returns mount IDs by the path of the clone.
    fn mounts(&self) -> BTreeMap<String, Vec<u64>> {
        let mut found: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for line in self.device.good(&["cat", "/proc/self/mountinfo"]).lines() {
            let fields: Vec<_> = line.split(' ').collect();
            if fields[4].starts_with(&self.place) {
                let id = fields[0].parse().unwrap();
                found.entry(fields[4].into()).or_default().push(id);
            }
        }
        found
    }

    fn clone(&self, number: usize) -> String {
        format!("{}/{number}", self.place)
    }

    /// Asserts that each clone shows what is in the app's directory now, and nothing else is
    /// there.
    fn are_right(&self) {
        let paths: Vec<_> = (0..3).map(|number| self.clone(number)).collect();
        let mounts = self.mounts();
        assert!(mounts.keys().eq(&paths), "{mounts:?}");
        assert!(mounts.values().all(|ids| ids.len() == 1), "{mounts:?}");
        let inside = fs::read_dir(self.device.path(&self.place)).unwrap();
        assert_eq!(inside.count(), 3);
        for (path, name) in paths.iter().zip(["a", "b/c", "file"]) {
            let form = "%D:%i:%F";
            let state = |path: &str| self.device.good(&["stat", "-c", form, path]);
            assert_eq!(state(path), state(&format!("{APP}/{name}")), "{name}");
            self.device.good(&["touch", path]);
        }
    }

    /// Keeps the clones in use, so that the kernel does not give their numbers to others.
    fn hold(&self) -> Child {
        let script = "exec 8<$0/0 9<$0/1 7<$0/2; echo held; exec sleep 1000";
        let mut command = self.device.command(&["sh", "-c", script, &self.place]);
        let mut holder = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        holder
    }
}

#[test]
fn clones_that_are_right_stay_and_others_are_created_again() {
    let testbed = Testbed::start();
    let device = &testbed.device;
    testbed.are_right();
    let before = testbed.mounts();
    let mut holder = testbed.hold();
    testbed.audit();
    testbed.audit();
    assert_eq!(testbed.mounts(), before, "they stay");
    testbed.are_right();
    holder.kill().unwrap();
    holder.wait().unwrap();

    device.good(&["mkdir", "-p", "/data/apps/bar"]);
    let (first, third) = (testbed.clone(0), testbed.clone(2));
    let other = format!("{}/9", testbed.place);
    let script = |script: &str| {
        let args = ["sh", "-e", "-c", script, &first, &third, &other, APP];
        device.good(&args);
    };
    for damage in [
        // Another directory, also above a clone that is right.
        "mount --bind /data/apps/bar $0",
        "umount $0; mount --bind /data/apps/bar $0",
        "umount $0; mount --bind $3/b $0",
        // The same directory below the root of a larger mount.
        "umount $0; rmdir $0; ln -s $3/a $0",
        "umount $0",
        "umount $0; rmdir $0",
        "umount $0; rmdir $0; echo >$0",
        "umount $1; rm $1; mkdir $1",
        "umount $0 $1; rmdir $0; rm $1",
        // Other options.
        "mount -o remount,bind,ro $0",
        "mount -o remount,bind,noexec $0",
        // More than the container has.
        "mkdir $2; mount --bind /data/apps/bar $2",
        "echo >$2",
        // Another source.
        "mv $3/a $3/old; mkdir $3/a",
        "mv $3/a $3/older; mv $3/b/c $3/a; mkdir $3/b/c",
        "rm -r $3/a",
        "echo new >$3/new; mv $3/new $3/file",
        "rm $3/file; mkdir $3/file",
    ] {
        script(damage);
        testbed.audit();
        testbed.are_right();
        let held = testbed.mounts();
        testbed.audit();
        assert_eq!(testbed.mounts().len(), held.len(), "{damage}");
    }
}

#[test]
fn no_clone_stays_of_a_container_whose_source_is_a_link() {
    let testbed = Testbed::start();
    let device = &testbed.device;
    fs::rename(
        device.path(&format!("{APP}/a")),
        device.path(&format!("{APP}/old")),
    )
    .unwrap();
    symlink("/", device.path(&format!("{APP}/a"))).unwrap();
    let output = device.run(&["edge-docker", "audit-stored"]);
    assert!(output.status.success());
    let text = crate::device::output_text(&output);
    assert!(
        text.contains("leads elsewhere") || text.contains("a link"),
        "{text}"
    );
    assert_eq!(testbed.mounts(), BTreeMap::new());
    assert!(!device.path(&testbed.place).exists());
}

/// The audit also runs where nothing is mounted yet, and with a record that was edited to
/// name other directories.
#[test]
fn clones_follow_the_record() {
    let testbed = Testbed::start();
    let device = &testbed.device;
    let key = testbed.place.rsplit('/').next().unwrap();
    let record = format!("/data/config/edge-docker/pins/{key}.json");
    let mut value = device.json(&record);
    value["below"] = json!(["a", "b/c"]);
    device.write(&record, value.to_string().as_bytes());
    let output = device.run(&["edge-docker", "audit-stored"]);
    assert!(output.status.success());
    let container = format!("/data/docker/containers/{}", testbed.id);
    assert!(!device.path(&container).exists(), "it breaks a rule");
    assert_eq!(testbed.mounts(), BTreeMap::new());
    assert!(fs::metadata(device.path(APP)).unwrap().ino() > 0);
}
