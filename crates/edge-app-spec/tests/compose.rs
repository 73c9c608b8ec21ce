//! Lines of compose files as people write them, with the verdict on each.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_app_spec::Spec;

/// Cases: verdict, expected text and lines.
fn cases() -> Vec<(&'static str, &'static str, String)> {
    let mut cases: Vec<(&str, &str, String)> = Vec::new();
    for line in include_str!("compose.txt").lines() {
        match line.strip_prefix("= ") {
            Some(head) => {
                let (verdict, expected) = head.split_once(": ").unwrap();
                cases.push((verdict, expected, "name: a\n".into()));
            }
            None => {
                if let Some((_, _, text)) = cases.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    cases
}

#[test]
fn each_line_is_taken_or_refused_with_its_reason() {
    let mut wrong = Vec::new();
    for (verdict, expected, text) in cases() {
        let spec = Spec::parse(&text, "app.yaml", &|_| Ok(None));
        let (found, output) = match spec {
            Ok(spec) if verdict == "warned" => ("warned", spec.warnings().join("\n")),
            Ok(spec) => {
                let bytes = spec.run_spec().to_bytes().unwrap();
                ("taken", String::from_utf8(bytes).unwrap())
            }
            Err(why) => ("refused", why),
        };
        if found != verdict || !output.contains(expected) {
            wrong.push(format!(
                "{text}expected {verdict}: {expected}\nfound {found}: {output}\n"
            ));
        }
    }
    assert!(cases().len() >= 200, "{}", cases().len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
