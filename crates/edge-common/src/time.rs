//! Conversion between Unix time and RFC 3339 text in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time of the system clock as RFC 3339, and the start of 1970 if the clock
/// is set to an earlier time.
pub fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(now.map_or(0, |d| d.as_secs()))
}

/// Formats seconds of Unix time as RFC 3339 in UTC, for example `2026-11-23T19:18:00Z`.
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // For the calculation a year begins in March: the leap day is then its last day,
    // and the lengths of all months before it are fixed.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Parses an RFC 3339 time into seconds of Unix time, without fractions of a second.
/// Returns `None` for other text and for times before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || year < 1970 {
        return None;
    }
    // January and February belong to the previous year, because years begin in March,
    // as in `rfc3339`.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let local = (days.checked_sub(719_469)? * 24 + hour) * 3600 + minute * 60 + second;
    let zone = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z', ..] => 0,
        [sign, ..] => {
            let offset = zone.get(1..3)?.parse::<i64>().ok()? * 3600
                + zone.get(4..6)?.parse::<i64>().ok()? * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        [] => return None,
    };
    local.checked_add_signed(-offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn parsed_times() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2026-11-24T22:06:40.123456789Z"), Some(1_795_558_000));
        assert_eq!(parse("2026-11-25T00:06:40+02:00"), Some(1_795_558_000));
        assert_eq!(parse("2000-02-29T00:00:00Z"), Some(951_782_400));
        for bad in ["", "now", "2026-13-01T00:00:00Z", "2026-11-24T22:06:40"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
