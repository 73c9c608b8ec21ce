//! Tests of units: which files are accepted, and what is refused.

use super::*;

const VALID: &str = "[Unit]\nAfter=docker.service\n# words\n[Service]\nExecStart=/usr/bin/edge-docker run \\\n  # between\n  --rm x\n[Install]\nWantedBy=multi-user.target timers.target\nAlias=b.service\n";

fn faults(text: &str) -> Vec<String> {
    parse("a.service", text).faults(Vec::new())
}

#[test]
fn a_unit_and_its_drop_in_are_parsed() {
    let mut unit = parse("a.service", VALID);
    let wanted: Vec<_> = unit.all(Key::WantedBy).collect();
    assert_eq!(wanted, ["multi-user.target", "timers.target"]);
    assert!(unit.all(Key::Alias).eq(["b.service"]));
    let file = "a.service.d/x.conf";
    unit.read(file, "[Install]\nWantedBy=\nWantedBy=paths.target\n");
    assert!(unit.all(Key::WantedBy).eq(["paths.target"]));
    assert_eq!(unit.faults(Vec::new()), Vec::<String>::new());
    let file = "a.service.d/y.conf";
    unit.read(
        file,
        "[Service]\nExecStart=\nExecStart=/bin/sh\nMemoryMax=1\n",
    );
    let faults = unit.faults(Vec::new());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("a.service.d/y.conf: line 3: "));
    assert!(faults[1].starts_with("a.service.d/y.conf: line 4: "));
}

#[test]
fn only_edge_docker_is_started() {
    for value in [
        "/bin/sh -c x",
        "+/usr/bin/edge-docker x",
        "!/usr/bin/edge-docker",
        "!!/usr/bin/edge-docker",
        "-+/usr/bin/edge-docker",
        "@/usr/bin/edge-docker sh",
        "-@/usr/bin/edge-docker sh",
        "|/usr/bin/edge-docker",
        "\"/usr/bin/edge-docker\"",
        "/usr/bin/edge-docker2",
        "/usr/bin/../bin/sh",
        "%h/edge-docker",
        "edge-docker",
        "/usr/bin/edge-docker ps ; /bin/sh",
        "/usr/bin/edge-docker ps\t;\t/bin/sh",
        "/usr/bin/edge-docker ps \";\" /bin/sh",
        "/usr/bin/edge-docker\u{a0}ps",
        "-/bin/sh",
        ":/bin/sh",
    ] {
        for key in ["ExecStart", "ExecStartPre", "ExecStopPost", "ExecReload"] {
            let faults = faults(&format!("[Service]\n{key}={value}\n"));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("a.service: line 2: "), "{faults:?}");
        }
    }
    for value in ["-/usr/bin/edge-docker ps", ":-/usr/bin/edge-docker ps", ""] {
        let text = format!("[Service]\nExecStart = {value}\n");
        assert!(faults(&text).is_empty(), "{value}");
    }
}

#[test]
fn keys_and_sections_that_are_not_listed_are_refused() {
    for text in [
        "[Service]\nEnvironmentFile=/data/x",
        "[Timer]\nOnBootSec=1",
        "[Service]\nPassEnvironment=X",
        "[Service]\nExecSearchPath=/data",
        "[Service]\nRootDirectory=/data/x",
        "[Service]\nRootImage=/data/x",
        "[Service]\nBindPaths=/data/x:/usr/bin",
        "[Service]\nTemporaryFileSystem=/etc",
        "[Service]\nStandardOutput=file:/etc/passwd",
        "[Unit]\nConflicts=sshd.service",
        "[Unit]\nFailureAction=poweroff",
        "[Unit]\nDefaultDependencies=no",
        "[Mount]\nWhat=/dev/sda",
        "ExecStart=/bin/sh",
        "[Socket]\nExecStartPost=/bin/sh",
        "nonsense",
        "[Service]\n.include /x",
        "[service]\nExecStart=/bin/sh",
        "[Service]\nEXECSTART=/bin/sh",
        "[Service]\nExecStart\u{a0}=/usr/bin/edge-docker",
        "\u{feff}[Service]\nExecStart=/usr/bin/edge-docker",
    ] {
        assert!(!faults(text).is_empty(), "{text}");
    }
}

