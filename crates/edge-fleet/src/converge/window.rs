//! Maintenance windows in the device's time zone.

/// Minutes of a day.
const DAY: u32 = 24 * 60;
/// Minutes of a week.
const WEEK: u32 = 7 * DAY;

/// Day and time in the device's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Minutes since the beginning of Sunday.
    minute: u32,
}

impl LocalTime {
    /// Returns the time of a day of the week, 0 for Sunday, an hour and a minute; `None` if
    /// there is no such time.
    pub fn new(day: u32, hour: u32, minute: u32) -> Option<Self> {
        let valid = day < 7 && hour < 24 && minute < 60;
        valid.then_some(Self {
            minute: day * DAY + hour * 60 + minute,
        })
    }
}

/// Maintenance window of a release set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Day of the week, 0 for Sunday; `None` for each day.
    pub day: Option<u32>,
    /// Begin in minutes after midnight.
    pub start: u32,
    /// Length in minutes.
    pub minutes: u32,
}

impl Window {
    /// Returns whether the window is open.
    pub fn is_open(self, now: LocalTime) -> bool {
        let (start, period) = match self.day {
            Some(day) => (day * DAY + self.start, WEEK),
            None => (self.start, DAY),
        };
        (now.minute + WEEK - start % WEEK) % period < self.minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(window: (Option<u32>, u32, u32), day: u32, hour: u32, minute: u32) -> bool {
        let (day_of_window, start, minutes) = window;
        let window = Window {
            day: day_of_window,
            start,
            minutes,
        };
        window.is_open(LocalTime::new(day, hour, minute).unwrap())
    }

    #[test]
    fn windows_open_and_close() {
        let night = (Some(0), 120, 180);
        assert!(!open(night, 0, 1, 59) && open(night, 0, 2, 0));
        assert!(open(night, 0, 4, 59) && !open(night, 0, 5, 0) && !open(night, 1, 2, 0));
        let over_the_week = (Some(6), 23 * 60, 120);
        assert!(open(over_the_week, 0, 0, 59) && !open(over_the_week, 0, 1, 0));
        let daily = (None, 23 * 60 + 30, 60);
        assert!(open(daily, 3, 0, 29) && !open(daily, 3, 0, 30) && open(daily, 6, 23, 30));
        assert!(open((None, 0, DAY), 3, 23, 59) && open((Some(3), 0, WEEK), 2, 0, 0));
        assert_eq!(LocalTime::new(7, 0, 0), None);
        assert_eq!(LocalTime::new(0, 24, 0), None);
        assert_eq!(LocalTime::new(0, 0, 60), None);
    }
}
