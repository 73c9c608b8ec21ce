//! Calendar expressions of timers, as systemd reads them (systemd.time(7)): a shorthand or
//! `[WEEKDAYS] [DATE] [TIME] [TIME ZONE]`, at least one of the first three.

use std::ops::RangeInclusive;

/// Maximum length of a calendar expression, in bytes.
const MAX_BYTES: usize = 128;
/// Expressions of one word.
const SHORTHANDS: [&str; 12] = [
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "semi-annually",
    "biannually",
    "bi-annually",
    "yearly",
    "annually",
];
/// Days of the week, Monday first. They may be cut to three letters.
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// Years that systemd knows.
const YEARS: RangeInclusive<u32> = 1970..=2199;

/// Returns whether `text` is a calendar expression, for example `daily` or
/// `Mon *-*-* 03:00`. Of a time zone only the form is judged: the zones of the device are
/// not known here.
pub fn is_calendar(text: &str) -> bool {
    // systemd refuses a blank at either end.
    if text.len() > MAX_BYTES || text.trim() != text {
        return false;
    }
    let mut words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() > 1 && words.last().is_some_and(|word| is_zone(word)) {
        words.pop();
    }
    if let [word] = words[..]
        && SHORTHANDS.contains(&word.to_ascii_lowercase().as_str())
    {
        return true;
    }
    let mut rest = &words[..];
    for part in [is_weekdays as fn(&str) -> bool, is_date, is_time] {
        if let [first, others @ ..] = rest
            && part(first)
        {
            rest = others;
        }
    }
    !words.is_empty() && rest.is_empty()
}

/// `UTC`, another abbreviation, or `AREA/CITY`.
fn is_zone(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    let is_short = word.len() >= 3 && word.chars().all(|c| c.is_ascii_uppercase());
    let is_place = word.split('/').count() > 1
        && word
            .split('/')
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()));
    word.chars().all(allowed) && (is_short || is_place)
}

/// List of days or ranges of them, for example `Mon..Fri,Sun`.
fn is_weekdays(word: &str) -> bool {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        WEEKDAYS
            .iter()
            .position(|day| *day == name || day[..3] == name)
    };
    word.split(',').all(
        |item| match item.split_once("..").or_else(|| item.split_once('-')) {
            Some((from, to)) => {
                matches!((day(from), day(to)), (Some(from), Some(to)) if from <= to)
            }
            None => day(item).is_some(),
        },
    )
}

/// `[YEAR-]MONTH-DAY`; with `~` in place of the last `-` days count from the month's end.
fn is_date(word: &str) -> bool {
    let Some(split) = word.rfind(['-', '~']) else {
        return false;
    };
    let (before, day) = (&word[..split], &word[split + 1..]);
    let (year, month) = match before.split_once('-') {
        Some((year, month)) => (Some(year), month),
        None => (None, before),
    };
    let to_year = |number: u32, digits: usize| match (number, digits) {
        (0..=69, 1 | 2) => number + 2000,
        (70..=99, 1 | 2) => number + 1900,
        _ => number,
    };
    year.is_none_or(|year| is_list(year, |n, digits| YEARS.contains(&to_year(n, digits))))
        && is_list(month, |n, _| (1..=12).contains(&n))
        && is_list(day, |n, _| (1..=31).contains(&n))
}

/// `HOUR:MINUTE[:SECOND]`. systemd also takes fractions of a second, which no app needs.
fn is_time(word: &str) -> bool {
    let parts: Vec<_> = word.split(':').collect();
    let limits = [24, 60, 60];
    let is_part = |(part, limit): (&&str, u32)| is_list(part, |n, _| n < limit);
    matches!(parts.len(), 2 | 3) && parts.iter().zip(limits).all(is_part)
}

