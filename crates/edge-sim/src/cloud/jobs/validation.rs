//! Validation of CreateJob and UpdateJob.

use serde_json::{Map, Value};

use super::arn;
use super::fields::{choice, identifier, list, number, object, printable, scaled, text};
use super::refusal::{Code, Outcome, Refusal};
use super::rollout::DEFAULT_RATE;
use super::state::{Abort, Account, Config, EndBehavior, Growth, Progress, Retry, Status, Target};

/// Largest size of a job document, in characters.
const MAX_DOCUMENT: usize = 32_768;
/// Largest number of targets of a job.
const MAX_TARGETS: usize = 100;
/// Longest timeout and step timeout, in minutes.
pub(super) const MAX_TIMEOUT: u64 = 10_080;
/// Largest number of repetitions on one thing, over all rules.
const MAX_RETRIES: u64 = 10;
const HALF_AN_HOUR: u64 = 30 * 60;
const YEAR: u64 = 365 * 86_400;
/// Configurations that DescribeJob returns as they were requested.
pub(super) const CONFIGURATIONS: [&str; 7] = [
    "description",
    "jobExecutionsRolloutConfig",
    "abortConfig",
    "timeoutConfig",
    "jobExecutionsRetryConfig",
    "schedulingConfig",
    "presignedUrlConfig",
];

/// Fields of CreateJob that belong to other services or to templates.
const UNSUPPORTED: [&str; 5] = [
    "documentSource",
    "jobTemplateArn",
    "documentParameters",
    "namespaceId",
    "destinationPackageVersions",
];

/// Validated request for a job.
#[derive(Debug)]
pub(super) struct Request {
    pub targets: Vec<Target>,
    pub continuous: bool,
    pub document: String,
    pub config: Config,
    pub requested: Map<String, Value>,
    pub tags: Vec<(String, String)>,
}

/// Returns the request of CreateJob, or why it is refused.
pub(super) fn create(account: &Account, id: &str, body: &Value, now: u64) -> Outcome<Request> {
    if !identifier(id, 64, "") {
        return Err(Refusal::invalid(format!("jobId {id} is malformed")));
    }
    let known = [
        &CONFIGURATIONS[..],
        &["targets", "document", "targetSelection", "tags"],
    ];
    let fields = body
        .as_object()
        .ok_or_else(|| Refusal::invalid("no JSON object"))?;
    if let Some(name) = UNSUPPORTED.iter().find(|name| fields.contains_key(**name)) {
        return Err(Refusal::invalid(format!(
            "the local cloud does not support {name}"
        )));
    }
    object(body, "CreateJob", &known.concat())?;
    let continuous = [("SNAPSHOT", false), ("CONTINUOUS", true)];
    let continuous = choice(fields, "targetSelection", &continuous)?.unwrap_or(false);
    let document = document(fields)?;
    let mut config = Config::default();
    configure(&mut config, fields, now)?;
    Ok(Request {
        targets: targets(account, fields)?,
        continuous,
        document,
        config,
        requested: requested(fields),
        tags: tags(fields)?,
    })
}

