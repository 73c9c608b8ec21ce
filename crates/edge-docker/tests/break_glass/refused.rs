//! Tickets that are none, and tickets of something else, against a running app that holds
//! grants.

use edge_docker_policy::break_glass::{ALL_APPS, TicketLevel};
use edge_signature::dsse::Role;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::attempts;
use crate::device::Device;
use crate::tickets::{Engineer, THING, give, let_pass, name, ticket};

/// Signed payload with these replacements in the text of a good ticket.
fn edited(engineer: &Engineer, from: &str, to: &str) -> Vec<u8> {
    let good = String::from_utf8(ticket(9, "net").to_bytes().unwrap()).unwrap();
    let text = good.replacen(from, to, 1);
    assert_ne!(text, good, "{from}");
    engineer.sign(Role::Ticket, text.as_bytes())
}

/// Envelope whose payload was changed after it was signed.
fn stretched(envelope: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(envelope).unwrap();
    let payload = openssl::base64::decode_block(value["payload"].as_str().unwrap()).unwrap();
    let text = String::from_utf8(payload).unwrap();
    assert!(text.contains(from), "{from}");
    value["payload"] = openssl::base64::encode_block(text.replacen(from, to, 1).as_bytes()).into();
    value.to_string().into_bytes()
}

/// Replacements in the text of a good ticket that is then signed.
const WRONG: [(&str, &str); 24] = [
    ("\"minutes\":30", "\"minutes\":481"),
    ("\"minutes\":30", "\"minutes\":30,\"minutes\":480"),
    ("\"v\":1", "\"v\":2"),
    ("\"v\":1", "\"v\":1,\"x\":0"),
    ("{", "{ "),
    (THING, "edge-ai-s2"),
    ("4000000000", "1600000000"),
    ("\"debug\"", "\"look\""),
    ("\"debug\"", "\"root\""),
    ("\"debug\"", "null"),
    ("\"minutes\":30", "\"minutes\":0"),
    ("\"minutes\":30", "\"minutes\":-30"),
    ("\"minutes\":30", "\"minutes\":3e1"),
    ("\"minutes\":30", "\"minutes\":4294967326"),
    ("\"minutes\":30,", ""),
    ("\"v\":1", "\"v\":\"1\""),
    ("\"v\":1,", ""),
    ("\"net\"", "\"net-previous\""),
    ("\"net\"", "[\"net\",\"other\"]"),
    ("\"net\"", "\"../net\""),
    (THING, "*"),
    (THING, ""),
    ("anna", "an\u{202e}na"),
    ("the camera is dark", ""),
];

/// All inputs that are refused, with a name for each.
fn inputs(device: &Device, engineer: &Engineer) -> Vec<(String, Vec<u8>)> {
    let good = engineer.ticket(&ticket(9, "net"));
    let payload = ticket(9, "net").to_bytes().unwrap();
    let mut inputs: Vec<(String, Vec<u8>)> = Vec::new();
    for (from, to) in [
        ("\"minutes\":30", "\"minutes\":480"),
        ("4000000000", "4100000000"),
        ("\"debug\"", "\"operate\""),
        ("\"net\"", "\"*\""),
        (THING, "edge-ai-s2"),
        ("anna", "otto"),
    ] {
        inputs.push((format!("stretched {to}"), stretched(&good, from, to)));
    }
    for (from, to) in WRONG {
        inputs.push((format!("signed {to}"), edited(engineer, from, to)));
    }
    for role in [Role::Container, Role::Os] {
        inputs.push((format!("{role:?}"), engineer.sign(role, &payload)));
    }
    // The key of containers signs no ticket, and its signature under a ticket's type is
    // that of a stranger.
    let key = std::fs::read(device.path("/data/key.pem")).unwrap();
    let container = Engineer(PKey::private_key_from_pem(&key).unwrap());
    inputs.push(("container key".into(), container.ticket(&ticket(9, "net"))));
    inputs.push(("stranger".into(), Engineer::new().ticket(&ticket(9, "net"))));
    let mut other_type: Value = serde_json::from_slice(&good).unwrap();
    other_type["payloadType"] = Role::Os.payload_type().into();
    inputs.push(("other type".into(), other_type.to_string().into_bytes()));
    // That of images and release sets.
    other_type["payloadType"] = "application/vnd.in-toto+json".into();
    inputs.push(("type of sets".into(), other_type.to_string().into_bytes()));
    let mut unsigned: Value = serde_json::from_slice(&good).unwrap();
    unsigned["signatures"] = json!([]);
    inputs.push(("unsigned".into(), unsigned.to_string().into_bytes()));
    inputs.push(("payload alone".into(), payload));
    inputs.push(("empty".into(), Vec::new()));
    inputs.push(("cut".into(), good[..good.len() / 2].to_vec()));
    inputs.push(("twice".into(), [&good[..], &good].concat()));
    inputs.push((
        "large".into(),
        [&good[..], &[b' '; 10_000][..], b"x"].concat(),
    ));
    inputs.push(("deep".into(), vec![b'['; 8000]));
    inputs.push(("not text".into(), vec![0xff; 100]));
    inputs
}

