//! Connection of one client to the strict endpoint, from the TLS handshake to the
//! end.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use openssl::nid::Nid;
use openssl::ssl::SslStream;
use serde_json::Value;

use super::fault::{Kind, Stage, rejection, spoil};
use super::jobs::{self, End};
use super::packet::{self, Packet};
use super::sessions::{Outbox, Wake};
use super::{Shared, lock};
use crate::cloud::TEMPLATE;
use crate::cloud::answers::{Answers, rejected};
use crate::cloud::policy::Policy;
use crate::cloud::{responder, shadows};

/// Read timeout during the TLS handshake and for the first packet.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CREATE: &str = "$aws/certificates/create-from-csr/json";
const PROVISION: &str = "$aws/provisioning-templates/edge-ai-fleet/provision/json";

/// Handles a connection until either side closes it.
pub(crate) fn serve(stream: TcpStream, shared: &Shared) {
    let raw = stream.try_clone();
    // Every error closes the connection, as at AWS IoT, so no error is reported.
    let _ = handle(stream, shared);
    if let Ok(raw) = raw {
        let _ = raw.shutdown(std::net::Shutdown::Both);
    }
}

fn forbidden(request: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, request)
}

/// Client of a connection after CONNECT was accepted.
struct Client {
    /// Thing name of the client; `None` if it presented the claim certificate.
    thing: Option<String>,
    policy: Policy,
    filters: Vec<String>,
    sent: u16,
    outbox: Arc<Outbox>,
    wake: Wake,
}

impl Client {
    fn may(&self, action: &str, resource: &str) -> bool {
        self.policy.allows(action, resource, self.thing.as_deref())
    }

    fn subscribed(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| matches(filter, topic))
    }

    /// Sends a message if the client subscribed to its topic and may receive it.
    fn send(
        &mut self,
        tls: &mut SslStream<TcpStream>,
        topic: &str,
        content: &[u8],
    ) -> io::Result<()> {
        if !self.subscribed(topic) || !self.may("iot:Receive", &format!("topic/{topic}")) {
            return Ok(());
        }
        self.sent = self.sent.wrapping_add(1).max(1);
        packet::publish(tls, self.sent, topic, content)
    }

    /// Sends the messages that wait for the client.
    fn flush(&mut self, tls: &mut SslStream<TcpStream>) -> io::Result<()> {
        while let Some((topic, content)) = self.outbox.pop() {
            self.send(tls, &topic, &content)?;
        }
        Ok(())
    }
}

/// Returns whether a topic filter of MQTT matches a topic.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

fn handle(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let raw = stream.try_clone()?;
    let tls = shared.acceptor.accept(stream);
    let mut tls = tls.map_err(|_| forbidden("handshake"))?;
    let (mut client, keep_alive) = admit(&mut tls, &raw, shared)?;
    let timeout = Duration::from_secs(u64::from(keep_alive.max(30)) * 3 / 2);
    raw.set_read_timeout(Some(timeout))?;
    loop {
        client.flush(&mut tls)?;
        if tls.ssl().pending() == 0 && !client.wake.wait(&raw, timeout)? {
            continue;
        }
        match packet::read(&mut tls)? {
            Packet::Subscribe(id, filters) => {
                if filters.len() > 8
                    || !filters
                        .iter()
                        .all(|f| client.may("iot:Subscribe", &format!("topicfilter/{f}")))
                {
                    return Err(forbidden("SUBSCRIBE"));
                }
                packet::subscribed(&mut tls, id, filters.len())?;
                client.filters.extend(filters);
            }
            Packet::Unsubscribe(id, filters) => {
                client.filters.retain(|filter| !filters.contains(filter));
                packet::unsubscribed(&mut tls, id)?;
            }
            Packet::Publish(id, topic, payload, retain) => {
                if retain || !client.may("iot:Publish", &format!("topic/{topic}")) {
                    return Err(forbidden("PUBLISH"));
                }
                if id != 0 {
                    packet::published(&mut tls, id)?;
                }
                answer(&mut tls, shared, &mut client, &topic, &payload)?;
            }
            Packet::Ping => packet::pong(&mut tls)?,
            Packet::Acknowledge => {}
            Packet::Disconnect | Packet::Connect(..) => return Ok(()),
        }
    }
}

