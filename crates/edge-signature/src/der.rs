//! Encoder of DER, for the few structures of a bundle's signature. Nothing here parses.

/// Tags of the ASN.1 types that are used.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// Constructed and context-specific, number 0.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    /// Constructed and context-specific, number 3.
    pub(crate) const CONTEXT_3: u8 = 0xa3;
}

/// Encodes a value of a tag from its content.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ ..0x80) => bytes.push(length),
        _ => {
            let length = content.len().to_be_bytes();
            let zeros = length.iter().take_while(|b| **b == 0).count();
            let length = &length[zeros..];
            // At most 8 bytes.
            bytes.push(0x80 | length.len() as u8);
            bytes.extend_from_slice(length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Encodes a sequence of encoded values.
pub(crate) fn sequence<T: AsRef<[u8]>>(values: &[T]) -> Vec<u8> {
    constructed(tag::SEQUENCE, values)
}

/// Encodes a set, whose values DER sorts.
pub(crate) fn set(mut values: Vec<Vec<u8>>) -> Vec<u8> {
    values.sort();
    constructed(tag::SET, &values)
}

/// Encodes a value of a tag that consists of encoded values.
pub(crate) fn constructed<T: AsRef<[u8]>>(tag: u8, values: &[T]) -> Vec<u8> {
    let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    value(tag, &values.concat())
}

/// Encodes an object identifier from the bytes of its content.
pub(crate) fn oid(content: &[u8]) -> Vec<u8> {
    value(tag::OID, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form_each() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (70_000, &[4, 0x83, 1, 0x11, 0x70]),
        ] {
            let encoded = value(tag::OCTET_STRING, &vec![0; length]);
            assert_eq!(encoded[..head.len()], *head);
            assert_eq!(encoded.len(), head.len() + length);
        }
    }
}
