//! Code that several fuzz targets share: the decisions of the policy, each compared with
//! the checker, and their count.

#[path = "../../crates/edge-docker-policy/tests/decision/mod.rs"]
pub mod decision;

use std::cell::Cell;

use decision::Decision;

thread_local! {
    static COUNT: Count = const { Count { allowed: Cell::new(0), refused: Cell::new(0) } };
}

/// Number of decisions of a run. libFuzzer decides on the main thread and then exits, which
/// drops the values of this thread.
struct Count {
    allowed: Cell<u64>,
    refused: Cell<u64>,
}

impl Drop for Count {
    fn drop(&mut self) {
        eprintln!(
            "decisions: {} allowed, {} refused",
            self.allowed.get(),
            self.refused.get()
        );
    }
}

/// Counts a decision; the counts are printed at the end of the run.
pub fn count(decision: &Decision) {
    COUNT.with(|count| {
        let counter = match decision {
            Ok(_) => &count.allowed,
            Err(_) => &count.refused,
        };
        counter.set(counter.get() + 1);
    });
}
