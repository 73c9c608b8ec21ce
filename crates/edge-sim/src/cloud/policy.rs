//! Policies of AWS IoT as Terraform deploys them, and the access list of mosquitto
//! that is generated from them. The documents are compiled in from
//! `infra/iot/policies/{claim,device}.json.tftpl` and
//! `infra/iot/provisioning-template.json`.
//!
//! An access list of mosquitto contains topics but no client ids. Statements on
//! `iot:Connect` are therefore enforced only where [`Policy::allows`] is called, in
//! the strict endpoint.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Policy variable for the name of the thing that is connected.
const THING: &str = "${iot:Connection.Thing.ThingName}";
/// Role alias of Terraform with which devices pull images.
pub(crate) const ROLE_ALIAS: &str = "edge-ai-pull";
/// ARN prefix of every resource, with an invented account number.
pub(crate) const ARN: &str = "arn:aws:iot:eu-central-1:123456789012";

macro_rules! deployed {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../infra/iot/",
            $name
        ))
    };
}

/// Parsed policy of claim certificates or of device certificates.
#[derive(Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug)]
struct Statement {
    actions: Vec<String>,
    resources: Vec<String>,
    attached: bool,
}

impl Policy {
    /// Returns the policy of claim certificates that may use the provisioning
    /// template `template`.
    pub(crate) fn claim(template: &str) -> Result<Self> {
        parse(deployed!("policies/claim.json.tftpl"), template).context("reading the claim policy")
    }

    /// Returns the policy of the certificates of registered devices.
    pub(crate) fn device() -> Result<Self> {
        parse(deployed!("policies/device.json.tftpl"), "").context("reading the device policy")
    }

    /// Returns whether a connection may do `action`, for example `iot:Publish`.
    /// `resource` is a resource without the ARN prefix, for example `topic/a/b`;
    /// `thing` is the thing to which the certificate is attached and whose name is
    /// the client id.
    pub(crate) fn allows(&self, action: &str, resource: &str, thing: Option<&str>) -> bool {
        self.statements.iter().any(|statement| {
            let fits = |pattern: &String| match (pattern.contains(THING), thing) {
                (true, None) => false,
                (true, Some(name)) => matches(&pattern.replace(THING, name), resource),
                (false, _) => matches(pattern, resource),
            };
            (thing.is_some() || !statement.attached)
                && statement.actions.iter().any(|a| a == action)
                && statement.resources.iter().any(fits)
        })
    }

    /// Returns the entry of mosquitto's access list for a user and a thing. A topic
    /// pattern that mosquitto cannot express is an error.
    pub(crate) fn access_list(&self, user: &str, thing: &str) -> Result<String> {
        let mut list = format!("user {user}\n");
        for (action, right) in [("iot:Publish", "write"), ("iot:Receive", "read")] {
            for resource in self.resources(action) {
                let topic = resource.strip_prefix("topic/");
                let topic = topic.with_context(|| format!("{resource} is not a topic"))?;
                let topic = filter(&topic.replace(THING, thing))?;
                writeln!(list, "topic {right} {topic}")?;
            }
        }
        Ok(list)
    }

    fn resources(&self, action: &str) -> impl Iterator<Item = &String> {
        let action = action.to_string();
        self.statements
            .iter()
            .filter(move |s| s.actions.contains(&action))
            .flat_map(|s| &s.resources)
    }
}

/// Returns the thing name that the provisioning template assigns to a serial
/// number.
pub(crate) fn thing_name(serial: &str) -> Result<String> {
    let template: Value = serde_json::from_str(deployed!("provisioning-template.json"))
        .context("reading the provisioning template")?;
    let name = &template["Resources"]["thing"]["Properties"]["ThingName"];
    let parts = name["Fn::Join"][1]
        .as_array()
        .context("ThingName is no Fn::Join")?;
    let parts: Option<Vec<_>> = parts
        .iter()
        .map(|part| match part["Ref"].as_str() {
            Some("SerialNumber") => Some(serial),
            Some(_) => None,
            None => part.as_str(),
        })
        .collect();
    let separator = name["Fn::Join"][0].as_str().unwrap_or_default();
    Ok(parts
        .context("ThingName refers to more than SerialNumber")?
        .join(separator))
}

/// Returns the thing groups that the provisioning template adds a thing to.
pub(crate) fn thing_groups() -> Result<Vec<String>> {
    let template: Value = serde_json::from_str(deployed!("provisioning-template.json"))
        .context("reading the provisioning template")?;
    listed(&template["Resources"]["thing"]["Properties"]["ThingGroups"])
}

