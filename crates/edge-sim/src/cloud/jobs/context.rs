//! Request to the control plane with its parameters.

use serde_json::{Map, Value, json};

use super::messages::Call;
use super::refusal::{Outcome, Refusal};
use super::state::{Account, Execution, Job};

/// Largest and default size of a page.
const PAGE: usize = 250;

/// Request with its parameters.
pub(super) struct Context<'a> {
    pub account: &'a mut Account,
    pub call: &'a Call,
    pub body: &'a Value,
    pub now: u64,
}

/// Kind of a request, which counts in the quotas, and its answer.
pub(super) type Route<'a> = (
    &'static str,
    Box<dyn FnOnce(&mut Context<'_>) -> Outcome<Value> + 'a>,
);

impl Context<'_> {
    /// Returns a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.call.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the parameters of the query as fields.
    pub(super) fn parameters(&self) -> Map<String, Value> {
        let pairs = self.call.query.iter();
        pairs
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect()
    }

    /// Returns whether the request forces a change.
    pub(super) fn force(&self) -> bool {
        self.parameter("force") == Some("true")
    }

    /// Returns a job.
    pub(super) fn job(&self, id: &str) -> Outcome<&Job> {
        let job = self.account.jobs.get(id);
        job.ok_or_else(|| Refusal::not_found(format!("Job {id} not found")))
    }

    /// Returns an execution, the latest one without a number.
    pub(super) fn execution(
        &self,
        thing: &str,
        id: &str,
        number: Option<u64>,
    ) -> Outcome<&Execution> {
        let execution = self.job(id)?.execution(thing, number);
        execution.ok_or_else(|| Refusal::not_found(format!("Job {id} not found for {thing}")))
    }

    /// Returns the present page of a list as the field `name`, with the token of the next
    /// page.
    pub(super) fn page(&self, name: &str, all: Vec<Value>) -> Outcome<Value> {
        let size = match self.parameter("maxResults").map(str::parse) {
            None => PAGE,
            Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
            Some(_) => return Err(Refusal::invalid("maxResults is not between 1 and 250")),
        };
        let start = match self.parameter("nextToken").map(str::parse) {
            None => 0,
            Some(Ok(start)) if start <= all.len() => start,
            Some(_) => return Err(Refusal::invalid("nextToken is invalid")),
        };
        let end = all.len().min(start + size);
        let mut page = json!({ name: all[start..end] });
        if end < all.len() {
            page["nextToken"] = end.to_string().into();
        }
        Ok(page)
    }
}
