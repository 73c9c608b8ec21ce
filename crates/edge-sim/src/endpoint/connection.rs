//! One connection, from the handshake to its end.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

use openssl::nid::Nid;
use openssl::ssl::SslStream;
use serde_json::Value;

use super::fault::{Kind, Stage, refusal, spoil};
use super::packet::{self, Packet};
use super::{Event, Shared, lock};
use crate::cloud::TEMPLATE;
use crate::cloud::answers::{Answers, rejected};
use crate::cloud::policy::Policy;
use crate::cloud::responder;

/// Longest wait for the first packets.
const HANDSHAKE: Duration = Duration::from_secs(10);
const CREATE: &str = "$aws/certificates/create-from-csr/json";
const PROVISION: &str = "$aws/provisioning-templates/edge-ai-fleet/provision/json";

/// Serves until either side ends it.
pub fn serve(stream: TcpStream, shared: &Shared) {
    let raw = stream.try_clone();
    // Whatever ends a connection is the client's business.
    let _ = talk(stream, shared);
    if let Ok(raw) = raw {
        let _ = raw.shutdown(std::net::Shutdown::Both);
    }
}

fn forbidden(what: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, what)
}

/// Who is connected.
struct Peer {
    /// The thing, or nothing for a claim.
    thing: Option<String>,
    policy: Policy,
    filters: Vec<String>,
    sent: u16,
}

impl Peer {
    fn may(&self, action: &str, resource: &str) -> bool {
        self.policy.allows(action, resource, self.thing.as_deref())
    }

    fn listens(&self, topic: &str) -> bool {
        let fits = |filter: &String| match filter
            .strip_suffix('+')
            .or_else(|| filter.strip_suffix('#'))
        {
            Some(start) => topic.starts_with(start),
            None => filter == topic,
        };
        self.filters.iter().any(fits)
    }
}

fn talk(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE))?;
    let raw = stream.try_clone()?;
    let tls = shared.acceptor.accept(stream);
    let mut tls = tls.map_err(|_| forbidden("handshake"))?;
    let (mut peer, keep_alive) = admit(&mut tls, &raw, shared)?;
    let patience = Duration::from_secs(u64::from(keep_alive.max(30)) * 3 / 2);
    raw.set_read_timeout(Some(patience))?;
    loop {
        match packet::read(&mut tls)? {
            Packet::Subscribe(id, filters) => {
                if filters.len() > 8
                    || !filters
                        .iter()
                        .all(|f| peer.may("iot:Subscribe", &format!("topicfilter/{f}")))
                {
                    return Err(forbidden("SUBSCRIBE"));
                }
                packet::subscribed(&mut tls, id, filters.len())?;
                peer.filters.extend(filters);
            }
            Packet::Publish(id, topic, payload, retain) => {
                if retain || !peer.may("iot:Publish", &format!("topic/{topic}")) {
                    return Err(forbidden("PUBLISH"));
                }
                if id != 0 {
                    packet::published(&mut tls, id)?;
                }
                answer(&mut tls, shared, &mut peer, &topic, &payload)?;
            }
            Packet::Ping => packet::pong(&mut tls)?,
            Packet::Acknowledge => {}
            Packet::Disconnect | Packet::Connect(..) => return Ok(()),
        }
    }
}

/// Takes CONNECT and decides on it; gives the peer and its keep-alive.
fn admit(
    tls: &mut SslStream<TcpStream>,
    raw: &TcpStream,
    shared: &Shared,
) -> io::Result<(Peer, u16)> {
    let user = user(tls).ok_or_else(|| forbidden("no name"))?;
    let Packet::Connect(client, keep_alive) = packet::read(tls)? else {
        return Err(forbidden("no CONNECT"));
    };
    let thing = lock(&shared.provisioning).thing_of(&user).map(String::from);
    let policy = match &thing {
        Some(_) => Policy::device(),
        None => Policy::claim(TEMPLATE),
    };
    let policy = policy.map_err(|e| forbidden(&format!("{e:#}")))?;
    let known = thing.is_some() || user == "claim";
    let client_name = format!("client/{client}");
    let allowed = known && policy.allows("iot:Connect", &client_name, thing.as_deref());
    let in_time = lock(&shared.quotas).connect(&client);
    let fault = lock(&shared.script).next(Stage::Connect);
    note(shared, "connect", allowed && in_time && fault.is_none());
    match fault {
        Some(Kind::Silent) => std::thread::sleep(Duration::from_secs(60)),
        Some(Kind::Late(time)) => std::thread::sleep(time),
        Some(Kind::Refused) => packet::connected(tls, 5)?,
        _ => {}
    }
    if !allowed || !in_time || fault.is_some_and(|f| !matches!(f, Kind::Late(_))) {
        return Err(forbidden("CONNECT"));
    }
    packet::connected(tls, 0)?;
    if let Some(old) = lock(&shared.sessions).insert(client, raw.try_clone()?) {
        let _ = old.shutdown(std::net::Shutdown::Both);
    }
    let peer = Peer {
        thing,
        policy,
        filters: Vec::new(),
        sent: 0,
    };
    Ok((peer, keep_alive))
}

/// The common name of the client's certificate.
fn user(tls: &SslStream<TcpStream>) -> Option<String> {
    let certificate = tls.ssl().peer_certificate()?;
    let name = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next()?;
    String::from_utf8(name.data().as_slice().to_vec()).ok()
}

fn note(shared: &Shared, what: &'static str, good: bool) {
    let at = shared.start.elapsed();
    lock(&shared.events).push(Event { at, what, good });
}

/// Answers a request as it should be, or as the script says.
fn answer(
    tls: &mut SslStream<TcpStream>,
    shared: &Shared,
    peer: &mut Peer,
    topic: &str,
    payload: &[u8],
) -> io::Result<()> {
    let (what, stage) = match topic {
        CREATE => ("create", Some(Stage::Create)),
        PROVISION => ("register", Some(Stage::Register)),
        _ => ("shadow", None),
    };
    let fault = stage.and_then(|stage| lock(&shared.script).next(stage));
    match fault {
        Some(Kind::Silent) => return Ok(()),
        Some(Kind::Dropped) => return Err(forbidden("dropped")),
        Some(Kind::Expired) => lock(&shared.provisioning).expire_tokens(),
        _ => {}
    }
    let answers = decide(shared, stage, fault, topic, payload);
    let good = answers.iter().all(|(kind, _)| *kind != "rejected");
    note(shared, what, good);
    match fault {
        Some(Kind::Late(time)) => std::thread::sleep(time),
        Some(Kind::Lost) => return Err(forbidden("lost")),
        _ => {}
    }
    let times = if fault == Some(Kind::Twice) { 2 } else { 1 };
    for (kind, content) in answers.iter().cycle().take(answers.len() * times) {
        let content = match fault {
            Some(fault) if good => {
                spoil(fault, content, &shared.authority).map_err(io::Error::other)?
            }
            _ => content.to_string().into_bytes(),
        };
        let to = format!("{topic}/{kind}");
        if peer.listens(&to) {
            peer.sent = peer.sent.wrapping_add(1).max(1);
            packet::publish(tls, peer.sent, &to, &content)?;
        }
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
    if let Some((status, code, message)) = fault.and_then(refusal) {
        return rejected(status, code, message);
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
    answers
}
