//! Responder: MQTT client that answers requests as AWS IoT does, one message after
//! the other. The payloads are written literally from the published API and share
//! no type with the device tools, so that a wrong field name in a tool is not
//! repeated in the answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{file, log};
use paho_mqtt as paho;
use serde_json::{Value, json};

use super::answers::{Answers, rejected};
use super::provisioning::{Provisioning, Rights};
use super::{proxy, shadows};

/// Topic filters of all requests that the responder answers.
const FILTERS: [&str; 4] = [
    "$aws/certificates/create-from-csr/json",
    "$aws/provisioning-templates/+/provision/json",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/get",
];

/// Answers requests until the process is killed or the broker closes the
/// connection.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let ports: Value = serde_json::from_slice(&file::read(&dir.join("responder.json"), 4096)?)?;
    let port = |name: &str| {
        ports[name]
            .as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .with_context(|| format!("responder.json has no port {name}"))
    };
    let client = connect(dir, port("mqtt")?)?;
    let inbox = client.start_consuming();
    client
        .subscribe_many(&FILTERS, &[1; 4])
        .context("subscribing")?;
    // `cloud up` waits for this port: the broker has all subscriptions by then.
    let listening = port("proxy")?;
    std::thread::spawn(move || proxy::serve(listening));
    let mut provisioning = Provisioning::load(dir, Rights::AccessList)?;
    for message in &inbox {
        let Some(message) = message else {
            bail!("the broker closed the connection");
        };
        let topic = message.topic();
        for (kind, payload) in answer(dir, &mut provisioning, topic, message.payload()) {
            let to = format!("{topic}/{kind}");
            log::info(format_args!("{topic} → {kind}"));
            client
                .publish(paho::Message::new(to, payload.to_string(), 1))
                .context("publishing an answer")?;
        }
    }
    Ok(())
}

fn connect(dir: &Path, port: u16) -> Result<paho::Client> {
    let path = |name: &str| -> PathBuf { dir.join(name) };
    let create = paho::CreateOptionsBuilder::new()
        .server_uri(format!("ssl://127.0.0.1:{port}"))
        .client_id("responder")
        .persistence(None)
        .finalize();
    let mut client = paho::Client::new(create).context("creating an MQTT client")?;
    client.set_timeout(Duration::from_secs(10));
    let mut tls = paho::SslOptionsBuilder::new();
    tls.trust_store(path("ca.pem"))?
        .key_store(path("responder.crt"))?
        .private_key(path("responder.key"))?;
    let mut connect = paho::ConnectOptionsBuilder::new_v3();
    connect
        .ssl_options(tls.finalize())
        .max_inflight(1000)
        .clean_session(true);
    client
        .connect(connect.finalize())
        .context("connecting to the broker")?;
    Ok(client)
}

/// Returns the answers that AWS IoT publishes to a message on `topic`; an empty
/// list if the topic is not that of a request.
pub(crate) fn answer(
    dir: &Path,
    provisioning: &mut Provisioning,
    topic: &str,
    payload: &[u8],
) -> Answers {
    let request: Value = match serde_json::from_slice(payload) {
        Ok(request) => request,
        Err(_) if payload.is_empty() => json!({}),
        Err(_) if topic.contains("/shadow/") => {
            return shadows::rejected(400, "Payload contains invalid json", &Value::Null);
        }
        Err(_) => return rejected(400, "InvalidPayload", "The payload is not valid JSON"),
    };
    let parts: Vec<_> = topic.split('/').collect();
    match parts[..] {
        ["$aws", "certificates", "create-from-csr", "json"] => provisioning.create(&request),
        [
            "$aws",
            "provisioning-templates",
            template,
            "provision",
            "json",
        ] => provisioning.register(template, &request),
        ["$aws", "things", thing, "shadow", "update"] => {
            shadows::update(dir, thing, payload.len(), &request)
        }
        ["$aws", "things", thing, "shadow", "get"] => shadows::get(dir, thing, &request),
        _ => Vec::new(),
    }
}