/// `*`, or a list of numbers and ranges, each with an optional repetition, for example
/// `1..5/2,9`. `is_valid` gets each number and how many digits it has.
fn is_list(text: &str, is_valid: impl Fn(u32, usize) -> bool) -> bool {
    let number = |text: &str| {
        let is_plain =
            !text.is_empty() && text.len() <= 9 && text.chars().all(|c| c.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain)?;
        is_valid(number, text.len()).then_some(number)
    };
    text == "*"
        || text.split(',').all(|item| {
            let (span, repeat) = match item.split_once('/') {
                Some((span, repeat)) => (span, Some(repeat)),
                None => (item, None),
            };
            let is_repeat = |text: &str| {
                text.len() <= 9 && text.parse().is_ok_and(|n: u32| n > 0) && !text.starts_with('+')
            };
            let is_span = match span.split_once("..") {
                Some((from, to)) => {
                    matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to)
                }
                None => number(span).is_some(),
            };
            is_span && repeat.is_none_or(is_repeat)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expressions that `systemd-analyze calendar` accepts.
    const GOOD: [&str; 41] = [
        "10:00",
        "Mon",
        "mon,tue",
        "Mon-Fri",
        "Mon..Fri",
        "Mon..Fri,Sun 10:00",
        "Monday 10:00",
        "12-25",
        "*-12~03",
        "*-*~1",
        "2025-1-1",
        "25-1-1",
        "*-*-1..7 3:00",
        "*-*-1,15/2",
        "Mon  10:00",
        "10:00 UTC",
        "10:00 Europe/Berlin",
        "daily UTC",
        "DAILY",
        "*-*-* 1:2:3..5",
        "1..5/2:00",
        "Mon *-* 10:00",
        "minutely",
        "semi-annually",
        "bi-annually",
        "*:*",
        "1970-01-01",
        "69-1-1",
        "quarterly",
        "10:00/15",
        "00/2:30",
        "2025..2027-*-01",
        "*-2~5/1",
        "Sunday",
        "10:5",
        "010:00",
        "10:00:*",
        "10:00:1/2",
        "*-*",
        "*-*-* 03:00",
        "*:0/10",
    ];
    /// Expressions that it refuses.
    const BAD: [&str; 45] = [
        "",
        "at noon",
        "noon",
        "10:00 noon",
        "every day",
        "5 10:00",
        "10",
        "fri..mon",
        "24:00",
        "10:60",
        "10:00:60",
        "*-13-01",
        "*-*-0",
        "*-*-32",
        "5/0:00",
        "70..80:00",
        "8..2:00",
        "1..:00",
        "10,:00",
        "10:00, 11:00",
        "Mon,, 10:00",
        "Mon~Fri 10:00",
        "Sund",
        "*",
        "2200-01-01",
        "1000-1-1",
        " 10:00",
        "10:00 ",
        "10:00\nOnCalendar=*:*",
        "10:00;x",
        "%h:00",
        "10:00:00:00",
        "1-2-3-4",
        "10:00 Mon",
        "10:00 2025-1-1",
        "+1:00",
        "-1:00",
        "1.5:00",
        "10:00:.",
        "*-*-*T",
        "daily daily",
        "UTC",
        "Mon..",
        "..5:00",
        "10:00/-1",
    ];

    #[test]
    fn expressions_are_those_of_systemd() {
        for text in GOOD {
            assert!(is_calendar(text), "{text}");
        }
        for text in BAD {
            assert!(!is_calendar(text), "{text}");
        }
        assert!(!is_calendar(&"1".repeat(MAX_BYTES + 1)));
        assert!(!is_calendar(&format!("10:00{}", ",1".repeat(70))));
    }

    #[test]
    #[allow(clippy::disallowed_methods, clippy::unwrap_used)]
    fn systemd_agrees() {
        let accepts = |text: &str| {
            let analyze = std::process::Command::new("systemd-analyze")
                .args(["calendar", "--", text])
                .output()
                .expect("systemd-analyze is missing: install systemd");
            analyze.status.success()
        };
        for text in GOOD {
            assert!(accepts(text), "{text}");
        }
        for text in BAD {
            assert!(!accepts(text), "{text}");
        }
    }
}