/// Reads CONNECT and accepts or refuses the client by its certificate, client id,
/// the quotas and the fault script. Returns the client and its keep-alive in
/// seconds.
fn admit(
    tls: &mut SslStream<TcpStream>,
    raw: &TcpStream,
    shared: &Shared,
) -> io::Result<(Client, u16)> {
    let user = user(tls).ok_or_else(|| forbidden("a certificate without a name"))?;
    let Packet::Connect(id, keep_alive) = packet::read(tls)? else {
        return Err(forbidden("a first packet that is not CONNECT"));
    };
    let thing = lock(&shared.provisioning).thing_of(&user).map(String::from);
    let policy = match &thing {
        Some(_) => Policy::device(),
        None => Policy::claim(TEMPLATE),
    };
    let policy = policy.map_err(|e| forbidden(&format!("{e:#}")))?;
    let known = thing.is_some() || user == "claim";
    let client_name = format!("client/{id}");
    let allowed = known && policy.allows("iot:Connect", &client_name, thing.as_deref());
    let in_time = lock(&shared.quotas).connect(&id);
    let fault = lock(&shared.script).next(Stage::Connect);
    shared.note("connect", allowed && in_time && fault.is_none());
    match fault {
        Some(Kind::Silent) => std::thread::sleep(Duration::from_secs(60)),
        Some(Kind::Late(time)) => std::thread::sleep(time),
        Some(Kind::Refused) => packet::connected(tls, 5)?,
        Some(Kind::Return(code)) => packet::connected(tls, code)?,
        _ => {}
    }
    if !allowed || !in_time || fault.is_some_and(|f| !matches!(f, Kind::Late(_))) {
        return Err(forbidden("CONNECT"));
    }
    packet::connected(tls, 0)?;
    let (outbox, wake) = Outbox::new()?;
    let sessions = &shared.sessions;
    sessions.insert(id, raw.try_clone()?, Arc::clone(&outbox));
    let client = Client {
        thing,
        policy,
        filters: Vec::new(),
        sent: 0,
        outbox,
        wake,
    };
    Ok((client, keep_alive))
}

/// Returns the common name of the client's certificate: `claim` or a certificate
/// id.
fn user(tls: &SslStream<TcpStream>) -> Option<String> {
    let certificate = tls.ssl().peer_certificate()?;
    let name = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next()?;
    String::from_utf8(name.data().as_slice().to_vec()).ok()
}

/// Answers a published request, correctly or with the next fault of the script.
fn answer(
    tls: &mut SslStream<TcpStream>,
    shared: &Shared,
    client: &mut Client,
    topic: &str,
    payload: &[u8],
) -> io::Result<()> {
    if let Some(stage) = jobs::stage(topic) {
        let end = jobs::answer(shared, &client.outbox, stage, (topic, payload))?;
        client.flush(tls)?;
        return match end {
            End::Open => Ok(()),
            End::Cut => Err(forbidden("cut")),
        };
    }
    let (kind, stage) = match topic {
        CREATE => ("create", Some(Stage::Create)),
        PROVISION => ("register", Some(Stage::Register)),
        _ if topic.contains("/shadow/") => ("shadow", Some(Stage::Shadow)),
        _ => ("other", None),
    };
    let fault = stage.and_then(|stage| lock(&shared.script).next(stage));
    match fault {
        Some(Kind::Silent) => return Ok(()),
        Some(Kind::Dropped) => return Err(forbidden("dropped")),
        Some(Kind::Expired) => lock(&shared.provisioning).expire_tokens(),
        _ => {}
    }
    let answers = decide(shared, stage, fault, topic, payload);
    let succeeded = answers.iter().all(|(level, _)| *level != "rejected");
    shared.note(kind, succeeded);
    match fault {
        Some(Kind::Late(time)) => std::thread::sleep(time),
        Some(Kind::Lost) => return Err(forbidden("lost")),
        _ => {}
    }
    let times = if fault == Some(Kind::Twice) { 2 } else { 1 };
    for (level, content) in answers.iter().cycle().take(answers.len() * times) {
        let content = match fault {
            Some(fault) if succeeded => {
                spoil(fault, content, &shared.authority).map_err(io::Error::other)?
            }
            _ => content.to_string().into_bytes(),
        };
        let to = format!("{topic}/{level}");
        client.send(tls, &to, &content)?;
    }
    if fault == Some(Kind::Cut) {
        return Err(forbidden("cut"));
    }
    Ok(())
}

fn decide(
    shared: &Shared,
    stage: Option<Stage>,
    fault: Option<Kind>,
    topic: &str,
    payload: &[u8],
) -> Answers {
    if let Some((status, code, message)) = fault.and_then(rejection) {
        return match stage {
            Some(Stage::Shadow) => {
                let request: Value = serde_json::from_slice(payload).unwrap_or_default();
                shadows::rejected(status, message, &request["clientToken"])
            }
            _ => rejected(status, code, message),
        };
    }
    let in_time = match stage {
        Some(Stage::Create) => lock(&shared.quotas).create(),
        Some(Stage::Register) => lock(&shared.quotas).register(),
        _ => true,
    };
    if !in_time {
        return rejected(429, "ThrottlingException", "Rate exceeded");
    }
    let answers: Vec<(&str, Value)> =
        responder::answer(&shared.dir, &mut lock(&shared.provisioning), topic, payload);
    if let Some(thing) = responder::registered(topic, &answers) {
        if let Err(error) = shared.jobs.enroll(thing) {
            edge_common::log::error(format_args!("{error:#}"));
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_match_level_by_level() {
        for (filter, topic, wanted) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/+", "a", false),
            ("jobs/+/update/+", "jobs/j1/update/accepted", true),
            ("jobs/+/update/+", "jobs/j1/get/accepted", false),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "ab", false),
        ] {
            assert_eq!(matches(filter, topic), wanted, "{filter} {topic}");
        }
    }
}
