//! CRC-32C, with which ext4 protects its metadata.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// Continues a checksum with `bytes`. As in the kernel, it starts at `u32::MAX` and is
/// not inverted at the end.
pub(super) fn crc32c(checksum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(checksum, |value, byte| {
        let index = (value ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ value >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c_is_computed() {
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(u32::MAX, b""), u32::MAX);
    }
}
