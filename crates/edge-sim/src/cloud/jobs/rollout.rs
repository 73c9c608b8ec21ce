//! Changes of jobs and executions: batches, timers, retries, aborts, cancellation
//! and the effects of thing groups.

use std::collections::BTreeMap;

use super::refusal::{Code, Outcome, Refusal};
use super::state::{
    Account, EndBehavior, Execution, Job, JobStatus, Progress, Retry, Status, Target,
};

/// Rate of a roll-out that states none, in devices per minute.
pub(super) const DEFAULT_RATE: u64 = 1000;
const MINUTE: u64 = 60;

/// Cancellation of a job.
#[derive(Clone, Debug, Default)]
pub(super) struct Cancellation {
    /// Whether executions in progress are canceled too.
    pub force: bool,
    pub reason_code: Option<String>,
    pub comment: Option<String>,
}

impl Account {
    /// Returns the time of the next event that happens by itself.
    pub(super) fn due(&self) -> Option<u64> {
        self.jobs.values().filter_map(Job::due).min()
    }

    /// Does everything that is due at the time `at`.
    pub(super) fn fire(&mut self, at: u64) {
        let ids: Vec<_> = self.jobs.keys().cloned().collect();
        for id in ids {
            self.with(&id, |account, job| account.fire_job(job, at));
        }
    }

    /// Takes a job out of the account while `work` changes it.
    pub(super) fn with<T>(
        &mut self,
        id: &str,
        work: impl FnOnce(&mut Self, &mut Job) -> T,
    ) -> Option<T> {
        let mut job = self.jobs.remove(id)?;
        let result = work(self, &mut job);
        self.jobs.insert(id.into(), job);
        Some(result)
    }

    fn fire_job(&mut self, job: &mut Job, at: u64) {
        let starts = job.status == JobStatus::Scheduled;
        if starts && job.config.starts_at.is_none_or(|start| start <= at) {
            self.begin(job, at);
        }
        self.time_out(job, at);
        if job.next_batch.is_some_and(|next| next <= at) {
            self.batch(job, at);
        }
        if let Some((_, behavior)) = job.open_end().filter(|(end, _)| *end <= at) {
            self.end(job, behavior, at);
        }
        job.complete(at);
    }

    fn end(&mut self, job: &mut Job, behavior: EndBehavior, at: u64) {
        job.stopped = true;
        job.waiting.clear();
        job.next_batch = None;
        if behavior != EndBehavior::StopRollout {
            let cancellation = Cancellation {
                force: behavior == EndBehavior::ForceCancel,
                ..Cancellation::default()
            };
            self.cancel(job, cancellation, at);
        }
    }

    /// Begins the roll-out of a job to the present members of its targets.
    pub(super) fn begin(&mut self, job: &mut Job, at: u64) {
        job.status = JobStatus::InProgress;
        job.updated_at = at;
        job.waiting.extend(self.members(&job.targets));
        self.batch(job, at);
        job.complete(at);
    }

    /// Queues the executions of the next batch.
    fn batch(&mut self, job: &mut Job, at: u64) {
        for _ in 0..job.rate() {
            let Some(thing) = job.waiting.pop_front() else {
                break;
            };
            self.queue(job, &thing, Vec::new(), at);
        }
        job.next_batch = (!job.waiting.is_empty()).then_some(at + MINUTE);
    }

    fn queue(&mut self, job: &mut Job, thing: &str, repeats: Vec<Status>, at: u64) {
        self.sequence += 1;
        let number = job.latest(thing).map_or(1, |latest| latest.number + 1);
        job.executions.push(Execution {
            thing: thing.into(),
            number,
            sequence: self.sequence,
            status: Status::Queued,
            details: BTreeMap::new(),
            queued_at: at,
            started_at: None,
            updated_at: at,
            version: 1,
            force_canceled: false,
            job_timer: None,
            step_timer: None,
            repeats,
        });
        self.changed.insert(thing.into());
    }

