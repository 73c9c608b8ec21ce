//! Break-glass tickets without a device: made, signed with a key on another machine, and
//! refused before anything is signed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use edge_docker_policy::break_glass::BreakGlassTicket;
use edge_signature::Keys;
use edge_signature::dsse::Role;

fn say(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
    let output = command.args(args).current_dir(directory).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_ticket_is_made_and_signed_on_two_machines() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("edge-app.yaml"), "registry: r.io/edge-ai\n").unwrap();
    assert_eq!(say(directory, &["keygen", "engineer.key"]).0, Some(0));
    let make = [
        "ticket",
        "make",
        "--app",
        "camera",
        "--thing",
        "edge-ai-s1",
        "--who",
        "anna",
        "--reason",
        "the picture is dark",
        "--out",
        "asked",
    ];
    let (code, text) = say(directory, &make);
    assert_eq!(code, Some(0), "{text}");
    let sign = ["ticket", "sign", "asked", "--out", "signed"];
    let (code, text) = say(directory, &sign);
    assert!(code == Some(3) && text.contains("engineer_key"), "{text}");
    let with_key = [&sign[..], &["--key", "engineer.key"]].concat();
    let (code, text) = say(directory, &with_key);
    assert_eq!(code, Some(0), "{text}");
    let keys = Keys::from_pems(&[fs::read(directory.join("engineer.key.pub")).unwrap()]).unwrap();
    let signed = fs::read(directory.join("signed")).unwrap();
    let opened = Role::Ticket.verify(&keys, &signed).unwrap();
    let ticket = BreakGlassTicket::parse(&opened.payload).unwrap();
    assert_eq!((ticket.app.as_str(), ticket.minutes), ("camera", 30));
    assert_eq!(opened.payload, fs::read(directory.join("asked")).unwrap());

    // Nothing that a device would refuse is signed.
    for bad in ["", "{}", &"x".repeat(9000)] {
        fs::write(directory.join("asked"), bad).unwrap();
        assert_ne!(say(directory, &with_key).0, Some(0), "{bad}");
    }
    let long = [&make[..], &["--minutes", "481"]].concat();
    assert_eq!(say(directory, &long).0, Some(2));
    let (code, text) = say(
        directory,
        &["ticket", "make", "--thing", "x", "--who", "a", "--out", "y"],
    );
    assert!(code == Some(1) && text.contains("app"), "{text}");
}
