//! Counter of passed and failed tests, checks or steps.

/// Numbers of passed and failed tests, checks or steps, as a summary line shows them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// Counts one more result, as passed or as failed.
    pub(crate) fn count(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds the numbers of another tally, for example of one test program, to this one.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}