    fn time_out(&mut self, job: &mut Job, at: u64) {
        let due = |e: &Execution| e.due().is_some_and(|due| due <= at);
        let over: Vec<_> = job
            .executions
            .iter()
            .filter(|e| due(e))
            .map(|e| e.sequence)
            .collect();
        for sequence in over {
            self.finish(job, sequence, Status::TimedOut, at);
        }
    }

    /// Ends an execution, then applies the rules for aborts and retries.
    pub(super) fn finish(&mut self, job: &mut Job, sequence: u64, status: Status, at: u64) {
        let Some(execution) = job.executions.iter_mut().find(|e| e.sequence == sequence) else {
            return;
        };
        // An earlier execution of the same tick may have aborted the job by force.
        if execution.status.is_final() {
            return;
        }
        execution.status = status;
        execution.updated_at = at;
        execution.version += u64::from(status != Status::Removed);
        let (thing, mut repeats) = (execution.thing.clone(), execution.repeats.clone());
        self.changed.insert(thing.clone());
        self.abort(job, at);
        if job.status == JobStatus::InProgress && job.repeats(status, &repeats) {
            repeats.push(status);
            self.queue(job, &thing, repeats, at);
        }
        job.complete(at);
    }

    fn abort(&mut self, job: &mut Job, at: u64) {
        if job.status != JobStatus::InProgress {
            return;
        }
        if let Some(comment) = job.abort_reason() {
            let cancellation = Cancellation {
                force: false,
                reason_code: Some("ABORT_CANCEL".into()),
                comment: Some(comment),
            };
            self.cancel(job, cancellation, at);
        }
    }

    /// Cancels a job: what is queued, and with `force` what is in progress too.
    pub(super) fn cancel(&mut self, job: &mut Job, cancellation: Cancellation, at: u64) {
        job.status = JobStatus::Canceled;
        job.force_canceled |= cancellation.force;
        job.reason_code = cancellation.reason_code.or(job.reason_code.take());
        job.comment = cancellation.comment.or(job.comment.take());
        job.updated_at = at;
        job.completed_at.get_or_insert(at);
        job.waiting.clear();
        job.next_batch = None;
        for execution in &mut job.executions {
            let in_progress = execution.status == Status::InProgress;
            if execution.status == Status::Queued || in_progress && cancellation.force {
                execution.cancel(cancellation.force, at);
                self.changed.insert(execution.thing.clone());
            }
        }
    }

    /// Deletes a job; without `force` only one that has ended.
    pub(super) fn delete_job(&mut self, id: &str, force: bool) -> Outcome<()> {
        let job = self.jobs.get(id);
        let job = job.ok_or_else(|| Refusal::not_found(format!("Job {id} not found")))?;
        if !force && !matches!(job.status, JobStatus::Canceled | JobStatus::Completed) {
            return Err(Refusal::new(
                Code::InvalidStateTransition,
                format!("Job {id} is neither canceled nor completed"),
            ));
        }
        let things = job.executions.iter().map(|e| e.thing.clone());
        self.changed.extend(things);
        self.jobs.remove(id);
        Ok(())
    }

    /// Applies a change of group members to continuous jobs: who left loses a queued
    /// execution, who joined gets a new one.
    pub(super) fn membership_changed(&mut self, thing: &str, joined: Option<&str>, at: u64) {
        let ids: Vec<_> = self.jobs.keys().cloned().collect();
        for id in ids {
            self.with(&id, |account, job| {
                if job.status != JobStatus::InProgress || !job.continuous || job.stopped {
                    return;
                }
                match joined {
                    Some(group) if job.addresses_group(group) => account.join(job, thing, at),
                    None if !account.members(&job.targets).contains(thing) => {
                        account.leave(job, thing, at);
                    }
                    _ => {}
                }
            });
        }
    }

    /// Queues an execution at once for a thing that became a target of a job.
    pub(super) fn join(&mut self, job: &mut Job, thing: &str, at: u64) {
        let open = job.latest(thing).is_some_and(|e| !e.status.is_final());
        if !open && !job.waiting.iter().any(|waiting| waiting == thing) {
            self.queue(job, thing, Vec::new(), at);
        }
    }

