//! MQTT 3.1.1 packets between a server and its clients, with the features that AWS
//! IoT supports.

use std::io::{self, ErrorKind, Read, Write};

/// Size limit of a packet, in bytes: AWS allows 128 KiB of payload.
const MAX_PACKET_BYTES: usize = 256 * 1024;

/// Packet that a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// CONNECT: client id, and keep-alive in seconds.
    Connect(String, u16),
    /// SUBSCRIBE: packet id and topic filters.
    Subscribe(u16, Vec<String>),
    /// UNSUBSCRIBE: packet id and topic filters.
    Unsubscribe(u16, Vec<String>),
    /// PUBLISH: packet id (0 with QoS 0), topic, payload and the retain flag.
    Publish(u16, String, Vec<u8>, bool),
    /// PUBACK: acknowledgement of a message.
    Acknowledge,
    /// PINGREQ: sign of life within the keep-alive time.
    Ping,
    /// DISCONNECT: end of the session.
    Disconnect,
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

/// Reads one packet of a client; any other data is an error.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Packet> {
    let mut head = [0];
    from.read_exact(&mut head)?;
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    if length > MAX_PACKET_BYTES {
        return Err(invalid("packet too large"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    parse(head[0], &body).ok_or_else(|| invalid("not a packet of a client"))
}

fn parse(head: u8, body: &[u8]) -> Option<Packet> {
    let mut rest = body;
    Some(match head >> 4 {
        1 => {
            let (protocol, level) = (text(&mut rest)?, take(&mut rest, 1)?[0]);
            if protocol != "MQTT" || level != 4 {
                return None;
            }
            take(&mut rest, 1)?;
            let keep_alive = number(&mut rest)?;
            Packet::Connect(text(&mut rest)?, keep_alive)
        }
        3 => {
            let topic = text(&mut rest)?;
            let id = if head & 0x06 == 0 {
                0
            } else {
                number(&mut rest)?
            };
            Packet::Publish(id, topic, rest.to_vec(), head & 1 == 1)
        }
        4 => Packet::Acknowledge,
        8 => {
            let id = number(&mut rest)?;
            let mut filters = Vec::new();
            while !rest.is_empty() {
                filters.push(text(&mut rest)?);
                take(&mut rest, 1)?;
            }
            Packet::Subscribe(id, filters)
        }
        10 => {
            let id = number(&mut rest)?;
            let mut filters = Vec::new();
            while !rest.is_empty() {
                filters.push(text(&mut rest)?);
            }
            Packet::Unsubscribe(id, filters)
        }
        12 => Packet::Ping,
        14 => Packet::Disconnect,
        _ => return None,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (first, last) = rest.split_at_checked(count)?;
    *rest = last;
    Some(first)
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = number(rest)?;
    String::from_utf8(take(rest, length.into())?.to_vec()).ok()
}

fn send(to: &mut impl Write, head: u8, body: &[u8]) -> io::Result<()> {
    let mut packet = vec![head];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        packet.push(digit | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    to.write_all(&packet)?;
    to.flush()
}

/// Sends CONNACK with the return code `code`; 0 means accepted.
pub(crate) fn connected(to: &mut impl Write, code: u8) -> io::Result<()> {
    send(to, 0x20, &[0, code])
}

/// Sends SUBACK that grants QoS 1 for `count` filters.
pub(crate) fn subscribed(to: &mut impl Write, id: u16, count: usize) -> io::Result<()> {
    let body = [&id.to_be_bytes()[..], &vec![1; count]].concat();
    send(to, 0x90, &body)
}

/// Sends UNSUBACK.
pub(crate) fn unsubscribed(to: &mut impl Write, id: u16) -> io::Result<()> {
    send(to, 0xb0, &id.to_be_bytes())
}

/// Sends PUBACK, the acknowledgement of the message with this packet id.
pub(crate) fn published(to: &mut impl Write, id: u16) -> io::Result<()> {
    send(to, 0x40, &id.to_be_bytes())
}

/// Sends PINGRESP, the answer to PINGREQ.
pub(crate) fn pong(to: &mut impl Write) -> io::Result<()> {
    send(to, 0xd0, &[])
}

/// Sends a message in a PUBLISH packet with QoS 1.
pub(crate) fn publish(to: &mut impl Write, id: u16, topic: &str, payload: &[u8]) -> io::Result<()> {
    let length = u16::try_from(topic.len()).map_err(|_| invalid("topic too long"))?;
    let body = [
        &length.to_be_bytes()[..],
        topic.as_bytes(),
        &id.to_be_bytes(),
        payload,
    ];
    send(to, 0x32, &body.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_parsed_and_garbage_is_an_error() {
        let connect = b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc";
        let wanted = Packet::Connect("abc".into(), 60);
        assert_eq!(read(&mut &connect[..]).unwrap(), wanted);
        let subscribe = b"\x82\x09\0\x07\0\x04a/+b\x01";
        let wanted = Packet::Subscribe(7, vec!["a/+b".into()]);
        assert_eq!(read(&mut &subscribe[..]).unwrap(), wanted);
        let unsubscribe = b"\xa2\x07\0\x07\0\x03a/+";
        let wanted = Packet::Unsubscribe(7, vec!["a/+".into()]);
        assert_eq!(read(&mut &unsubscribe[..]).unwrap(), wanted);
        let mut sent = Vec::new();
        publish(&mut sent, 9, "t", &[b'x'; 200]).unwrap();
        assert_eq!(sent[..3], [0x32, 0xcd, 0x01]);
        let wanted = Packet::Publish(9, "t".into(), vec![b'x'; 200], false);
        assert_eq!(read(&mut &sent[..]).unwrap(), wanted);
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x10\x02\0\x09",
            b"\xf0\0",
            b"",
        ] {
            assert!(read(&mut &garbage[..]).is_err());
        }
    }
}
