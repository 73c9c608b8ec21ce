//! Parsers for sizes, durations and numbers with a decimal point, in the spelling of
//! docker. The engine receives the parsed number and never the text.

use anyhow::Result;

use crate::cli::values::bad;
use crate::limits::{MAX_MEMORY_FS_BYTES, MAX_PROCESSOR};

/// Units of a size, as powers of 1,024.
const SIZE_UNITS: &str = "kmgtp";
/// Units of a duration, in nanoseconds.
const TIME_UNITS: [(&str, i64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Size limit of a list of processors, in bytes.
const MAX_LIST_BYTES: usize = 256;

/// Parses a size, for example `512m`, `1.5g`, `8GB` or `65536`, into bytes.
pub(crate) fn bytes(option: &str, text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix('b').unwrap_or(&lower);
    let number = match number.strip_suffix('i') {
        Some(number) if number.ends_with(|c| SIZE_UNITS.contains(c)) => number,
        _ => number,
    };
    let unit = number.chars().last().and_then(|c| SIZE_UNITS.find(c));
    let (digits, factor) = match unit {
        Some(power) => (&number[..number.len() - 1], 1_i64 << (10 * (power + 1))),
        None => (number, 1),
    };
    let digits = digits.strip_suffix(' ').unwrap_or(digits);
    scaled(digits, factor).ok_or_else(|| bad(option, text, "a size like 512m or 1.5g"))
}

/// Parses the size of a file system in memory, at most 64 GiB.
pub(crate) fn memory_fs_bytes(option: &str, text: &str) -> Result<i64> {
    let size = bytes(option, text)?;
    if size > MAX_MEMORY_FS_BYTES {
        return Err(bad(option, text, "a size of at most 64g"));
    }
    Ok(size)
}

/// Parses a number of processors, for example `1.5` or `.5`, into billionths of a
/// processor, the unit of `NanoCpus`.
pub(crate) fn cpus(option: &str, text: &str) -> Result<i64> {
    let billionths = scaled(text, 1_000_000_000).filter(|n| *n <= 1024 * 1_000_000_000);
    billionths.ok_or_else(|| bad(option, text, "a number of processors like 1.5"))
}

/// Parses a duration in Go's format, for example `1m30s` or `0.5s`, into nanoseconds.
pub(crate) fn duration(option: &str, text: &str) -> Result<i64> {
    let error = || bad(option, text, "a duration like 1m30s or 0.5s");
    if text == "0" {
        return Ok(0);
    }
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let mut total: i64 = 0;
    let mut rest = text;
    loop {
        let digits = rest.find(|c| !is_digit(c)).ok_or_else(error)?;
        let (amount, after) = rest.split_at(digits);
        let (unit, after) = after.split_at(after.find(is_digit).unwrap_or(after.len()));
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit);
        let part = factor.and_then(|(_, factor)| scaled(amount, *factor));
        let sum = part.and_then(|part| total.checked_add(part));
        total = sum.ok_or_else(error)?;
        rest = after;
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// Returns a decimal number, for example `1.5`, multiplied by `factor`; `None` if it is
/// malformed or does not fit. What is less than 1 is cut off.
// With integers alone: a float would round large sizes.
fn scaled(text: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let factor = i128::from(factor);
    let value = whole
        .checked_mul(factor)?
        .checked_add(part * factor / scale)?;
    i64::try_from(value).ok()
}

/// Checks a list of processors, for example `0-2,4`.
pub(crate) fn processors(option: &str, text: &str) -> Result<String> {
    let number = |text: &str| -> Option<u32> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| digits && *n <= MAX_PROCESSOR)
    };
    let is_range = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => number(part).is_some(),
    };
    if text.len() > MAX_LIST_BYTES || !text.split(',').all(is_range) {
        return Err(bad(option, text, "a list like 0-2,4"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (text, size) in [
            ("512m", 512 << 20),
            ("1GiB", 1 << 30),
            ("8gb", 8 << 30),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("0.1g", 107_374_182),
            ("1t", 1 << 40),
            ("512 m", 512 << 20),
            ("65536", 65_536),
            ("65536b", 65_536),
        ] {
            assert_eq!(bytes("m", text).unwrap(), size, "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "+1",
            "1x",
            "9999999999g",
            "1.5.5g",
            ".",
            "1ibib",
            "1bb",
            " 1",
            "0x10",
            "1e9",
            "1,5g",
            "50%",
            "99999999999999999999999999999999999999999p",
        ] {
            assert!(bytes("m", text).is_err(), "{text}");
        }
        assert!(memory_fs_bytes("shm-size", "65g").is_err());
    }

    #[test]
    fn durations_and_processors() {
        for (text, nanoseconds) in [
            ("1m30s", 90_000_000_000),
            ("0.5s", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0", 0),
            ("0s", 0),
            ("100us", 100_000),
        ] {
            assert_eq!(duration("d", text).unwrap(), nanoseconds, "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "1d",
            "99999999999h",
            "-1s",
            "+1s",
            "1s2",
            "1..s",
            ".s",
        ] {
            assert!(duration("d", text).is_err(), "{text}");
        }
        assert_eq!(cpus("c", "1.5").unwrap(), 1_500_000_000);
        assert_eq!(cpus("c", ".5").unwrap(), 500_000_000);
        for text in ["NaN", "inf", "1e3", "+1", "-1", "", "1025"] {
            assert!(cpus("c", text).is_err(), "{text}");
        }
        for text in ["0", "0-2,4", "1023"] {
            processors("cpuset-cpus", text).unwrap();
        }
        for text in [
            "",
            "0-99999999999",
            "1024",
            "2-1",
            "0,",
            "-1",
            "0--1",
            "a",
            "+1",
        ] {
            assert!(processors("cpuset-cpus", text).is_err(), "{text}");
        }
    }
}