    fn leave(&mut self, job: &mut Job, thing: &str, at: u64) {
        job.waiting.retain(|waiting| waiting != thing);
        let queued = job.latest(thing).filter(|e| e.status == Status::Queued);
        if let Some(sequence) = queued.map(|e| e.sequence) {
            self.finish(job, sequence, Status::Removed, at);
        }
    }
}

impl Execution {
    /// Cancels the execution.
    pub(super) fn cancel(&mut self, force: bool, at: u64) {
        self.force_canceled = force && self.status == Status::InProgress;
        self.status = Status::Canceled;
        self.updated_at = at;
        self.version += 1;
    }
}

impl Job {
    fn due(&self) -> Option<u64> {
        let start = self
            .config
            .starts_at
            .filter(|_| self.status == JobStatus::Scheduled);
        let timers = self.executions.iter().filter_map(Execution::due);
        let end = self.open_end().map(|(end, _)| end);
        timers.chain(start).chain(end).chain(self.next_batch).min()
    }

    /// Returns the end of the schedule if it is still to come.
    fn open_end(&self) -> Option<(u64, EndBehavior)> {
        let open = matches!(self.status, JobStatus::Scheduled | JobStatus::InProgress);
        self.config.ends_at.filter(|_| open && !self.stopped)
    }

    fn addresses_group(&self, group: &str) -> bool {
        let named = |target: &Target| matches!(target, Target::Group(name) if name == group);
        self.targets.iter().any(named)
    }

    /// Returns the number of devices in the next batch.
    fn rate(&self) -> u64 {
        let Some(growth) = &self.config.growth else {
            return self.config.maximum_per_minute;
        };
        let done = match growth.by {
            Progress::Notified => self.executions.len() as u64,
            Progress::Succeeded => self.count(Status::Succeeded),
        };
        // The loop ends at the maximum: no power of a long roll-out overflows.
        let (mut rate, maximum) = (growth.base as f64, self.config.maximum_per_minute);
        for _ in 0..done / growth.step {
            rate *= growth.factor_tenths as f64 / 10.0;
            if rate >= maximum as f64 {
                return maximum;
            }
        }
        // 1.1 is slightly more or less than eleven tenths.
        (rate + 1e-6) as u64
    }

    fn repeats(&self, status: Status, earlier: &[Status]) -> bool {
        if !matches!(status, Status::Failed | Status::TimedOut) {
            return false;
        }
        let left = |retry: &Retry| match retry.failure {
            None => (earlier.len() as u64) < retry.times,
            Some(failure) if failure == status => {
                let spent = earlier.iter().filter(|e| **e == failure).count() as u64;
                spent < retry.times
            }
            Some(_) => false,
        };
        self.config.retries.iter().any(left)
    }

    /// Returns the comment of the first abort rule that is met.
    fn abort_reason(&self) -> Option<String> {
        let finished = self
            .executions
            .iter()
            .filter(|e| e.status.is_final())
            .count() as u64;
        self.config.aborts.iter().find_map(|rule| {
            let (name, failures) = match rule.failure {
                Some(status) => (status.name(), self.count(status)),
                None => {
                    let all = [Status::Failed, Status::Rejected, Status::TimedOut];
                    ("ALL", all.iter().map(|status| self.count(*status)).sum())
                }
            };
            let met = finished >= rule.minimum && failures * 10_000 >= rule.threshold * finished;
            (met && failures > 0).then(|| {
                format!(
                    "Abort criteria for failure type {name} with threshold {}.{:02}% met. \
                     Total completed executions: {finished}, total {name} executions: {failures}",
                    rule.threshold / 100,
                    rule.threshold % 100
                )
            })
        })
    }

    /// Completes a job if all of its executions are final; a continuous one only
    /// after the end of its schedule.
    pub(super) fn complete(&mut self, at: u64) {
        let ends = !self.continuous || self.stopped;
        let open = self.executions.iter().any(|e| !e.status.is_final());
        if self.status == JobStatus::InProgress && ends && self.waiting.is_empty() && !open {
            self.status = JobStatus::Completed;
            self.completed_at = Some(at);
            self.updated_at = at;
        }
    }
}
