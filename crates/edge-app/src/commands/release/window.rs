//! Maintenance window as people write it: `Sun 02:00 3h`.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_signature::set::Window;

use crate::exit_code::CONFIGURATION;

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Parses `[DAY] HH:MM LENGTH`, LENGTH in hours or minutes: `3h`, `90m`. Without a day, the
/// window opens each day.
pub(super) fn parse(text: &str) -> Result<Window> {
    window(text).ok_or_else(|| {
        let why = format!("window {text:?} is not [DAY] HH:MM LENGTH, such as Sun 02:00 3h");
        Failure::error(CONFIGURATION, why)
    })
}

fn window(text: &str) -> Option<Window> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (day, [time, length]) = match words[..] {
        [time, length] => (None, [time, length]),
        [day, time, length] => {
            let day = day.to_ascii_lowercase();
            let day = DAYS.iter().position(|name| *name == day)?;
            (Some(u32::try_from(day).ok()?), [time, length])
        }
        _ => return None,
    };
    let (hours, minutes) = time.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let unit = match length.chars().last()? {
        'h' => 60,
        'm' => 1,
        _ => return None,
    };
    let length = number(&length[..length.len() - 1])?.checked_mul(unit)?;
    (hours < 24 && minutes < 60).then_some(Window {
        day,
        minutes: length,
        start: hours * 60 + minutes,
    })
}

fn number(digits: &str) -> Option<u32> {
    // parse() would also take a sign.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::window;

    #[test]
    fn windows_of_a_day_and_of_a_week() {
        let parsed = |text| window(text).map(|w| (w.day, w.start, w.minutes));
        assert_eq!(parsed("Sun 02:00 3h"), Some((Some(0), 120, 180)));
        assert_eq!(parsed("sat 23:59 90m"), Some((Some(6), 1439, 90)));
        assert_eq!(parsed("2:5 1h"), Some((None, 125, 60)));
        for wrong in [
            "",
            "Sun",
            "02:00",
            "Sun 02:00",
            "Sunday 02:00 3h",
            "02:00 3",
            "02:00 3d",
            "24:00 3h",
            "02:60 3h",
            "+2:00 3h",
            "02:00 -3h",
            "02:00 h",
            "Sun 02:00 3h 1",
            "02:00 99999999999h",
            "02:00 3\u{e4}",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
