//! Responder: MQTT client that answers requests as AWS IoT does, one message after
//! the other. The payloads are written literally from the published API and share
//! no type with the device tools, so that a wrong field name in a tool is not
//! repeated in the answers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{file, log};
use paho_mqtt as paho;
use serde_json::{Value, json};

use super::answers::{Answers, rejected};
use super::jobs::Publication;
use super::jobs_service::JobsService;
use super::provisioning::{Provisioning, Rights};
use super::services::Services;
use super::{control, proxy, shadows};

/// Topic filters of all requests that the responder answers.
const FILTERS: [&str; 12] = [
    "$aws/certificates/create-from-csr/json",
    "$aws/provisioning-templates/+/provision/json",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/get",
    "$aws/things/+/shadow/delete",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/get",
    "$aws/things/+/shadow/name/+/delete",
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
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
        .subscribe_many(&FILTERS, &[1; FILTERS.len()])
        .context("subscribing")?;
    // `cloud up` waits for this port: the broker has all subscriptions by then.
    let listening = port("proxy")?;
    let jobs = jobs(dir, &client, port("control")?)?;
    let services = [port("credentials")?, port("ecr")?];
    let _services = Services::listen(dir, services)?;
    std::thread::spawn(move || proxy::serve(listening));
    let mut provisioning = Provisioning::load(dir, Rights::AccessList)?;
    let mut rates = shadows::Rates::default();
    for message in &inbox {
        let Some(message) = message else {
            bail!("the broker closed the connection");
        };
        let topic = message.topic();
        if topic.contains("/jobs/") {
            jobs.receive(topic, message.payload(), |answer| {
                answer.map_or(Ok(()), |answer| publish(&client, &answer))
            })?;
            continue;
        }
        let answers = if topic.contains("/shadow/") && !rates.take(topic) {
            shadows::throttled(message.payload())
        } else {
            answer(dir, &mut provisioning, topic, message.payload())
        };
        if let Some(thing) = registered(topic, &answers) {
            jobs.enroll(thing)?;
        }
        for (kind, payload) in answers {
            let to = format!("{topic}/{kind}");
            log::info(format_args!("{topic} → {kind}"));
            client
                .publish(paho::Message::new(to, payload.to_string(), 1))
                .context("publishing an answer")?;
        }
    }
    Ok(())
}

/// Returns the thing that a request registered.
pub(crate) fn registered<'a>(topic: &str, answers: &'a Answers) -> Option<&'a str> {
    let asked = topic.starts_with("$aws/provisioning-templates/");
    let (_, accepted) = answers.iter().find(|(kind, _)| *kind == "accepted")?;
    accepted["thingName"].as_str().filter(|_| asked)
}

/// Starts the Jobs service: its clock, and its control plane on `port`.
fn jobs(dir: &Path, client: &paho::Client, port: u16) -> Result<Arc<JobsService>> {
    let client = client.clone();
    let deliver = move |publication: &Publication| {
        if let Err(error) = publish(&client, publication) {
            log::error(format_args!("{error:#}"));
        }
    };
    let service = Arc::new(JobsService::load(dir, Box::new(deliver))?);
    let listener = TcpListener::bind(("127.0.0.1", port)).context("listening")?;
    let (clock, served) = (Arc::clone(&service), Arc::clone(&service));
    std::thread::spawn(move || clock.keep_time());
    std::thread::spawn(move || control::serve(&listener, &served));
    Ok(service)
}

fn publish(client: &paho::Client, publication: &Publication) -> Result<()> {
    let (topic, payload) = (&publication.topic, publication.payload.to_string());
    log::info(format_args!("→ {topic}"));
    let message = paho::Message::new(topic.as_str(), payload, 1);
    client
        .publish(message)
        .context("publishing a message of jobs")
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
        _ => shadows::answer(dir, topic, payload.len(), &request),
    }
}
