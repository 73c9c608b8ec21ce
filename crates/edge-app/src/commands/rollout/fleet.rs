//! State of a rollout in AWS: jobs, members of the group, sets of devices.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_common::exit::Failure;
use serde_json::{Value, json};

use crate::cloud::iot::Iot;
use crate::exit_code::CONFIGURATION;

use super::stage::{JobId, Stage};

/// Prefix of the names of our thing groups.
const GROUP_PREFIX: &str = "edge-ai-";
/// Limit of failed devices whose reasons are read: each costs a request.
const MAX_REASONS: usize = 50;

/// Rollouts of one group, as AWS stores them.
pub(super) struct Fleet {
    pub(super) iot: Iot,
    pub(super) group: String,
}

/// State of a device in the index of things.
#[derive(Default)]
pub(super) struct DeviceState {
    /// Number of the set that the device runs.
    pub(super) number: Option<u64>,
    /// Phase of its loop, for example `held`.
    pub(super) phase: String,
}

impl Fleet {
    pub(super) async fn new(group: &str) -> Result<Self> {
        // Part of job IDs, which have at most 64 characters, and of tags of the registry.
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if group.is_empty() || group.len() > 32 || !group.chars().all(valid) {
            let why = format!("{group:?} is no name of a group: 1 to 32 of a-z, 0-9, - and _");
            return Err(Failure::error(2, why));
        }
        Ok(Self {
            iot: Iot::new().await?,
            group: group.into(),
        })
    }

