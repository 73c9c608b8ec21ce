//! `app.yaml`, which comes with an app from wherever: what is taken makes a run
//! specification with one canonical form, which the device's own parser takes, and which
//! mounts nothing outside of the app's directory. A refusal names a position.
#![no_main]

use edge_app_spec::{Mapping, Spec, Volume, quote};
use edge_docker_policy::run_spec::{DeviceNames, RunSpec};
use edge_signature::valid_app;
use libfuzzer_sys::fuzz_target;

const IMAGE: &str = "r.io/team@sha256:0";
const DATA: &str = "/data/apps/x";

fuzz_target!(|text: &str| {
    // The text of a file beside it is the text itself: most lines are no assignment.
    let beside = |path: &str| match path {
        "absent" => Ok(None),
        "refused" => Err("refused".to_string()),
        _ => Ok(Some(text.to_string())),
    };
    let spec = match Spec::parse(text, "app.yaml", &beside) {
        Ok(spec) => spec,
        Err(why) => return assert!(why.lines().next().is_some_and(|l| l.starts_with("app.yaml:"))),
    };
    assert!(valid_app(spec.name()));
    let run = spec.run_spec();
    let bytes = run.to_bytes().unwrap();
    assert_eq!(RunSpec::parse(&bytes).unwrap(), run);
    let names = DeviceNames {
        thing: Some("edge-ai-7".into()),
        serial: Some("7".into()),
    };
    run.request(IMAGE, DATA, &names).unwrap();
    for volume in &run.volumes {
        assert!(!volume.source.starts_with('/'));
        assert!(volume.source.split('/').all(|part| part != ".."));
    }
    let words = spec.run_arguments(IMAGE, DATA);
    assert_eq!(&words[..3], ["--detach", "--name", spec.name()]);
    let image = words.iter().position(|w| w == IMAGE).unwrap();
    assert!(words[3..image].iter().all(|w| w.starts_with("--") && w.contains('=')));
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

/// Words that a POSIX shell makes of a line: here nothing but single quotes, and a
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
