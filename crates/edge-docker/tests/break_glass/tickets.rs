//! Engineer's key, and tickets as `edge-app ticket` signs them.

use std::fs;

use edge_docker_policy::break_glass::{BreakGlassTicket, TicketLevel};
use edge_signature::dsse::Role;
use edge_signature::sign_with_pem;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};

use crate::device::Device;

pub const THING: &str = "edge-ai-s1";
pub const CONFIG: &str = "/data/config/aws-iot/config.json";
pub const ENGINEER: &str = "/etc/edge-ai/container-config/engineer-signing.pub";

/// Key of an engineer.
pub struct Engineer(pub PKey<Private>);

impl Engineer {
    pub fn new() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        Self(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    /// Installs the public key on a device, which gets its name, too.
    pub fn install(&self, device: &Device) {
        device.write(ENGINEER, &self.0.public_key_to_pem().unwrap());
        name(device, THING);
    }

    pub fn sign(&self, role: Role, payload: &[u8]) -> Vec<u8> {
        let pem = self.0.private_key_to_pem_pkcs8().unwrap();
        let (signature, _) = sign_with_pem(&pem, &role.to_sign(payload)).unwrap();
        role.seal(payload, &signature)
    }

    pub fn ticket(&self, ticket: &BreakGlassTicket) -> Vec<u8> {
        self.sign(Role::Ticket, &ticket.to_bytes().unwrap())
    }
}

/// Writes the identity of the device.
pub fn name(device: &Device, thing: &str) {
    device.write(CONFIG, config(thing).as_bytes());
}

/// Identity of a device.
pub fn config(thing: &str) -> String {
    let config = serde_json::json!({ "endpoint": "iot.test", "thing_name": thing,
        "cert_path": "/data/config/aws-iot/device.crt",
        "key_path": "/data/config/aws-iot/private.key", "ca_path": "/etc/edge-ai/ca" });
    config.to_string()
}

/// Ticket number `n` for `app`, which is good on the device.
pub fn ticket(n: u32, app: &str) -> BreakGlassTicket {
    BreakGlassTicket {
        app: app.into(),
        id: format!("{n:032x}"),
        level: TicketLevel::Debug,
        minutes: 30,
        not_after: 4_000_000_000,
        reason: "the camera is dark".into(),
        thing: THING.into(),
        v: 1,
        who: "anna".into(),
    }
}

/// Exit code and output of `edge-docker ticket` with this input.
pub fn give(device: &Device, envelope: &[u8]) -> (i32, String) {
    let output = device.feed(&["edge-docker", "ticket"], envelope);
    (
        output.status.code().unwrap_or(-1),
        crate::device::output_text(&output),
    )
}

/// Lets the time of the ticket in effect pass.
pub fn let_pass(device: &Device) {
    let path = "/run/edge-ai/break-glass.json";
    let mut effect = device.json(path);
    effect["ends_ms"] = 1.into();
    let new = device.path("/run/edge-ai/.passed");
    fs::write(&new, effect.to_string()).unwrap();
    fs::rename(new, device.path(path)).unwrap();
}
