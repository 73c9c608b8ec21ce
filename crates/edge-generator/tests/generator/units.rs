//! Units as people write them for docker, with edge-docker in its place.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::testbed::{Testbed, UNIT};

/// Units of the shapes that the documentation of public repositories has. After `== NAME`
/// follows the file, and after `!!` each fault for which it is refused.
const UNITS: &str = include_str!("units.txt");

/// Returns the faults of each unit by its name, and writes the units.
fn write(testbed: &Testbed) -> BTreeMap<String, Vec<String>> {
    let mut expected = BTreeMap::new();
    for unit in UNITS.split("== ").skip(1) {
        let (name, text) = unit.split_once('\n').unwrap();
        let (text, faults) = match text.split_once("!! ") {
            Some((text, faults)) => (text, faults.split("!! ").collect()),
            None => (text, Vec::new()),
        };
        testbed.unit(name, text);
        let faults = faults.into_iter().map(|f| f.trim().to_string());
        expected.insert(name.to_string(), faults.collect());
    }
    expected
}

/// Returns a testbed whose image has the units that apps name.
fn testbed() -> Testbed {
    let testbed = Testbed::new();
    for name in ["docker.service", "sshd.service", "poweroff.target"] {
        fs::write(testbed.path("usr/lib/systemd/system").join(name), "").unwrap();
    }
    testbed
}

fn messages(testbed: &Testbed, name: &str) -> Vec<String> {
    let log = testbed.read("dev/kmsg");
    let start = format!("<4>edge-generator: {name}: ");
    let lines = log.lines().filter_map(|line| line.strip_prefix(&start));
    let faults = lines.filter(|l| !l.contains("= is left out: ") && !l.contains(" old name: "));
    faults.map(String::from).collect()
}

#[test]
fn most_of_them_pass_and_the_others_get_all_faults_at_once() {
    let testbed = testbed();
    let expected = write(&testbed);
    let links = testbed.generate();
    assert_eq!(expected.len(), 60);
    let accepted = expected.values().filter(|faults| faults.is_empty()).count();
    assert!(accepted >= 45, "{accepted}");
    for (name, faults) in &expected {
        let found = messages(&testbed, name);
        assert_eq!(found.len(), faults.len(), "{name}: {found:#?}");
        for fault in faults {
            assert!(
                found.iter().any(|f| f.starts_with(fault)),
                "{fault}: {found:#?}"
            );
        }
        let exists = links.contains_key(name) || testbed.path("normal").join(name).is_file();
        assert_eq!(exists, faults.is_empty(), "{name}");
    }
    // A second run changes nothing.
    assert_eq!(links, testbed.generate());
}

/// Nothing of a unit reaches the process of edge-docker, which is root's.
#[test]
fn variables_reach_the_container_alone() {
    let testbed = testbed();
    let run = "/usr/bin/edge-docker run --rm r:recorder-${VERSION}";
    testbed.unit(
        "recorder.service",
        format!(
            "[Service]\nEnvironment=VERSION=1.2 \"LD_PRELOAD=/data/apps/recorder/x.so\"\n\
             EnvironmentFile=-/data/apps/recorder/r.env\nUser=core\nExecStart={run}\n\
             [Install]\nWantedBy=multi-user.target\nAlias=rec.service\n"
        ),
    );
    fs::create_dir(testbed.path("data/services/recorder.service.d")).unwrap();
    testbed.unit(
        "recorder.service.d/more.conf",
        "[Service]\nEnvironment=VERSION=1.3\n",
    );
    for _ in 0..2 {
        let links = testbed.generate();
        let written = testbed.read("normal/recorder.service");
        let expected = "ExecStart=/usr/bin/edge-docker run \
                        -e LD_PRELOAD=/data/apps/recorder/x.so -e VERSION=1.3 \
                        --env-file systemd:-/data/apps/recorder/r.env --rm r:recorder-1.3\n";
        assert!(written.contains(expected), "{written}");
        let dropped = testbed.read("normal/recorder.service.d/more.conf");
        for text in [&written, &dropped] {
            assert!(
                !text.contains("Environment") && !text.contains("User"),
                "{text}"
            );
        }
        // No other name leads to the file with the variables.
        assert_eq!(links["rec.service"], "recorder.service");
        assert_eq!(
            links["multi-user.target.wants/recorder.service"],
            "../recorder.service"
        );
        assert!(
            !links
                .values()
                .any(|target| target.contains("/data/services"))
        );
    }
    // Without variables, the unit is linked again.
    testbed.unit("recorder.service", UNIT);
    fs::remove_dir_all(testbed.path("data/services/recorder.service.d")).unwrap();
    let links = testbed.generate();
    assert_eq!(links["recorder.service"], "/data/services/recorder.service");
}

