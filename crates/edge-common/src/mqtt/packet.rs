//! MQTT 3.1.1 packets of a client, with the features that AWS IoT supports: QoS 0 and 1,
//! a last will, no retained messages. See
//! <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>.

use super::Message;

/// Size limit of a received packet, in bytes. AWS sends at most 128 KiB of payload; a
/// larger announced length comes from something that is no MQTT server.
const MAX_PACKET_BYTES: usize = 1024 * 1024;

/// Packet that the server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// CONNACK with its return code; 0 means accepted.
    Connected(u8),
    /// PUBLISH with its packet ID if it wants an acknowledgement.
    Message(Message, Option<u16>),
    /// PUBACK of a packet ID.
    Published(u16),
    /// SUBACK of a packet ID, with a return code for each filter.
    Subscribed(u16, Vec<u8>),
    /// PINGRESP.
    Pong,
}

/// Bytes from the server that are no MQTT packet of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Removes the first packet from `buffer`; `None` if it is not complete yet.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Packet>, Malformed> {
    if buffer.first().is_some_and(|head| !from_server(*head)) {
        return Err(Malformed);
    }
    let Some((start, length)) = bounds(buffer)? else {
        return Ok(None);
    };
    let Some(body) = buffer.get(start..start + length) else {
        return Ok(None);
    };
    let packet = parse(buffer[0], body).ok_or(Malformed)?;
    buffer.drain(..start + length);
    Ok(Some(packet))
}

/// Returns whether a packet of a server may begin with this byte: its type, and flags
/// that only PUBLISH has.
fn from_server(head: u8) -> bool {
    head >> 4 == 3 || matches!(head, 0x20 | 0x40 | 0x90 | 0xd0)
}

/// Returns start and length of the body of the first packet; `None` if the length is not
/// complete yet.
fn bounds(buffer: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0_usize;
    for (index, shift) in [0, 7, 14, 21].into_iter().enumerate() {
        let Some(byte) = buffer.get(1 + index) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let fits = length <= MAX_PACKET_BYTES;
            return if fits {
                Ok(Some((2 + index, length)))
            } else {
                Err(Malformed)
            };
        }
    }
    Err(Malformed)
}

fn parse(head: u8, body: &[u8]) -> Option<Packet> {
    let mut rest = body;
    match head >> 4 {
        2 => Some(Packet::Connected(*body.get(1)?)),
        3 => {
            let topic = text(&mut rest)?;
            let id = match head >> 1 & 3 {
                0 => None,
                1 => Some(number(&mut rest)?),
                _ => return None,
            };
            let payload = rest.to_vec();
            Some(Packet::Message(Message { topic, payload }, id))
        }
        4 => Some(Packet::Published(number(&mut rest)?)),
        9 => Some(Packet::Subscribed(number(&mut rest)?, rest.to_vec())),
        13 => Some(Packet::Pong),
        _ => None,
    }
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (first, last) = rest.split_first_chunk::<2>()?;
    *rest = last;
    Some(u16::from_be_bytes(*first))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = number(rest)?;
    let (first, last) = rest.split_at_checked(length.into())?;
    *rest = last;
    String::from_utf8(first.to_vec()).ok()
}

/// Prepends packet type and length to a body.
fn packet(head: u8, body: &[u8]) -> Vec<u8> {
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
    packet
}

/// Appends `bytes` with their length; longer ones than the format allows are cut, which
/// no topic or client ID of AWS comes near.
fn field(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend(&bytes[..length.into()]);
}

/// Returns CONNECT with a clean session and the last will `will`, topic and payload.
pub(super) fn connect(client_id: &str, keep_alive: u16, will: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, b"MQTT");
    // Level 4; clean session, and a last will with QoS 1.
    body.extend([4, if will.is_some() { 0x0e } else { 0x02 }]);
    body.extend(keep_alive.to_be_bytes());
    field(&mut body, client_id.as_bytes());
    if let Some((topic, payload)) = will {
        field(&mut body, topic.as_bytes());
        field(&mut body, payload);
    }
    packet(0x10, &body)
}

/// Returns SUBSCRIBE to all `filters` with QoS 1.
pub(super) fn subscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        field(&mut body, filter.as_bytes());
        body.push(1);
    }
    packet(0x82, &body)
}

/// Returns PUBLISH with QoS 1.
pub(super) fn publish(id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, topic.as_bytes());
    body.extend(id.to_be_bytes());
    body.extend(payload);
    packet(0x32, &body)
}

/// Returns PUBACK of a received message.
pub(super) fn acknowledge(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// PINGREQ.
pub(super) const PING: [u8; 2] = [0xc0, 0];
/// DISCONNECT.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_one_by_one_from_pieces() {
        let sent = publish(9, "a/b", &[b'x'; 200]);
        let mut all = sent.clone();
        all.extend([0x40, 2, 0, 7, 0xd0, 0, 0x90, 3, 0, 8, 0x80, 0x20, 2, 0, 5]);
        let mut buffer = Vec::new();
        let mut packets = Vec::new();
        for byte in all {
            buffer.push(byte);
            packets.extend(take(&mut buffer).unwrap());
        }
        let message = Message {
            topic: "a/b".into(),
            payload: vec![b'x'; 200],
        };
        assert_eq!(
            packets,
            [
                Packet::Message(message, Some(9)),
                Packet::Published(7),
                Packet::Pong,
                Packet::Subscribed(8, vec![0x80]),
                Packet::Connected(5),
            ]
        );
    }

    #[test]
    fn what_no_server_sends_is_malformed() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"\x10\x00",
            b"\x30\xff\xff\xff\xff",
            b"\x30\xff\xff\xff\x7f",
            b"\x30\x01\x00",
            b"\x32\x03\x00\x01a",
            b"\x34\x05\x00\x01a\x00\x01",
            b"\x20\x01\x00",
            b"\x40\x01\x00",
            b"\x30\x03\x00\x01\xff",
        ] {
            assert_eq!(take(&mut bytes.to_vec()), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn sent_packets_have_the_published_form() {
        assert_eq!(
            connect("abc", 60, None),
            b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc"
        );
        let will = connect("a", 60, Some(("t", b"x")));
        assert_eq!(
            will,
            b"\x10\x13\0\x04MQTT\x04\x0e\0\x3c\0\x01a\0\x01t\0\x01x"
        );
        assert_eq!(subscribe(7, &["a/+"]), b"\x82\x08\0\x07\0\x03a/+\x01");
        assert_eq!(acknowledge(258), b"\x40\x02\x01\x02");
    }
}