/// Replaces the template variables of Terraform and parses the policy document.
fn parse(text: &str, template: &str) -> Result<Policy> {
    let text = text
        .replace("$${", "\u{0}{")
        .replace("${iot}", ARN)
        .replace("${template}", template)
        .replace("${role_alias}", ROLE_ALIAS);
    if text.contains("${") {
        bail!("unknown variable of Terraform");
    }
    let document: Value = serde_json::from_str(&text.replace('\u{0}', "$"))?;
    let statements = document["Statement"]
        .as_array()
        .context("the policy has no Statement")?;
    Ok(Policy {
        statements: statements.iter().map(statement).collect::<Result<_>>()?,
    })
}

fn statement(value: &Value) -> Result<Statement> {
    let fields = value.as_object().context("a statement is not an object")?;
    for name in fields.keys() {
        if !["Effect", "Action", "Resource", "Condition"].contains(&name.as_str()) {
            bail!("{name} is not supported");
        }
    }
    if value["Effect"] != "Allow" {
        bail!("an Effect other than Allow is not supported");
    }
    let attached = match &value["Condition"] {
        Value::Null => false,
        condition if condition["Bool"]["iot:Connection.Thing.IsAttached"] == "true" => true,
        _ => bail!("the Condition is not supported"),
    };
    let prefix = format!("{ARN}:");
    let resources = listed(&value["Resource"])?.into_iter().map(|resource| {
        let rest = resource.strip_prefix(&prefix);
        rest.map(String::from)
            .with_context(|| format!("{resource} is of another account"))
    });
    Ok(Statement {
        actions: listed(&value["Action"])?,
        resources: resources.collect::<Result<_>>()?,
        attached,
    })
}

fn listed(value: &Value) -> Result<Vec<String>> {
    if let Some(one) = value.as_str() {
        return Ok(vec![one.into()]);
    }
    let all = value.as_array().context("neither a string nor a list")?;
    let texts = all.iter().map(|v| v.as_str().map(String::from)).collect();
    let texts: Option<Vec<_>> = texts;
    texts.context("an element of a list is no string")
}

/// Returns whether a text matches a pattern of AWS, whose `*` matches any text,
/// also across topic levels.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}

