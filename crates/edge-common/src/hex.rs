//! Hexadecimal encoding of digests and random bytes.

use std::fmt::Write;

/// Returns `bytes` as lower-case hexadecimal digits.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(encode([0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(encode(""), "");
    }
}
