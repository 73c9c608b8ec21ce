//! Stages of rollouts, as their jobs in AWS describe them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::cli::rollout::Stages;

/// Counters of a job's executions: the name in the output, and in the API.
pub(super) const COUNTERS: [(&str, &str); 8] = [
    ("queued", "numberOfQueuedThings"),
    ("in_progress", "numberOfInProgressThings"),
    ("succeeded", "numberOfSucceededThings"),
    ("failed", "numberOfFailedThings"),
    ("rejected", "numberOfRejectedThings"),
    ("timed_out", "numberOfTimedOutThings"),
    ("canceled", "numberOfCanceledThings"),
    ("removed", "numberOfRemovedThings"),
];

/// ID of the job of a stage: `edge-SET-NUMBER-STAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobId {
    /// Name of the release set, which is that of the group.
    pub(super) group: String,
    /// Number of the release set.
    pub(super) number: u64,
    /// `canary` or `all`, with a number from 2 on for another try.
    pub(super) stage: String,
}

impl JobId {
    /// Parses a job ID; `None` if the job is none of a rollout.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (rest, stage) = id.strip_prefix("edge-")?.rsplit_once('-')?;
        let (group, number) = rest.rsplit_once('-')?;
        let number = number.parse().ok()?;
        let turn = ["canary", "all"]
            .iter()
            .find_map(|kind| stage.strip_prefix(kind))?;
        let known = turn.is_empty() || turn.parse::<u16>().is_ok_and(|turn| turn > 1);
        (known && !group.is_empty()).then(|| Self {
            group: group.into(),
            number,
            stage: stage.into(),
        })
    }

    /// Returns whether the stage is that of the canaries.
    pub(super) fn is_canary(&self) -> bool {
        self.stage.starts_with("canary")
    }

    fn kind(&self) -> &'static str {
        match self.is_canary() {
            true => "canary",
            false => "all",
        }
    }

    fn turn(&self) -> u16 {
        // The first try has no number.
        self.stage[self.kind().len()..].parse().unwrap_or(1)
    }

    /// Returns the place among the jobs of a group.
    pub(super) fn place(&self) -> (u64, bool, u16) {
        (self.number, !self.is_canary(), self.turn())
    }

    /// Returns the ID of another try of the stage.
    pub(super) fn again(&self) -> Self {
        Self {
            stage: format!("{}{}", self.kind(), self.turn().saturating_add(1)),
            ..self.clone()
        }
    }

    /// Returns the ID of the stage of the whole group.
    pub(super) fn all(&self) -> Self {
        Self {
            stage: "all".into(),
            ..self.clone()
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "edge-{}-{}-{}", self.group, self.number, self.stage)
    }
}

/// Stage of a rollout: its job as AWS describes it.
pub(super) struct Stage {
    pub(super) id: JobId,
    /// Answer of `DescribeJob`.
    pub(super) job: Value,
    pub(super) tags: BTreeMap<String, String>,
}

impl Stage {
    /// Returns the status of the job, for example `IN_PROGRESS`.
    pub(super) fn status(&self) -> &str {
        self.job["status"].as_str().unwrap_or_default()
    }

    /// Returns whether AWS still notifies devices or waits for some.
    pub(super) fn is_open(&self) -> bool {
        // SCHEDULED belongs to jobs with a start time, which people may have made by hand.
        matches!(self.status(), "IN_PROGRESS" | "SCHEDULED")
    }

    /// Returns why the job was canceled.
    pub(super) fn reason(&self) -> &str {
        self.job["reasonCode"].as_str().unwrap_or_default()
    }

    /// Returns a counter by its name in the API.
    pub(super) fn count(&self, counter: &str) -> u64 {
        self.job["jobProcessDetails"][counter].as_u64().unwrap_or(0)
    }

    /// Returns the number of executions that ended without the set.
    pub(super) fn unsuccessful(&self) -> u64 {
        COUNTERS[3..6]
            .iter()
            .map(|(_, name)| self.count(name))
            .sum()
    }

