//! `app.yaml`, which comes with an app from wherever: what is taken gives a
//! device words on one line each, in no other places than those of options, and
//! a shell gives them back as they are.
#![no_main]

use edge_app_spec::{Mapping, Spec, Volume, parse_yaml, quote};
use edge_signature::valid_app;
use libfuzzer_sys::fuzz_target;

const IMAGE: &str = "r.io/team@sha256:0";
const OPTIONS: [&str; 13] = [
    "restart",
    "publish",
    "env",
    "volume",
    "health-cmd",
    "health-interval",
    "health-timeout",
    "health-start-period",
    "health-retries",
    "memory",
    "cpus",
    "pids-limit",
    "grant",
];

fuzz_target!(|text: &str| {
    let spec = match parse_yaml::<Spec>(text, "app.yaml") {
        Ok(spec) => spec,
        Err(why) => return assert!(why.starts_with("app.yaml:")),
    };
    assert!(valid_app(spec.name()));
    let words = spec.run_arguments(IMAGE, "/data/apps/x");
    assert!(!words.iter().any(|w| w.contains(char::is_control)));
    let [detach, name, app, options @ .., image] = &words[..] else {
        panic!("{words:?}");
    };
    let fixed = [detach.as_str(), name, app, image];
    assert_eq!(fixed, ["--detach", "--name", spec.name(), IMAGE]);
    for option in options {
        let (name, value) = option[2..].split_once('=').unwrap();
        assert!(option.starts_with("--") && OPTIONS.contains(&name));
        if name == "volume" {
            let source = value.split(':').next().unwrap();
            assert!(source == "/data/apps/x" || source.starts_with("/data/apps/x/"));
            assert!(source.split('/').all(|part| part != ".."));
        }
    }
    assert_eq!(unquoted(&quote(words.iter())), words);
    for volume in &spec.volumes {
        assert_eq!(Volume::try_from(volume.to_string()).as_ref(), Ok(volume));
    }
    for mapping in &spec.sync {
        assert_eq!(Mapping::try_from(mapping.to_string()).as_ref(), Ok(mapping));
        assert!(!mapping.below.split('/').any(|p| p == ".."));
        assert!(!mapping.below.starts_with('/') && !mapping.local.starts_with('/'));
    }
});

/// What a POSIX shell makes of a line: here nothing but single quotes, and a
/// backslash before one of those, may stand outside of them.
fn unquoted(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut inside, mut letters) = (false, line.chars());
    while let Some(letter) = letters.next() {
        let last = words.last_mut().unwrap();
        match letter {
            '\'' => inside = !inside,
            other if inside => last.push(other),
            '\\' => {
                assert_eq!(letters.next(), Some('\''));
                last.push('\'');
            }
            ' ' => words.push(String::new()),
            other => panic!("{other:?} stands outside of quotes in {line}"),
        }
    }
    assert!(!inside);
    words
}
