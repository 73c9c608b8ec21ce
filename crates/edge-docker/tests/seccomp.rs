//! The image's seccomp profile compared with that of the engine, in two real engines: it
//! permits no more, and no change of a file's project and flags. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use device::Device;
use serde_json::Value;

const PROFILE: &str = "../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/seccomp.json";
/// Requests to the kernel that change project or flags, `FS_IOC_FSSETXATTR`,
/// `FS_IOC_SETFLAGS` and `FS_IOC32_SETFLAGS`.
const REFUSED: [u64; 3] = [0x401c_5820, 0x4008_6602, 0x4004_6602];
/// Calls that newer versions of the engine do not permit either.
const STRICTER: [&str; 3] = ["io_uring_enter", "io_uring_register", "io_uring_setup"];

/// Conditions under which each call is permitted; an empty one always holds.
type Permitted = BTreeMap<String, BTreeSet<String>>;

fn permitted(profile: &Value) -> Permitted {
    let mut permitted = Permitted::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        if rule["action"] != "SCMP_ACT_ALLOW" {
            continue;
        }
        let arguments = rule["args"].as_array().filter(|a| !a.is_empty());
        let condition = arguments.map_or(String::new(), |a| serde_json::to_string(a).unwrap());
        for name in rule["names"].as_array().unwrap() {
            let entry = permitted.entry(name.as_str().unwrap().into()).or_default();
            entry.insert(condition.clone());
        }
    }
    permitted
}

/// Returns whether the rules of the profile permit `ioctl` with a request.
fn permits_ioctl(profile: &Value, request: u64) -> bool {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let mut rules = rules.filter(|r| r["names"].as_array().unwrap().iter().any(|n| n == "ioctl"));
    rules.any(|rule| {
        assert_eq!(rule["action"], "SCMP_ACT_ALLOW");
        let [argument] = &rule["args"].as_array().unwrap()[..] else {
            panic!("{rule}");
        };
        assert_eq!(argument["op"], "SCMP_CMP_MASKED_EQ");
        assert_eq!(argument["index"], 1);
        request & argument["value"].as_u64().unwrap() == argument["valueTwo"].as_u64().unwrap()
    })
}

#[test]
fn requests_are_refused_by_their_lower_bits() {
    let profile: Value = serde_json::from_slice(&fs::read(PROFILE).unwrap()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    for request in REFUSED {
        for high in [0, 1 << 32, 0xffff_ffff << 32] {
            assert!(!permits_ioctl(&profile, request | high), "{request:x}");
        }
        // A neighbour in any bit by which requests differ.
        for bit in 0..16 {
            assert!(permits_ioctl(&profile, request ^ 1 << bit), "{request:x}");
        }
    }
    let refused = (0..1 << 16).filter(|low| !permits_ioctl(&profile, *low));
    assert_eq!(refused.collect::<Vec<_>>(), [0x5820, 0x6602]);
}

/// Engine with a running container, which mounts the program `attributes`.
struct Side {
    device: Device,
    program: &'static str,
    id: String,
}

impl Side {
    fn new(program: &'static str) -> Self {
        let mut device = Device::start();
        if program == "docker" {
            device.without_plugin();
            device.without_profile();
        }
        device.start_engine();
        let image = device.image("small", 0);
        let binary = device.path("/data/apps/small/attributes");
        fs::create_dir_all(binary.parent().unwrap()).unwrap();
        let mut rustc = Command::new("rustc");
        let rustc = rustc.args(["--edition=2021", "-Ctarget-feature=+crt-static", "-o"]);
        let rustc = rustc.arg(&binary).arg("tests/attributes/program.rs");
        assert!(rustc.status().unwrap().success());
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let image = match program {
            "docker" => image.id,
            _ => image.name,
        };
        // The engine's default, less what edge-docker drops anyway.
        let id = device.good(&[
            program,
            "run",
            "-d",
            "--cap-drop=SYS_CHROOT",
            "-v",
            "/data/apps/small:/data",
            &image,
            "sleep",
            "1000",
        ]);
        let id = id.trim().to_string();
        Self {
            device,
            program,
            id,
        }
    }

    /// Returns the numbers of the errors of the program `attributes`, by request.
    fn attributes(&self) -> BTreeMap<String, i32> {
        let args = [self.program, "exec", &self.id, "/data/attributes", "/data"];
        let printed = self.device.good(&args);
        let pairs = printed.lines().map(|line| line.split_once(' ').unwrap());
        let pairs = pairs.map(|(name, error)| (name.to_string(), error.parse().unwrap()));
        pairs.collect()
    }

    /// Returns the profile with which the runtime has started the container.
    fn profile(&self) -> Permitted {
        let find = format!(
            "cat $(find /run /var/run -path '*/{}/config.json')",
            self.id
        );
        let config = self.device.good(&["sh", "-c", &find]);
        let config: Value = serde_json::from_str(&config).unwrap();
        permitted(&config["linux"]["seccomp"])
    }
}

#[test]
fn containers_change_no_project_and_may_do_no_more_than_dockers() {
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| Side::new("edge-docker"));
        let theirs = Side::new("docker");
        (ours.join().unwrap(), theirs)
    });
    let (refused, open) = (ours.attributes(), theirs.attributes());
    assert_eq!(refused.len(), 9);
    for (request, error) in &refused {
        match request.starts_with("set-") {
            true => assert!(*error == 1 && open[request] != 1, "{refused:?} {open:?}"),
            false => assert_eq!(*error, open[request], "{request}"),
        }
    }
    let (ours, theirs) = (ours.profile(), theirs.profile());
    for (call, conditions) in &ours {
        let engine = theirs.get(call).unwrap_or_else(|| panic!("{call} is new"));
        let is_within = engine.contains("") || conditions.is_subset(engine);
        assert!(is_within, "{call}: {conditions:?} {engine:?}");
    }
    let missing: Vec<_> = theirs.keys().filter(|c| !ours.contains_key(*c)).collect();
    assert!(
        missing.iter().all(|c| STRICTER.contains(&c.as_str())),
        "{missing:?}"
    );
}