#[test]
fn what_is_no_ticket_has_no_effect() {
    let engineer = Engineer::new();
    let device = Device::start();
    let (code, text) = give(&device, &engineer.ticket(&ticket(1, "net")));
    assert!(code == 125 && text.contains("tickets are off"), "{text}");
    engineer.install(&device);
    let inputs = inputs(&device, &engineer);
    let count = inputs.len();
    for (what, input) in inputs {
        let (code, text) = give(&device, &input);
        assert_eq!(code, 125, "{what}: {text}");
        assert!(text.contains("ticket"), "{what}: {text}");
        assert!(
            !device.path("/run/edge-ai/break-glass.json").exists(),
            "{what}"
        );
    }
    assert!(count >= 44, "{count}");
    // None of them has used the ticket up.
    assert_eq!(give(&device, &engineer.ticket(&ticket(9, "net"))).0, 0);
}

/// Parts of attempts that concern the grants of the app.
const GRANTED: [&str; 4] = ["exec ", "--grant", "--cap-add", "--network host"];

/// Attempts on the app `net` with documents that are no ticket for it.
#[test]
fn only_its_own_ticket_lets_an_app_with_grants_do_more() {
    let engineer = Engineer::new();
    let (device, images) = crate::device(&["net", "other"], &engineer);
    let image = &images[0].name;
    let refused = |when: &str| {
        // A ticket for all apps covers the image, without grants.
        let is_tried: fn(&str) -> bool = match when {
            ALL_APPS => |line| GRANTED.iter().any(|part| line.contains(part)),
            _ => |_| true,
        };
        attempts::assert_refused(&device, image, when, is_tried)
    };
    let mut count = refused("without a ticket");
    let before = attempts::state(&device);
    for (what, input) in inputs(&device, &engineer) {
        assert_eq!(give(&device, &input).0, 125, "{what}");
        let (code, text) = device.bad(&["edge-docker", "exec", "net", "sh", "-c", "id"]);
        assert_eq!(code, 125, "{what}: {text}");
        assert_eq!(attempts::state(&device), before, "{what}");
        count += 1;
    }
    let good = |n, app: &str| engineer.ticket(&ticket(n, app));
    let mut operate = ticket(3, "net");
    operate.level = TicketLevel::Operate;
    let tickets = [
        ("of another app", good(1, "other")),
        (ALL_APPS, good(2, ALL_APPS)),
        ("of its own level", engineer.ticket(&operate)),
    ];
    for (when, envelope) in &tickets {
        assert_eq!(give(&device, envelope).0, 0, "{when}");
        count += refused(when);
        device.good(&["edge-docker", "ticket", "end"]);
        let (code, text) = give(&device, envelope);
        assert!(code == 125 && text.contains("valid once"), "{when}: {text}");
    }
    assert_eq!(attempts::state(&device), before);
    // Its own ticket, whose time has passed; nobody has ended it yet.
    let own = good(4, "net");
    assert_eq!(give(&device, &own).0, 0);
    let_pass(&device);
    count += refused("after its time");
    assert_eq!(give(&device, &own).0, 125);
    println!("{count} attempts");
    assert!(count >= 350, "{count} attempts");
}

#[test]
fn a_used_ticket_is_remembered_until_its_time_has_certainly_passed() {
    let engineer = Engineer::new();
    let device = Device::start();
    engineer.install(&device);
    let good = engineer.ticket(&ticket(1, "net"));
    let end = || end(&device);
    assert_eq!(give(&device, &good).0, 0);
    end();
    let replayed = |why: &str| {
        let (code, text) = give(&device, &good);
        assert!(code == 125 && text.contains(why), "{text}");
    };
    replayed("valid once");
    // Neither another device's name nor a new boot changes that.
    name(&device, "edge-ai-s2");
    replayed("this device is edge-ai-s2");
    name(&device, THING);
    // The image was built after the ticket's time: it is forgotten, and expired.
    device.write("/etc/timestamp", b"20970101000000\n");
    replayed("was to be taken before");
    let mut later = ticket(2, "net");
    later.not_after = 4_200_000_000;
    assert_eq!(give(&device, &engineer.ticket(&later)).0, 0);
    end();
    let record = device.json("/data/config/edge-docker/break-glass.json");
    assert_eq!(record["used"].as_array().unwrap().len(), 1);
    // An older image, as after a return to the other slot.
    device.write("/etc/timestamp", b"20260101000000\n");
    replayed("was to be taken before");
    // The newest time of the cloud counts in the same way.
    device.write(
        "/data/config/edge-heartbeat/cloud-time.json",
        br#"{"v":1,"unix":4102000000}"#,
    );
    let mut early = ticket(3, "net");
    early.not_after = 4_101_000_000;
    let (code, text) = give(&device, &engineer.ticket(&early));
    assert!(
        code == 125 && text.contains("was to be taken before"),
        "{text}"
    );

    // A damaged record permits nothing.
    device.write("/data/config/edge-docker/break-glass.json", b"{");
    let (code, text) = give(&device, &engineer.ticket(&ticket(4, "net")));
    assert!(code != 0 && text.contains("damaged"), "{text}");
}

/// Ends the ticket as a restart does, which needs no engine.
fn end(device: &Device) {
    std::fs::remove_file(device.path("/run/edge-ai/break-glass.json")).unwrap();
}