#[test]
fn variables_are_refused_where_the_signature_decides() {
    let testbed = testbed();
    let policy = testbed.path("etc/edge-ai/container-config/policy.json");
    let unit = UNIT.replace("[Service]", "[Service]\nEnvironment=A=1");
    testbed.unit("a.service", unit);
    for (policy_text, refused) in [
        (r#"{"run":"any"}"#, false),
        (r#"{"run":"signed"}"#, true),
        ("{}", true),
    ] {
        fs::write(&policy, policy_text).unwrap();
        fs::write(testbed.path("dev/kmsg"), "").unwrap();
        testbed.generate();
        let found = messages(&testbed, "a.service");
        assert_eq!(
            found.len(),
            usize::from(refused),
            "{policy_text}: {found:?}"
        );
        if refused {
            assert!(
                found[0].starts_with("line 2: variables are part"),
                "{found:?}"
            );
        }
    }
}

/// systemd reads what the generator writes as it is meant.
#[test]
fn systemd_accepts_the_units_that_are_written_again() {
    let testbed = testbed();
    write(&testbed);
    testbed.generate();
    let written: Vec<_> = fs::read_dir(testbed.path("normal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.is_file() && !path.is_symlink() && path.extension().is_some_and(|e| e == "service")
        })
        .collect();
    assert!(written.len() >= 7, "{written:?}");
    let output = Command::new("/usr/bin/systemd-analyze")
        .args(["--man=no", "verify"])
        .args(&written)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    // Complaints about a line of a file; an escape is as unknown in the original.
    let start = format!("{}/", testbed.path("normal").display());
    let read = |line: &&str| line.starts_with(&start) && !line.contains("unknown escape");
    let complaints: Vec<_> = text.lines().filter(read).collect();
    assert!(complaints.is_empty(), "{text}");
}

#[test]
fn failures_start_units_of_the_same_directory_alone() {
    let testbed = testbed();
    let unit = |target: &str| {
        UNIT.replace(
            "[Service]",
            &format!("[Unit]\nOnFailure={target}\n[Service]"),
        )
    };
    testbed.unit("alert.service", UNIT);
    testbed.unit("good.service", unit("alert.service"));
    testbed.unit("absent.service", unit("no-such.service"));
    for target in [
        "sshd.service",
        "poweroff.target",
        "reboot.target",
        "systemd-x.service",
    ] {
        testbed.unit(&format!("bad-{target}.service"), unit(target));
    }
    let links = testbed.generate();
    for name in ["good.service", "absent.service"] {
        assert!(links.contains_key(name), "{name}");
    }
    for target in [
        "sshd.service",
        "poweroff.target",
        "reboot.target",
        "systemd-x.service",
    ] {
        let name = format!("bad-{target}.service");
        assert!(!links.contains_key(&name), "{name}");
        let found = messages(&testbed, &name);
        assert!(
            found[0].starts_with(&format!("line 2: may not start {target}")),
            "{found:?}"
        );
    }
}

#[test]
fn units_bind_to_devices() {
    let testbed = testbed();
    testbed.unit(
        "modem@.service",
        UNIT.replace(
            "[Service]",
            "[Unit]\nBindsTo=dev-%i.device\nAfter=dev-%i.device\n[Service]",
        ),
    );
    let links = testbed.generate();
    assert!(links.contains_key("modem@.service"), "{links:?}");
}