/// Files in which systemd finds a line that a simpler parser would miss.
#[test]
fn ambiguous_lines_are_refused() {
    for text in [
        "[Service]\n\\\nExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\\\\\nExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\\ \nExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\\\t\nExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\rExecStart=/bin/sh",
        "[Service]\r\nExecStart=/usr/bin/edge-docker\r\n",
        "[Service]\nSyslogIdentifier=x\0ExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\u{b}ExecStart=/bin/sh",
        "[Service]\nSyslogIdentifier=x\\\n\nExecStart=/bin/sh",
        "[Service]\n#x\\\nExecStart=/bin/sh",
        "[Service]\nExecStart=/usr/bin/edge-docker ps \\\n; /bin/sh\n; /bin/sh \\\n  \\\n ; /bin/sh\nExecStart=/bin/sh",
    ] {
        assert!(!faults(text).is_empty(), "{text:?}");
    }
}

/// Faults beyond a limit are only counted.
#[test]
fn all_faults_are_found_at_once() {
    let text = "[Unit]\nBindTo=x.service\n[Service]\nSlice=core\nMemoryMax=1G\nword\n\
                ExecStartPre=/bin/mkdir x\n[X-Fleet]\nGlobal=true\nanything\n[install]\n\
                WantedBy=x.target\nAlias=y.service\n";
    let places: Vec<_> = faults(text)
        .iter()
        .map(|f| f.split(": ").nth(1).unwrap().to_string())
        .collect();
    assert_eq!(
        places,
        ["line 2", "line 4", "line 5", "line 6", "line 7", "line 11"]
    );
    let many = faults(&format!("[Service]\n{}", "Slice=x\n".repeat(50)));
    assert_eq!(many.len(), MAX_FAULTS + 1);
    assert_eq!(many.last().unwrap(), "a.service: 30 more faults");
}

#[test]
fn variables_are_written_into_the_command_line() {
    let text = "[Service]\nEnvironment=V=1 LD_PRELOAD=/data/apps/x/x.so\n\
                ExecStart=/usr/bin/edge-docker run r:${V}\n";
    let mut unit = parse("a.service", text);
    let file = "a.service.d/x.conf";
    unit.read(file, "[Service]\nEnvironment=V=2\n");
    unit.finish(false);
    assert_eq!(unit.faults(Vec::new()), Vec::<String>::new());
    let written: Vec<_> = unit.written().collect();
    let expected = "\n[Service]\nExecStart=/usr/bin/edge-docker run \
                    -e LD_PRELOAD=/data/apps/x/x.so -e V=2 r:2\n";
    assert!(written[0].1.ends_with(expected), "{written:?}");
    assert!(written[1].1.ends_with("\n[Service]\n"), "{written:?}");
    let mut unit = parse("a.service", text);
    unit.finish(true);
    assert!(unit.faults(Vec::new())[0].starts_with("a.service: line 2: variables are part"));
    let mut unit = parse("a.service", &text.replace("run", "start"));
    unit.finish(false);
    assert!(unit.faults(Vec::new())[0].starts_with("a.service: line 2: variables reach"));
    let mut unit = parse("a@.service", text);
    unit.read("a@b.service.d/x.conf", "[Service]\nEnvironment=V=2\n");
    assert!(unit.faults(Vec::new())[0].starts_with("a@b.service.d/x.conf: line 2: "));
    let mut unit = parse("a.service", "[Service]\nRestart=no\n");
    unit.finish(true);
    assert_eq!(unit.written().count(), 0);
}

/// systemd keeps dependencies, and the first unit that a timer starts.
#[test]
fn an_empty_value_hides_nothing_that_systemd_keeps() {
    for (key, section, list) in [
        ("After", "Unit", Key::After),
        ("Before", "Unit", Key::Before),
        ("Wants", "Unit", Key::Needs),
        ("BindsTo", "Unit", Key::Needs),
        ("OnFailure", "Unit", Key::OnFailure),
        ("Unit", "Timer", Key::Fires),
    ] {
        let text = format!("[{section}]\n{key}=a.service\n{key}=\n{key}=b.service\n");
        let unit = parse("x.timer", &text);
        assert!(unit.all(list).eq(["a.service", "b.service"]), "{key}");
    }
}

#[test]
fn implied_units_are_named_after_the_unit() {
    let implied = |name: &str, text: &str| parse(name, text).implied();
    let some = |name: &str| Some(name.to_string());
    assert_eq!(
        implied("a.timer", "[Timer]\nOnBootSec=1"),
        some("a.service")
    );
    assert_eq!(implied("a@.timer", ""), some("a@.service"));
    for yes in ["yes", "YES", "True", "1", "On", "y", "T"] {
        let text = format!("[Socket]\nAccept={yes}");
        assert_eq!(implied("a.socket", &text), some("a@.service"), "{yes}");
    }
    assert_eq!(implied("a.service", ""), None);
    assert_eq!(implied("a.path", "[Path]\nUnit=b.service"), None);
}
