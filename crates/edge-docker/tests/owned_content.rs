//! `storage: {owner: app}`: what is below the mounts of an app belongs to the user of its
//! container, with a real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use device::Device;
use device::until;
use edge_docker_policy::run_spec::{RunSpec, SpecVolume, StorageOwner};

const DATA: &str = "/data/apps/lamp";

/// Device, and the versions of the app that were signed.
struct Testbed {
    device: Device,
    number: u64,
}

impl Testbed {
    fn new() -> Self {
        let mut device = Device::start();
        device.start_engine();
        Self { device, number: 0 }
    }

    /// Signs the next version of the app, which runs `script` as `user`. Returns its name.
    fn version(&mut self, user: &str, owner: StorageOwner, script: &str) -> String {
        self.number += 1;
        let command = ["sh", "-c", script];
        let image = self.device.release("lamp", self.number, &command, 0);
        let mut spec = RunSpec::new("lamp");
        spec.user = user.into();
        spec.storage_owner = owner;
        spec.restart = "unless-stopped".into();
        spec.stop_signal = "KILL".into();
        spec.volumes = vec![SpecVolume {
            target: "/state".into(),
            ..SpecVolume::default()
        }];
        let version = format!("v{}", self.number);
        self.device
            .sign_spec(&image.manifest, &version, self.number, &spec);
        format!("lamp-{version}")
    }

    fn deploy(&self, version: &str) -> String {
        let deploy = ["edge-docker", "replace", version, "--timeout=30"];
        self.device.good(&deploy)
    }

