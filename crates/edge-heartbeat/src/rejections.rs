//! Reaction to reports that the cloud rejects: the connection works, so the next report
//! comes later and, if its size or content may be the cause, is smaller.

use std::time::Duration;

use edge_common::backoff::Backoff;
use edge_common::time;
use serde_json::{Value, json};

use crate::document::MAX_DOCUMENT_BYTES;
use crate::shadow::Rejection;
use crate::timing::Timing;

/// Smallest budget of a report, in bytes.
const MIN_BUDGET_BYTES: usize = 512;
/// Accepted reports after which a larger one is tried again: an hour at the built-in
/// interval.
const ACCEPTED_BEFORE_GROWTH: u32 = 12;
/// Reports without an answer after which the connection counts as broken.
const MAX_UNANSWERED: u32 = 3;

/// Rejections of the reports of this process, and what follows from them.
pub(crate) struct Rejections {
    budget: usize,
    pauses: Backoff,
    accepted: u32,
    unanswered: u32,
    times: u64,
    last: Option<(Rejection, String)>,
}

impl Rejections {
    pub(crate) fn new(timing: &Timing) -> Self {
        let (shortest, longest) = timing.rejected;
        Self {
            budget: MAX_DOCUMENT_BYTES,
            pauses: Backoff::new(shortest, longest),
            accepted: 0,
            unanswered: 0,
            times: 0,
            last: None,
        }
    }

    /// Returns the size limit of the next report, in bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Returns the part of a report that names the last rejection, and how many there
    /// were since the start of the service.
    pub(crate) fn report(&self) -> Value {
        let last = self.last.as_ref();
        last.map_or(Value::Null, |(rejection, time)| {
            json!({ "code": rejection.code, "message": rejection.message, "time": time,
                "times": self.times })
        })
    }

    /// Records an accepted report.
    pub(crate) fn accepted(&mut self) {
        self.pauses.reset();
        self.unanswered = 0;
        self.accepted += 1;
        if self.budget < MAX_DOCUMENT_BYTES && self.accepted >= ACCEPTED_BEFORE_GROWTH {
            self.accepted = 0;
            self.budget = (self.budget * 2).min(MAX_DOCUMENT_BYTES);
        }
    }

    /// Records a rejected report and returns the time until the next one.
    pub(crate) fn rejected(&mut self, rejection: Rejection) -> Duration {
        // A report of another size changes nothing about a rate or a right.
        if matches!(rejection.code, 400 | 413) {
            let bytes = self.budget.min(rejection.bytes);
            self.budget = (bytes / 2).max(MIN_BUDGET_BYTES);
        }
        self.accepted = 0;
        self.unanswered = 0;
        self.times += 1;
        self.last = Some((rejection, time::now()));
        self.pauses.next_pause()
    }

    /// Records a report without an answer and returns the time until the next one, or
    /// `None` if the connection has to be renewed.
    pub(crate) fn unanswered(&mut self) -> Option<Duration> {
        self.unanswered += 1;
        if self.unanswered >= MAX_UNANSWERED {
            self.unanswered = 0;
            return None;
        }
        Some(self.pauses.next_pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(code: u64) -> Rejection {
        let message = "x".into();
        Rejection {
            code,
            message,
            bytes: 5000,
        }
    }

    #[test]
    fn reports_shrink_for_their_size_only_and_grow_again() {
        let mut rejections = Rejections::new(&Timing::default());
        assert!(rejections.report().is_null());
        for code in [429, 500, 403, 503, 0] {
            rejections.rejected(rejection(code));
            assert_eq!(rejections.budget(), MAX_DOCUMENT_BYTES, "{code}");
        }
        for code in [413, 400, 413, 400, 413, 413] {
            rejections.rejected(rejection(code));
        }
        assert_eq!(rejections.budget(), MIN_BUDGET_BYTES);
        let report = rejections.report();
        assert_eq!(
            (&report["code"], &report["times"]),
            (&json!(413), &json!(11))
        );
        for _ in 0..4 * ACCEPTED_BEFORE_GROWTH {
            rejections.accepted();
        }
        assert_eq!(rejections.budget(), MAX_DOCUMENT_BYTES);
    }

    #[test]
    fn pauses_stay_within_their_bounds_and_begin_short_again() {
        let timing = Timing::default();
        let mut rejections = Rejections::new(&timing);
        for _ in 0..200 {
            let pause = rejections.rejected(rejection(429));
            assert!(pause >= timing.rejected.0 && pause <= timing.rejected.1);
        }
        rejections.accepted();
        assert!(rejections.rejected(rejection(429)) <= timing.rejected.0 * 3);
        let mut rejections = Rejections::new(&timing);
        let renewals = (0..9).filter(|_| rejections.unanswered().is_none()).count();
        assert_eq!(renewals, 3);
    }
}