    /// Returns the end of the job in seconds of Unix time. AWS sends fractions.
    pub(super) fn ended(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time after 1970"
        )]
        self.job["completedAt"].as_f64().map(|time| time as u64)
    }

    /// Returns the document that devices get: reference, name and number of the set.
    pub(super) fn reference(&self) -> Option<&str> {
        self.tags.get("edge:set").map(String::as_str)
    }

    /// Returns the stages and limits with which the rollout began.
    pub(super) fn stages(&self) -> Option<Stages> {
        let number = |name: &str| self.tags.get(name)?.parse::<u64>().ok();
        let small = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        Some(Stages {
            canary: small("edge:canary")?,
            soak: number("edge:soak")?,
            rate: small("edge:rate")?,
            abort_at: small("edge:abort-at")?,
        })
    }

    /// Returns the stage for `--json`.
    pub(super) fn to_json(&self, failed: &[Value]) -> Value {
        let counts: Map<_, _> = COUNTERS
            .iter()
            .map(|(name, counter)| ((*name).into(), self.count(counter).into()))
            .collect();
        json!({
            "job": self.id.to_string(), "stage": self.id.stage, "status": self.status(),
            "reason": self.reason(), "counts": counts, "failed": failed,
        })
    }
}

/// Returns the tags that state a rollout with its job.
pub(super) fn tags(reference: &str, stages: &Stages) -> Value {
    let tag = |key: &str, value: String| json!({ "Key": key, "Value": value });
    json!([
        tag("edge:set", reference.into()),
        tag("edge:canary", stages.canary.to_string()),
        tag("edge:soak", stages.soak.to_string()),
        tag("edge:rate", stages.rate.to_string()),
        tag("edge:abort-at", stages.abort_at.to_string()),
    ])
}

/// Returns the request for the job of a stage. Only failures end a rollout: a device that
/// has a newer set rejects an older one.
pub(super) fn request(
    id: &JobId,
    targets: &[String],
    things: usize,
    reference: &str,
    stages: &Stages,
) -> Value {
    let devices = u32::try_from(things).unwrap_or(u32::MAX);
    // Below this number a single failure would be a high percentage.
    let least = (devices.saturating_mul(stages.abort_at))
        .div_ceil(100)
        .max(1);
    let criterion = |failure: &str| {
        json!({
            "failureType": failure, "action": "CANCEL",
            "thresholdPercentage": stages.abort_at, "minNumberOfExecutedThings": least,
        })
    };
    let document = json!({
        "edge": 1, "set": reference, "name": id.group, "number": id.number,
    });
    json!({
        "targets": targets,
        "document": document.to_string(),
        "description": format!(
            "release set {} {}: {} of {things} devices, at most {} a minute, until {} % fail",
            id.group, id.number, id.stage, stages.rate, stages.abort_at
        ),
        "jobExecutionsRolloutConfig": { "maximumPerMinute": stages.rate },
        "abortConfig": { "criteriaList": [criterion("FAILED"), criterion("TIMED_OUT")] },
        // The time of a device begins with its download; a device that waits has none.
        "timeoutConfig": { "inProgressTimeoutInMinutes": 10_080 },
        "tags": tags(reference, stages),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_parsed_and_counted() {
        let id = JobId::parse("edge-barn-a-1795638227-canary").unwrap();
        assert_eq!((id.group.as_str(), id.number), ("barn-a", 1_795_638_227));
        let ids = [id.clone(), id.again(), id.all(), id.all().again()];
        let stages = ids.clone().map(|id| id.stage);
        assert_eq!(stages, ["canary", "canary2", "all", "all2"]);
        assert_eq!(ids[3].again().stage, "all3");
        assert!(ids.iter().is_sorted_by_key(JobId::place));
        for id in ids {
            assert_eq!(JobId::parse(&id.to_string()), Some(id));
        }
        for other in [
            "edge-barn",
            "barn-1-all",
            "edge-1-all",
            "edge-barn-x-all",
            "edge-barn-1-rest",
            "edge--1-all",
            "edge-barn-1-all2x",
            "edge-barn-1-",
            "edge-barn-1-all1",
            "edge-barn-1-all-1",
        ] {
            assert_eq!(JobId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_single_failure_of_many_is_below_the_limit() {
        let stages = Stages {
            canary: 1,
            soak: 0,
            rate: 50,
            abort_at: 10,
        };
        let id = JobId::parse("edge-barn-5-all").unwrap();
        let least = |things: usize| {
            let request = request(&id, &[], things, "r/edge@sha256:00", &stages);
            let criterion = request["abortConfig"]["criteriaList"][0].clone();
            criterion["minNumberOfExecutedThings"].as_u64().unwrap()
        };
        assert_eq!(
            [least(0), least(1), least(9), least(11), least(200)],
            [1, 1, 1, 2, 20]
        );
    }
}