/// Returns the configurations in a request as DescribeJob shows them.
pub(super) fn requested(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields
        .iter()
        .filter(|(name, _)| CONFIGURATIONS.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn document(fields: &Map<String, Value>) -> Outcome<String> {
    let document = match fields.get("document") {
        Some(Value::String(document)) => document,
        _ => return Err(Refusal::invalid("document must be a string")),
    };
    if document.chars().count() > MAX_DOCUMENT {
        return Err(Refusal::invalid(format!(
            "document is longer than {MAX_DOCUMENT} characters"
        )));
    }
    match serde_json::from_str::<Value>(document) {
        Ok(Value::Object(_)) => Ok(document.clone()),
        _ => Err(Refusal::invalid(
            "Job document located at request input is an invalid JSON document.",
        )),
    }
}

/// Returns the targets of a request. Each must exist.
pub(super) fn targets(account: &Account, fields: &Map<String, Value>) -> Outcome<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    for value in list(fields, "targets", 1, MAX_TARGETS)? {
        let target = value.as_str().and_then(arn::target);
        let target = target
            .ok_or_else(|| Refusal::invalid(format!("{value} is no ARN of a thing or group")))?;
        let exists = match &target {
            Target::Thing(name) => account.things.contains(name),
            Target::Group(name) => account.groups.contains_key(name),
        };
        if !exists {
            return Err(Refusal::not_found(format!("Target {value} not found")));
        }
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Returns the tags of a request, at most 50.
pub(super) fn tags(fields: &Map<String, Value>) -> Outcome<Vec<(String, String)>> {
    if !fields.contains_key("tags") {
        return Ok(Vec::new());
    }
    let mut tags = Vec::new();
    for tag in list(fields, "tags", 0, 50)? {
        let tag = object(tag, "a tag", &["Key", "Value"])?;
        let key = text(tag, "Key", 128, printable)?;
        let key = key.ok_or_else(|| Refusal::invalid("a tag has no Key"))?;
        let value = match tag.get("Value") {
            None => "",
            Some(value) => value.as_str().unwrap_or_default(),
        };
        if value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(Refusal::invalid(format!("tag {key} is invalid")));
        }
        tags.push((key, value.to_string()));
    }
    Ok(tags)
}

/// Validates the configurations in a request and writes them to `config`.
pub(super) fn configure(config: &mut Config, fields: &Map<String, Value>, now: u64) -> Outcome<()> {
    text(fields, "description", 2028, printable)?;
    rates(config, fields.get("jobExecutionsRolloutConfig"))?;
    if let Some(value) = fields.get("abortConfig") {
        config.aborts = aborts(value)?;
    }
    if let Some(value) = fields.get("timeoutConfig") {
        let name = "inProgressTimeoutInMinutes";
        config.timeout = number(
            object(value, "timeoutConfig", &[name])?,
            name,
            1,
            MAX_TIMEOUT,
        )?;
    }
    if let Some(value) = fields.get("jobExecutionsRetryConfig") {
        config.retries = retries(value)?;
    }
    if let Some(value) = fields.get("schedulingConfig") {
        schedule(config, value, now)?;
    }
    if let Some(value) = fields.get("presignedUrlConfig") {
        let value = object(value, "presignedUrlConfig", &["roleArn", "expiresInSec"])?;
        number(value, "expiresInSec", 60, 3600)?;
    }
    Ok(())
}

fn rates(config: &mut Config, value: Option<&Value>) -> Outcome<()> {
    let Some(value) = value else {
        if config.maximum_per_minute == 0 {
            config.maximum_per_minute = DEFAULT_RATE;
        }
        return Ok(());
    };
    let name = "jobExecutionsRolloutConfig";
    let fields = object(value, name, &["maximumPerMinute", "exponentialRate"])?;
    let maximum = number(fields, "maximumPerMinute", 1, 1000)?;
    config.growth = match fields.get("exponentialRate") {
        None => None,
        Some(value) => {
            let maximum = maximum
                .ok_or_else(|| Refusal::invalid("exponentialRate requires maximumPerMinute"))?;
            Some(growth(value, maximum)?)
        }
    };
    config.maximum_per_minute = maximum.unwrap_or(DEFAULT_RATE);
    Ok(())
}

fn growth(value: &Value, maximum: u64) -> Outcome<Growth> {
    let names = [
        "baseRatePerMinute",
        "incrementFactor",
        "rateIncreaseCriteria",
    ];
    let fields = object(value, "exponentialRate", &names)?;
    let base = number(fields, names[0], 1, maximum.min(1000))?;
    let base = base.ok_or_else(|| Refusal::invalid("baseRatePerMinute is missing"))?;
    let factor_tenths = scaled(fields, names[1], 10, 1.1, 5.0)?;
    let counted = ["numberOfNotifiedThings", "numberOfSucceededThings"];
    let criteria = fields.get(names[2]).unwrap_or(&Value::Null);
    let criteria = object(criteria, names[2], &counted)?;
    let steps = [
        number(criteria, counted[0], 1, u64::MAX)?,
        number(criteria, counted[1], 1, u64::MAX)?,
    ];
    let (by, step) = match steps {
        [Some(step), None] => (Progress::Notified, step),
        [None, Some(step)] => (Progress::Succeeded, step),
        _ => {
            return Err(Refusal::invalid(
                "Provide only one of NumberOfNotifiedThings or NumberOfSucceededThings \
                 when RateIncreaseCriteria is defined",
            ));
        }
    };
    Ok(Growth {
        base,
        factor_tenths,
        by,
        step,
    })
}

fn aborts(value: &Value) -> Outcome<Vec<Abort>> {
    let names = [
        "failureType",
        "action",
        "thresholdPercentage",
        "minNumberOfExecutedThings",
    ];
    let failures = [
        ("FAILED", Some(Status::Failed)),
        ("REJECTED", Some(Status::Rejected)),
        ("TIMED_OUT", Some(Status::TimedOut)),
        ("ALL", None),
    ];
    let fields = object(value, "abortConfig", &["criteriaList"])?;
    let mut rules: Vec<Abort> = Vec::new();
    for rule in list(fields, "criteriaList", 1, failures.len())? {
        let rule = object(rule, "a criterion", &names)?;
        let failure = required(choice(rule, names[0], &failures)?, names[0])?;
        if rules.iter().any(|known| known.failure == failure) {
            return Err(Refusal::invalid(
                "a failureType stands twice in abortConfig",
            ));
        }
        required(choice(rule, names[1], &[("CANCEL", ())])?, names[1])?;
        let threshold = scaled(rule, names[2], 100, 0.01, 100.0)?;
        let minimum = required(number(rule, names[3], 1, u64::MAX)?, names[3])?;
        rules.push(Abort {
            failure,
            threshold,
            minimum,
        });
    }
    Ok(rules)
}

fn required<T>(value: Option<T>, name: &str) -> Outcome<T> {
    value.ok_or_else(|| Refusal::invalid(format!("{name} is missing")))
}

fn retries(value: &Value) -> Outcome<Vec<Retry>> {
    let failures = [
        ("FAILED", Some(Status::Failed)),
        ("TIMED_OUT", Some(Status::TimedOut)),
        ("ALL", None),
    ];
    let fields = object(value, "jobExecutionsRetryConfig", &["criteriaList"])?;
    let mut rules: Vec<Retry> = Vec::new();
    for rule in list(fields, "criteriaList", 1, 2)? {
        let rule = object(rule, "a criterion", &["failureType", "numberOfRetries"])?;
        let failure = required(choice(rule, "failureType", &failures)?, "failureType")?;
        let times = number(rule, "numberOfRetries", 0, MAX_RETRIES)?;
        let times = required(times, "numberOfRetries")?;
        let alone = failure.is_none() || rules.iter().any(|known| known.failure.is_none());
        if !rules.is_empty() && (alone || rules.iter().any(|known| known.failure == failure)) {
            return Err(Refusal::invalid(
                "jobExecutionsRetryConfig has ALL beside another failureType, or one twice",
            ));
        }
        rules.push(Retry { failure, times });
    }
    if rules.iter().map(|rule| rule.times).sum::<u64>() > MAX_RETRIES {
        return Err(Refusal::invalid(format!(
            "jobExecutionsRetryConfig has more than {MAX_RETRIES} retries"
        )));
    }
    Ok(rules)
}

fn schedule(config: &mut Config, value: &Value, now: u64) -> Outcome<()> {
    let names = ["startTime", "endTime", "endBehavior"];
    if value.get("maintenanceWindows").is_some() {
        return Err(Refusal::invalid(
            "the local cloud does not support maintenanceWindows",
        ));
    }
    let fields = object(value, "schedulingConfig", &names)?;
    let time = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) => {
            // The format has neither seconds nor a zone; it is UTC.
            let text = value.as_str().filter(|text| text.len() == 16);
            let parsed = text.and_then(|text| edge_common::time::parse(&format!("{text}:00Z")));
            let parsed = parsed.ok_or_else(|| {
                Refusal::invalid(format!(
                    "{name} is {value}, not of the form YYYY-MM-DDThh:mm"
                ))
            });
            parsed.map(Some)
        }
    };
    config.starts_at = time(names[0])?;
    let soon = config
        .starts_at
        .is_some_and(|start| start < now + HALF_AN_HOUR);
    let late = config.starts_at.is_some_and(|start| start > now + YEAR);
    if soon || late {
        return Err(Refusal::invalid(
            "startTime must be between 30 minutes and one year ahead",
        ));
    }
    let behaviors = [
        ("STOP_ROLLOUT", EndBehavior::StopRollout),
        ("CANCEL", EndBehavior::Cancel),
        ("FORCE_CANCEL", EndBehavior::ForceCancel),
    ];
    let behavior = choice(fields, names[2], &behaviors)?;
    config.ends_at = match (time(names[1])?, behavior) {
        (None, None) => None,
        (None, Some(_)) => return Err(Refusal::invalid("endBehavior requires endTime")),
        (Some(end), behavior) => {
            let begin = config.starts_at.unwrap_or(now);
            if end < begin + HALF_AN_HOUR || end > now + 2 * YEAR {
                return Err(Refusal::invalid(
                    "endTime must be 30 minutes after the start, and within two years",
                ));
            }
            Some((end, behavior.unwrap_or(EndBehavior::StopRollout)))
        }
    };
    Ok(())
}

/// Refuses a job above the quota of active jobs of its kind.
pub(super) fn quota(account: &Account, continuous: bool) -> Outcome<()> {
    use super::state::JobStatus::{InProgress, Scheduled};
    let active = |job: &&super::state::Job| {
        job.continuous == continuous && matches!(job.status, InProgress | Scheduled)
    };
    if account.jobs.values().filter(active).count() >= MAX_TARGETS {
        return Err(Refusal::new(
            Code::LimitExceeded,
            "the account has 100 active jobs of this kind",
        ));
    }
    Ok(())
}