    /// Returns the name of the group in AWS.
    pub(super) fn thing_group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.group)
    }

    /// Sends a request that has to succeed.
    async fn get(&self, path: &str, action: &str) -> Result<Value> {
        let answer = self.iot.call("GET", path, None).await?;
        answer.map_err(|refused| refused.error(action))
    }

    /// Returns all entries of a list with pages.
    async fn list(&self, path: &str, field: &str, action: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut next = String::new();
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let query = format!("{path}{mark}maxResults=250{next}");
            let page = self.get(&query, action).await?;
            found.extend(page[field].as_array().cloned().unwrap_or_default());
            match page["nextToken"].as_str() {
                Some(token) => next = format!("&nextToken={}", encoded(token)),
                None => return Ok(found),
            }
        }
    }

    /// Returns the ARN of the group; `None` if AWS has no such group.
    pub(super) async fn group(&self) -> Result<Option<String>> {
        let path = format!("/thing-groups/{}", self.thing_group());
        match self.iot.call("GET", &path, None).await? {
            Ok(described) => {
                let arn = described["thingGroupArn"].as_str().unwrap_or_default();
                Ok(Some(arn.into()))
            }
            Err(refused) if refused.is_absent() => Ok(None),
            Err(refused) => Err(refused.error("reading the thing group")),
        }
    }

    /// Returns the things of the group, sorted.
    pub(super) async fn things(&self) -> Result<Vec<String>> {
        let path = format!("/thing-groups/{}/things", self.thing_group());
        let things = self.list(&path, "things", "listing the thing group");
        let things = things.await?;
        let names = things.iter().filter_map(|thing| thing.as_str());
        let mut names: Vec<_> = names.map(String::from).collect();
        names.sort();
        Ok(names)
    }

    /// Creates the group.
    pub(super) async fn create_group(&self) -> Result<()> {
        let path = format!("/thing-groups/{}", self.thing_group());
        let created = self.iot.call("POST", &path, Some(&json!({}))).await?;
        created.map_err(|refused| refused.error("creating the thing group"))?;
        Ok(())
    }

    /// Adds a thing to the group, or removes it: `action` is `add` or `remove`.
    pub(super) async fn move_thing(&self, action: &str, thing: &str) -> Result<()> {
        let call = match action {
            "add" => "addThingToThingGroup",
            _ => "removeThingFromThingGroup",
        };
        let request = json!({ "thingGroupName": self.thing_group(), "thingName": thing });
        let path = format!("/thing-groups/{call}");
        let moved = self.iot.call("PUT", &path, Some(&request)).await?;
        moved.map_err(|refused| refused.error(&format!("{action} {thing}")))?;
        Ok(())
    }

    /// Returns the ARN of the group and its members, sorted. An empty group is an error.
    pub(super) async fn members(&self) -> Result<(String, Vec<String>)> {
        let (name, group) = (self.thing_group(), &self.group);
        let Some(arn) = self.group().await? else {
            let why = format!("AWS has no thing group {name}: run edge-app group sync {group}");
            return Err(Failure::error(CONFIGURATION, why));
        };
        let things = self.things().await?;
        // AWS would complete the job of an empty group at once, which looks like success.
        if things.is_empty() {
            let why =
                format!("the thing group {name} has no members: run edge-app group sync {group}");
            return Err(Failure::error(CONFIGURATION, why));
        }
        Ok((arn, things))
    }

    /// Returns the IDs of all jobs of the group, oldest first.
    pub(super) async fn jobs(&self) -> Result<Vec<JobId>> {
        let jobs = self.list("/jobs", "jobs", "listing jobs").await?;
        let ids = jobs
            .iter()
            .filter_map(|job| JobId::parse(job["jobId"].as_str()?));
        let mut ids: Vec<_> = ids.filter(|id| id.group == self.group).collect();
        ids.sort_by_key(JobId::place);
        Ok(ids)
    }

    /// Returns a stage with its counters and tags.
    pub(super) async fn stage(&self, id: JobId) -> Result<Stage> {
        let answer = self.get(&format!("/jobs/{id}"), "reading a job").await?;
        let arn = answer["job"]["jobArn"].as_str().unwrap_or_default();
        let path = format!("/tags?resourceArn={}", encoded(arn));
        // DescribeJob does not return them. The description is for people, and may be edited.
        let tags = self.get(&path, "reading the tags of a job").await?;
        let tags = tags["tags"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let tags: BTreeMap<_, _> = tags
            .map(|tag| (text(&tag["Key"]), text(&tag["Value"])))
            .collect();
        Ok(Stage {
            id,
            job: answer["job"].clone(),
            tags,
        })
    }

    /// Returns the stages of the newest rollout, oldest first.
    pub(super) async fn newest(&self) -> Result<Vec<Stage>> {
        let ids = self.jobs().await?;
        let Some(number) = ids.iter().map(|id| id.number).max() else {
            let why = format!(
                "no rollout of {} so far: begin one with edge-app rollout start {}",
                self.group, self.group
            );
            return Err(Failure::error(1, why));
        };
        let mut stages = Vec::new();
        for id in ids.into_iter().filter(|id| id.number == number) {
            stages.push(self.stage(id).await?);
        }
        Ok(stages)
    }

    /// Creates the job of a stage. The same request again is no error: another laptop, or
    /// this one before its answer was lost, was faster.
    pub(super) async fn create(&self, id: &JobId, request: &Value) -> Result<()> {
        let path = format!("/jobs/{id}");
        let answer = self.iot.call("PUT", &path, Some(request)).await?;
        match answer {
            Ok(_) => Ok(()),
            // CreateJob has no idempotency token: the ID is it, and the document decides
            // whether the job is the same one.
            Err(refused) if refused.kind == "ResourceAlreadyExistsException" => {
                let path = format!("{path}/job-document");
                let existing = self.get(&path, "reading the document of a job").await?;
                match existing["document"] == request["document"] {
                    true => Ok(()),
                    false => Err(refused.error(&format!("creating the job {id}"))),
                }
            }
            Err(refused) => Err(refused.error(&format!("creating the job {id}"))),
        }
    }

    /// Cancels a job; devices that have begun finish. One that has ended is no error.
    pub(super) async fn cancel(&self, id: &JobId, reason: &str) -> Result<()> {
        // Without force: a device in the middle of a switch is better off with its end.
        let request = json!({ "reasonCode": reason, "comment": "by edge-app rollout" });
        let path = format!("/jobs/{id}/cancel");
        match self.iot.call("PUT", &path, Some(&request)).await? {
            Ok(_) => Ok(()),
            Err(refused) => match self.stage(id.clone()).await?.is_open() {
                true => Err(refused.error(&format!("canceling the job {id}"))),
                false => Ok(()),
            },
        }
    }

    /// Returns the devices of a job with a status.
    pub(super) async fn with_status(&self, id: &JobId, status: &str) -> Result<Vec<String>> {
        let path = format!("/jobs/{id}/things?status={status}");
        let found = self.list(&path, "executionSummaries", "listing the devices of a job");
        let name = |summary: &Value| {
            let arn = summary["thingArn"].as_str()?;
            arn.rsplit_once('/').map(|(_, name)| name.to_string())
        };
        Ok(found.await?.iter().filter_map(name).collect())
    }

    /// Returns the devices of a job that did not take the set, with their reasons.
    pub(super) async fn failed(&self, stage: &Stage) -> Result<Vec<Value>> {
        let mut failed = Vec::new();
        // The counters first: a list costs a request for each status, and control-plane calls
        // have a quota of 10 a second.
        for (status, counter) in [
            ("FAILED", "numberOfFailedThings"),
            ("REJECTED", "numberOfRejectedThings"),
            ("TIMED_OUT", "numberOfTimedOutThings"),
        ] {
            if stage.count(counter) == 0 {
                continue;
            }
            for thing in self.with_status(&stage.id, status).await? {
                let mut entry = json!({ "thing": thing, "status": status });
                if failed.len() < MAX_REASONS {
                    let path = format!("/things/{thing}/jobs/{}", stage.id);
                    let described = self.get(&path, "reading the report of a device").await?;
                    entry["details"] =
                        described["execution"]["statusDetails"]["detailsMap"].clone();
                }
                failed.push(entry);
            }
        }
        Ok(failed)
    }

    /// Returns the states of the members, from the index of things. `None` if the index
    /// does not answer: a rollout works without it.
    pub(super) async fn states(&self) -> Result<Option<BTreeMap<String, DeviceState>>> {
        let mut states = BTreeMap::new();
        let mut next = Value::Null;
        loop {
            let mut query = json!({
                "queryString": format!("thingGroupNames:{}", self.thing_group()),
                "maxResults": 250,
            });
            if next.is_string() {
                query["nextToken"] = next;
            }
            let answer = self
                .iot
                .call("POST", "/indices/search", Some(&query))
                .await?;
            // Absent where indexing is off, and seconds behind where it is on.
            let Ok(mut page) = answer else {
                return Ok(None);
            };
            for thing in page["things"].as_array().into_iter().flatten() {
                let name = thing["thingName"].as_str().unwrap_or_default();
                states.insert(name.into(), state(thing["shadow"].as_str()));
            }
            next = page["nextToken"].take();
            if !next.is_string() {
                return Ok(Some(states));
            }
        }
    }
}

/// Returns the state that a device reported, from its entry in the index.
fn state(shadow: Option<&str>) -> DeviceState {
    let shadow: Value = serde_json::from_str(shadow.unwrap_or_default()).unwrap_or_default();
    let fleet = &shadow["name"]["fleet"]["reported"];
    DeviceState {
        number: fleet["set"]["number"].as_u64(),
        phase: fleet["phase"].as_str().unwrap_or_default().into(),
    }
}

/// Percent-encodes a value of a query.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let encoded = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}