    /// Writes files that their owner alone may use, as a program of the user does.
    fn fill(&self, user: u32) {
        fs::create_dir_all(self.path("a/b")).unwrap();
        fs::write(self.path("a/b/one"), "1").unwrap();
        for name in ["a", "a/b", "a/b/one"] {
            let path = self.path(name);
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(path, Some(user), Some(user)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.device.path(DATA).join(name)
    }

    /// Owner of an entry, of a link itself.
    fn owner(&self, name: &str) -> (u32, u32) {
        owner(&self.path(name))
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let state = fs::symlink_metadata(path).unwrap();
    (state.uid(), state.gid())
}

const SLEEP: &str = "exec sleep 1000";
/// Fails unless the files of [`Testbed::fill`] can be written.
const USE: &str = "echo 2 >> /state/a/b/one && exec sleep 1000";

#[test]
fn files_follow_the_user_if_it_is_signed_and_only_then() {
    let mut testbed = Testbed::new();
    let first = testbed.version("", StorageOwner::Kept, SLEEP);
    testbed.deploy(&first);
    testbed.fill(0);

    // Without the key the content stays as it is, and the version goes back.
    let kept = testbed.version("1000:1001", StorageOwner::Kept, USE);
    let (code, text) = testbed
        .device
        .bad(&["edge-docker", "replace", &kept, "--timeout=30"]);
    assert_eq!(code, 123, "{text}");
    assert_eq!(testbed.owner("a/b/one"), (0, 0));

    let given = testbed.version("1000:1001", StorageOwner::App, USE);
    let output = testbed.deploy(&given);
    for name in ["", "a", "a/b", "a/b/one"] {
        assert_eq!(testbed.owner(name), (1000, 1001), "{name}: {output}");
    }
    // Before the stop of the old version.
    let position = |text: &str| {
        output
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {output}"))
    };
    assert!(position("giving the app's data to 1000:1001") < position("stopping lamp v1"));
    assert!(position("3 files of the app belong to 1000:1001 now") < position("stopping lamp v1"));

    // Once for each change: an owner that somebody sets afterwards stays.
    chown(testbed.path("a/b/one"), Some(7), Some(7)).unwrap();
    let again = testbed.version("1000:1001", StorageOwner::App, SLEEP);
    let output = testbed.deploy(&again);
    assert!(!output.contains("giving"), "{output}");
    assert_eq!(testbed.owner("a/b/one"), (7, 7));

    // A version of another user without the key leaves them, and the next one with it does
    // not.
    let kept = testbed.version("1002", StorageOwner::Kept, SLEEP);
    testbed.deploy(&kept);
    assert_eq!(testbed.owner("a/b"), (1000, 1001));
    let given = testbed.version("1002:1002", StorageOwner::App, USE);
    testbed.deploy(&given);
    assert_eq!(testbed.owner("a/b/one"), (1002, 1002));
    // And back to root.
    let root = testbed.version("", StorageOwner::App, USE);
    testbed.deploy(&root);
    assert_eq!(testbed.owner("a/b/one"), (0, 0));
}

#[test]
fn a_version_that_returns_gets_its_files_back() {
    let mut testbed = Testbed::new();
    // The old version does not state the key; its files belong to its user.
    let first = testbed.version("1000:1000", StorageOwner::Kept, SLEEP);
    testbed.deploy(&first);
    testbed.fill(1000);
    let bad = testbed.version("2000:2000", StorageOwner::App, "sleep 1; exit 3");
    let (code, text) = testbed
        .device
        .bad(&["edge-docker", "replace", &bad, "--timeout=30"]);
    assert_eq!(code, 123, "{text}");
    for name in ["", "a", "a/b/one"] {
        assert_eq!(testbed.owner(name), (1000, 1000), "{name}: {text}");
    }
    // By hand, too.
    let good = testbed.version("2000:2000", StorageOwner::App, USE);
    testbed.deploy(&good);
    assert_eq!(testbed.owner("a/b/one"), (2000, 2000));
    testbed
        .device
        .good(&["edge-docker", "rollback", "lamp", "--timeout", "30"]);
    assert_eq!(testbed.owner("a/b/one"), (1000, 1000));
    testbed
        .device
        .good(&["edge-docker", "rollback", "lamp", "--timeout", "30"]);
    assert_eq!(testbed.owner("a/b/one"), (2000, 2000));
}

/// Entries with which a program could make root give away what does not belong to it.
fn hostile_entries(device: &Device) {
    let outside = device.path("/data/outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "x").unwrap();
    let inside = device.path(DATA);
    symlink("/data/outside", inside.join("directory")).unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    // A hard link to a file of root, as only root can make one, and one within.
    fs::hard_link(outside.join("secret"), inside.join("linked")).unwrap();
    fs::write(inside.join("own"), "x").unwrap();
    fs::hard_link(inside.join("own"), inside.join("own-too")).unwrap();
    // Another file system, another mount of the same one, and special files.
    let script = format!(
        "cd {DATA} && mkdir other same && mount -t tmpfs none other && touch other/x && \
         mount --bind /data/outside same && mknod disk b 7 0 && mknod null c 1 3 && mkfifo pipe && \
         chmod u+s own && n=$(printf 'x%.0s' $(seq 200)) && touch $n \"$(printf 'a\\nb')\""
    );
    device.good(&["sh", "-c", &script]);
    // Deeper than any path is long.
    let mut deep = Command::new("python3");
    let program = "import os, sys\nos.chdir(sys.argv[1])\n\
        for n in range(3000):\n os.mkdir('d' * 20); os.chdir('d' * 20)";
    assert!(
        deep.args(["-c", program])
            .arg(&inside)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn nothing_outside_of_the_mounts_is_given() {
    let mut testbed = Testbed::new();
    let first = testbed.version("", StorageOwner::Kept, SLEEP);
    testbed.deploy(&first);
    hostile_entries(&testbed.device);
    let given = testbed.version("1000:1000", StorageOwner::App, SLEEP);
    let output = testbed
        .device
        .run(&["edge-docker", "replace", &given, "--timeout=30"]);
    let output = device::output_text(&output);
    assert!(output.contains("lamp v2 runs"), "{output}");
    assert!(output.contains("keep their owner: "), "{output}");
    let inside = testbed.device.path(DATA);
    for name in [
        "directory",
        "file",
        "up",
        "loop",
        "own",
        "own-too",
        "pipe",
        "a\nb",
    ] {
        assert_eq!(testbed.owner(name), (1000, 1000), "{name}");
    }
    for name in ["disk", "null", "linked"] {
        assert_eq!(testbed.owner(name), (0, 0), "{name}");
    }
    let seen = ["", "/secret"].map(|name| format!("/data/outside{name}"));
    let mounted = ["other", "other/x", "same"].map(|name| format!("{DATA}/{name}"));
    for path in seen.iter().chain(&mounted) {
        let found = testbed.device.good(&["stat", "-c", "%u", path]);
        assert_eq!(found.trim(), "0", "{path}");
    }
    assert_eq!(fs::metadata(inside.join("own")).unwrap().mode() & 0o4000, 0);
    testbed
        .device
        .good(&["umount", &format!("{DATA}/other"), &format!("{DATA}/same")]);
    assert!(
        Command::new("rm")
            .arg("-rf")
            .arg(inside.join("d".repeat(20)))
            .status()
            .unwrap()
            .success()
    );
}

/// Files of the app, and the deployment that gives them, ended in the middle.
#[test]
fn an_interrupted_pass_is_undone_or_repeated() {
    let mut testbed = Testbed::new();
    let first = testbed.version("1000:1000", StorageOwner::Kept, SLEEP);
    testbed.deploy(&first);
    testbed.fill(1000);
    let many = testbed.path("many");
    fs::create_dir(&many).unwrap();
    for number in 0..60_000 {
        File::create(many.join(number.to_string())).unwrap();
    }
    assert!(
        Command::new("chown")
            .args(["-R", "1000:1000"])
            .arg(&many)
            .status()
            .unwrap()
            .success()
    );
    let given = testbed.version("2000:2000", StorageOwner::App, USE);
    let count = |testbed: &Testbed, user: u32| {
        let files = fs::read_dir(testbed.path("many")).unwrap();
        files
            .filter(|f| f.as_ref().unwrap().metadata().unwrap().uid() == user)
            .count()
    };
    let deployment = |testbed: &Testbed| {
        let mut deployment =
            testbed
                .device
                .command(&["edge-docker", "replace", "--apart", &given, "--timeout=30"]);
        let mut deployment = deployment.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(deployment.stdout.take().unwrap());
        while !line.contains("giving") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0);
        }
        until("the first files", || {
            let at = testbed.path("many").join("0");
            (owner(&at).0 == 2000 || deployment.try_wait().unwrap().is_some()).then_some(())
        });
        (deployment, output)
    };
    // Killed, as by a power loss: the old version is the one that runs, with its files.
    let (mut killed, _output) = deployment(&testbed);
    kill(&testbed.device);
    killed.wait().unwrap();
    let moved = count(&testbed, 2000);
    assert!(moved > 0 && moved < 60_000, "{moved}");
    testbed
        .device
        .good(&["edge-docker", "replace", "--recover"]);
    assert_eq!(count(&testbed, 1000), 60_000);
    assert_eq!(testbed.owner("a/b/one"), (1000, 1000));
    assert_eq!(testbed.device.running(), ["lamp"]);

    // Again, to the end.
    testbed.deploy(&given);
    assert_eq!(count(&testbed, 2000), 60_000);
    assert_eq!(testbed.owner("many"), (2000, 2000));
}

/// Kills the processes of the deployment on the device.
fn kill(device: &Device) {
    let script = "for p in /proc/[0-9]*; do \
        if tr '\\0' ' ' < $p/cmdline 2> /dev/null | grep -q -- '--apart'; then kill -KILL ${p#/proc/}; fi; done";
    let _ = device.run(&["sh", "-c", script]);
}