/// Translates a pattern of AWS to an MQTT topic filter. `*` must be a whole level:
/// it becomes `#` at the end, else `+`.
fn filter(pattern: &str) -> Result<String> {
    let levels: Vec<_> = pattern.split('/').collect();
    let mut filter = Vec::new();
    for (place, level) in levels.iter().enumerate() {
        filter.push(match *level {
            "*" if place + 1 == levels.len() => "#",
            "*" => "+",
            other if other.contains(['*', '?', '+', '#']) => {
                bail!("mosquitto has no filter for {pattern}")
            }
            other => other,
        });
    }
    Ok(filter.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_can_do_nothing_but_provision() {
        let policy = Policy::claim("fleet").unwrap();
        let create = "$aws/certificates/create-from-csr/json";
        let provision = "$aws/provisioning-templates/fleet/provision/json";
        for topic in [create, provision] {
            assert!(policy.allows("iot:Publish", &format!("topic/{topic}"), None));
            for end in ["accepted", "rejected"] {
                assert!(policy.allows(
                    "iot:Subscribe",
                    &format!("topicfilter/{topic}/{end}"),
                    None
                ));
                assert!(policy.allows("iot:Receive", &format!("topic/{topic}/{end}"), None));
            }
        }
        assert!(policy.allows("iot:Connect", "client/prov-s1-77", None));
        for (action, resource) in [
            ("iot:Connect", "client/edge-ai-s1"),
            ("iot:Connect", "client/prov"),
            ("iot:Publish", "topic/$aws/things/edge-ai-s1/shadow/update"),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/shadow/name/apps/update",
            ),
            (
                "iot:Publish",
                "topic/$aws/provisioning-templates/other/provision/json",
            ),
            ("iot:Subscribe", "topicfilter/#"),
            ("iot:Subscribe", "topicfilter/$aws/#"),
            (
                "iot:Receive",
                "topic/$aws/certificates/create-from-csr/json",
            ),
            ("iot:AssumeRoleWithCertificate", "rolealias/edge-ai-pull"),
        ] {
            assert!(!policy.allows(action, resource, None), "{resource}");
            assert!(!policy.allows(action, resource, Some("edge-ai-s1")));
        }
    }

    #[test]
    fn a_device_acts_only_as_itself() {
        let policy = Policy::device().unwrap();
        let allowed =
            |action: &str, resource: &str| policy.allows(action, resource, Some("edge-ai-s1"));
        for (action, resource) in [
            ("iot:Connect", "client/edge-ai-s1"),
            ("iot:Publish", "topic/$aws/things/edge-ai-s1/shadow/update"),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/shadow/name/fleet/update",
            ),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/jobs/j-1/update",
            ),
            (
                "iot:Subscribe",
                "topicfilter/$aws/things/edge-ai-s1/jobs/+/update/+",
            ),
            ("iot:Publish", "topic/edge-ai/edge-ai-s1/samples"),
            ("iot:Publish", "topic/edge-ai/edge-ai-s1/offline"),
            (
                "iot:Subscribe",
                "topicfilter/$aws/things/edge-ai-s1/shadow/update/+",
            ),
            (
                "iot:Receive",
                "topic/$aws/things/edge-ai-s1/jobs/notify-next",
            ),
            ("iot:AssumeRoleWithCertificate", "rolealias/edge-ai-pull"),
        ] {
            assert!(allowed(action, resource), "{resource}");
        }
        // The certificate must be attached to a thing.
        assert!(!policy.allows("iot:Connect", "client/edge-ai-s1", None));
    }

    #[test]
    fn a_device_is_no_other_and_no_service() {
        let policy = Policy::device().unwrap();
        for (action, resource) in [
            ("iot:Connect", "client/edge-ai-s2"),
            ("iot:Connect", "client/edge-ai-s1x"),
            ("iot:Connect", "client/prov-s1-1"),
            ("iot:Publish", "topic/$aws/things/edge-ai-s2/shadow/update"),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/shadow/update/accepted",
            ),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/shadow/name/fleet/update/accepted",
            ),
            (
                "iot:Publish",
                "topic/$aws/things/edge-ai-s1/jobs/start-next",
            ),
            ("iot:Publish", "topic/$aws/things/edge-ai-s1/jobs/notify"),
            ("iot:Publish", "topic/edge-ai/edge-ai-s2/offline"),
            ("iot:Publish", "topic/edge-ai/edge-ai-s2/samples"),
            (
                "iot:Publish",
                "topic/$aws/events/presence/connected/edge-ai-s1",
            ),
            ("iot:Subscribe", "topicfilter/$aws/things/+/shadow/update"),
            ("iot:Subscribe", "topicfilter/#"),
            ("iot:Receive", "topic/edge-ai/edge-ai-s1/offline"),
        ] {
            let allowed = policy.allows(action, resource, Some("edge-ai-s1"));
            assert!(!allowed, "{resource}");
        }
    }

    #[test]
    fn the_access_list_has_the_same_rights() {
        let list = Policy::device().unwrap().access_list("c1", "edge-ai-s1");
        let list = list.unwrap();
        assert!(list.starts_with("user c1\ntopic write $aws/things/edge-ai-s1/shadow/get\n"));
        assert!(list.contains("\ntopic write $aws/things/edge-ai-s1/jobs/+/update\n"));
        assert!(list.ends_with("\ntopic read $aws/things/edge-ai-s1/jobs/#\n"));
        assert!(!list.contains("readwrite") && !list.contains(THING));
    }

    #[test]
    fn a_thing_is_named_by_the_template() {
        assert_eq!(thing_name("s1").unwrap(), "edge-ai-s1");
        assert_eq!(thing_groups().unwrap(), ["edge-ai-all"]);
    }

    #[test]
    fn unsupported_statements_are_errors() {
        let document = |statement: &str| format!(r#"{{"Statement": [{statement}]}}"#);
        for wrong in [
            r#"{"Effect": "Deny", "Action": "iot:Publish", "Resource": "${iot}:topic/a"}"#,
            r#"{"Effect": "Allow", "NotAction": "iot:Publish", "Resource": "${iot}:topic/a"}"#,
            r#"{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}"#,
            r#"{"Effect": "Allow", "Action": "iot:Publish", "Resource": "${other}:topic/a"}"#,
            r#"{"Effect": "Allow", "Action": "iot:Publish", "Resource": "${iot}:topic/a", "Condition": {}}"#,
        ] {
            assert!(parse(&document(wrong), "").is_err(), "{wrong}");
        }
        let partial =
            r#"{"Effect": "Allow", "Action": "iot:Publish", "Resource": "${iot}:topic/a*"}"#;
        let policy = parse(&document(partial), "").unwrap();
        assert!(policy.access_list("u", "t").is_err());
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, wanted) in [
            ("a*", "a", true),
            ("a*c", "a/b/c", true),
            ("a*c", "a/b/cd", false),
            ("*", "", true),
            ("a*b*c", "abbc", true),
            ("a", "ab", false),
            ("prov-*", "prov-ü", true),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
