//! Tickets and clocks: the time of a ticket passes with the time since the boot, whatever
//! the clock says.

use std::process::Stdio;

use serde_json::Value;

use crate::device::until;
use crate::tickets::{Engineer, give, ticket};
use crate::{all, allowed, device, status};

/// Time namespace in which this many seconds more have passed since the boot, while the
/// clock stands where it was: as if somebody had set it back by as much.
fn later<'a>(seconds: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let later = ["unshare", "--time", "--boottime", seconds, "--fork"];
    [&later[..], command].concat()
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_a_ticket() {
    let engineer = Engineer::new();
    let (device, _) = device(&["other"], &engineer);
    let mut good = ticket(1, "other");
    good.minutes = 60;
    let envelope = engineer.ticket(&good);
    allowed(&device, &envelope);
    let exec = ["edge-docker", "exec", "other", "ls"];
    let shown = |seconds| {
        let status = ["edge-docker", "ticket", "status", "--json"];
        let text = device.good(&later(seconds, &status));
        serde_json::from_str::<Value>(&text).unwrap()["ticket"].take()
    };
    assert_eq!(shown("3500")["id"], format!("{:032x}", 1).as_str());
    assert_eq!(shown("3700"), Value::Null);
    let (code, text) = device.bad(&later("3700", &exec));
    assert_eq!(code, 125, "{text}");

    // The service that ends it goes by the same time.
    let wait = later("3590", &["edge-docker", "ticket", "wait"]);
    let mut waiter = device.command(&wait);
    let mut waiter = waiter.stdin(Stdio::null()).spawn().unwrap();
    until("the end", || waiter.try_wait().unwrap());
    assert_eq!(status(&device)["ticket"], Value::Null);
    assert_eq!(device.bad(&exec).0, 125);
    // Nor is it valid again, at any time since the boot.
    for seconds in ["0", "60", "100000"] {
        let again = device.feed(&later(seconds, &["edge-docker", "ticket"]), &envelope);
        assert_eq!(again.status.code(), Some(125));
    }
    assert_eq!(all(&device), ["other"]);
}

/// Less time has passed since the next boot: that must not make the ticket valid again.
#[test]
fn only_another_ticket_is_taken_after_a_boot() {
    let engineer = Engineer::new();
    let (mut device, _) = device(&["other"], &engineer);
    let envelope = engineer.ticket(&ticket(1, "other"));
    allowed(&device, &envelope);
    device.restart_after_power_loss();
    device.start_engine();
    device.good(&["edge-docker", "replace", "--recover"]);
    assert_eq!(give(&device, &envelope).0, 125);
    // The next one has its own time.
    device.good(&["edge-docker", "ticket", "wait"]);
    allowed(&device, &engineer.ticket(&ticket(2, "other")));
    device.good(&["edge-docker", "exec", "other", "ls"]);
    device.good(&["edge-docker", "ticket", "end"]);
    assert_eq!(device.bad(&["edge-docker", "exec", "other", "ls"]).0, 125);
}
