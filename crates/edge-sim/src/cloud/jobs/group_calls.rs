//! Requests of the control plane about things, thing groups and tags.

use serde_json::{Value, json};

use super::arn;
use super::context::{Context, Route};
use super::fields::{object, text, thing_name};
use super::refusal::{Outcome, Refusal};
use super::state::{Account, Group, Target};
use super::validation;

/// Largest number of groups of a thing.
const MAX_GROUPS: usize = 10;

/// Returns the answer to a request that is not about jobs.
pub(super) fn route<'a>(method: &str, levels: &'a [&'a str]) -> Outcome<Route<'a>> {
    Ok(match (method, levels) {
        ("GET", ["things"]) => ("ListThings", Box::new(things)),
        ("GET", ["things", thing]) => ("DescribeThing", Box::new(|c| describe_thing(c, thing))),
        ("GET", ["things", thing, "thing-groups"]) => {
            ("ListThingGroupsForThing", Box::new(|c| of_thing(c, thing)))
        }
        ("GET", ["thing-groups"]) => ("ListThingGroups", Box::new(list)),
        ("PUT", ["thing-groups", "addThingToThingGroup"]) => {
            ("AddThingToThingGroup", Box::new(|c| change_member(c, true)))
        }
        ("PUT", ["thing-groups", "removeThingFromThingGroup"]) => (
            "RemoveThingFromThingGroup",
            Box::new(|c| change_member(c, false)),
        ),
        ("POST", ["thing-groups", name]) => ("CreateThingGroup", Box::new(|c| create(c, name))),
        ("GET", ["thing-groups", name]) => ("DescribeThingGroup", Box::new(|c| describe(c, name))),
        ("DELETE", ["thing-groups", name]) => ("DeleteThingGroup", Box::new(|c| delete(c, name))),
        ("GET", ["thing-groups", name, "things"]) => {
            ("ListThingsInThingGroup", Box::new(|c| members(c, name)))
        }
        ("POST", ["tags"]) => ("TagResource", Box::new(tag)),
        ("POST", ["untag"]) => ("UntagResource", Box::new(untag)),
        ("GET", ["tags"]) => ("ListTagsForResource", Box::new(tags)),
        _ => {
            let path = levels.join("/");
            return Err(Refusal::not_found(format!(
                "the local cloud has no request {method} /{path}"
            )));
        }
    })
}

fn things(c: &mut Context<'_>) -> Outcome<Value> {
    let all = c.account.things.iter().map(|name| thing(name));
    c.page("things", all.collect())
}

fn thing(name: &str) -> Value {
    json!({
        "thingName": name, "thingArn": arn::of("thing", name), "attributes": {}, "version": 1,
    })
}

fn known_thing<'a>(account: &Account, name: &'a str) -> Outcome<&'a str> {
    match account.things.contains(name) {
        true => Ok(name),
        false => Err(Refusal::not_found(format!("Thing {name} not found"))),
    }
}

fn describe_thing(c: &mut Context<'_>, name: &str) -> Outcome<Value> {
    let mut value = thing(known_thing(c.account, name)?);
    value["defaultClientId"] = name.into();
    Ok(value)
}

fn group<'a>(account: &'a Account, name: &str) -> Outcome<&'a Group> {
    let group = account.groups.get(name);
    group.ok_or_else(|| Refusal::not_found(format!("Thing group {name} not found")))
}

fn identity(name: &str, group: &Group) -> Value {
    json!({
        "thingGroupName": name,
        "thingGroupArn": arn::of("thinggroup", name),
        "thingGroupId": group.id,
    })
}

fn create(c: &mut Context<'_>, name: &str) -> Outcome<Value> {
    let fields = object(
        c.body,
        "CreateThingGroup",
        &["thingGroupProperties", "tags"],
    )?;
    if !thing_name(name) {
        return Err(Refusal::invalid(format!(
            "thingGroupName {name} is malformed"
        )));
    }
    let properties = fields
        .get("thingGroupProperties")
        .cloned()
        .unwrap_or(json!({}));
    object(
        &properties,
        "thingGroupProperties",
        &["thingGroupDescription", "attributePayload"],
    )?;
    let tags = validation::tags(fields)?;
    if let Some(group) = c.account.groups.get(name) {
        // As at AWS, the same request again succeeds.
        return match group.properties == properties {
            true => Ok(identity(name, group)),
            false => Err(Refusal::new(
                super::refusal::Code::AlreadyExists,
                format!("Thing group {name} already exists"),
            )),
        };
    }
    let group = new_group(c.account, properties, c.now);
    let created = identity(name, &group);
    c.account.groups.insert(name.into(), group);
    if !tags.is_empty() {
        let arn = arn::of("thinggroup", name);
        c.account.tags.insert(arn, tags.into_iter().collect());
    }
    Ok(created)
}

fn new_group(account: &Account, properties: Value, now: u64) -> Group {
    Group {
        id: format!(
            "00000000-0000-4000-8000-{:012x}",
            now + account.groups.len() as u64
        ),
        properties,
        created_at: now,
        version: 1,
        members: Default::default(),
    }
}

/// Adds a thing to a group, which is created if absent.
pub(super) fn enroll(account: &mut Account, name: &str, thing: &str, now: u64) {
    if !account.groups.contains_key(name) {
        let group = new_group(account, json!({}), now);
        account.groups.insert(name.into(), group);
    }
    let group = account.groups.get_mut(name);
    if group.is_some_and(|group| group.members.insert(thing.into())) {
        account.membership_changed(thing, Some(name), now);
    }
}

fn describe(c: &mut Context<'_>, name: &str) -> Outcome<Value> {
    let group = group(c.account, name)?;
    let mut value = identity(name, group);
    value["version"] = group.version.into();
    value["thingGroupProperties"] = group.properties.clone();
    value["thingGroupMetadata"] = json!({ "creationDate": group.created_at });
    Ok(value)
}

/// Deletes a group. As at AWS, the deletion of an absent group succeeds.
fn delete(c: &mut Context<'_>, name: &str) -> Outcome<Value> {
    let members = match c.account.groups.remove(name) {
        Some(group) => group.members,
        None => return Ok(json!({})),
    };
    c.account.tags.remove(&arn::of("thinggroup", name));
    for thing in members {
        c.account.membership_changed(&thing, None, c.now);
    }
    Ok(json!({}))
}

fn listed(name: &str) -> Value {
    json!({ "groupName": name, "groupArn": arn::of("thinggroup", name) })
}

fn list(c: &mut Context<'_>) -> Outcome<Value> {
    let prefix = c.parameter("namePrefixFilter").unwrap_or_default();
    let names = c
        .account
        .groups
        .keys()
        .filter(|name| name.starts_with(prefix));
    c.page("thingGroups", names.map(|name| listed(name)).collect())
}

fn of_thing(c: &mut Context<'_>, thing: &str) -> Outcome<Value> {
    known_thing(c.account, thing)?;
    let groups = c
        .account
        .groups
        .iter()
        .filter(|(_, group)| group.members.contains(thing));
    c.page(
        "thingGroups",
        groups.map(|(name, _)| listed(name)).collect(),
    )
}

fn members(c: &mut Context<'_>, name: &str) -> Outcome<Value> {
    let members = group(c.account, name)?.members.iter();
    c.page(
        "things",
        members.map(|thing| thing.as_str().into()).collect(),
    )
}

/// Returns the name in a field, or that in the ARN of another field.
fn named(body: &Value, kind: &str) -> Outcome<String> {
    let names = [
        "thingGroupName",
        "thingGroupArn",
        "thingName",
        "thingArn",
        "overrideDynamicGroups",
    ];
    let fields = object(body, "the request", &names)?;
    let from_name = text(fields, &format!("{kind}Name"), 128, |c| {
        thing_name(&c.to_string())
    })?;
    let from_arn = match fields.get(&format!("{kind}Arn")) {
        None => None,
        Some(value) => match value.as_str().and_then(arn::target) {
            Some(Target::Thing(name)) if kind == "thing" => Some(name),
            Some(Target::Group(name)) if kind == "thingGroup" => Some(name),
            _ => return Err(Refusal::invalid(format!("{value} is no ARN of a {kind}"))),
        },
    };
    match (from_name, from_arn) {
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (Some(name), Some(other)) if name == other => Ok(name),
        _ => Err(Refusal::invalid(format!(
            "{kind} is named neither once nor twice alike"
        ))),
    }
}

fn change_member(c: &mut Context<'_>, add: bool) -> Outcome<Value> {
    let (name, thing) = (named(c.body, "thingGroup")?, named(c.body, "thing")?);
    group(c.account, &name)?;
    known_thing(c.account, &thing)?;
    let mine = c
        .account
        .groups
        .values()
        .filter(|group| group.members.contains(&thing));
    let count = mine.count();
    let Some(group) = c.account.groups.get_mut(&name) else {
        return Ok(json!({}));
    };
    if add && !group.members.contains(&thing) && count >= MAX_GROUPS {
        return Err(Refusal::invalid(format!(
            "{thing} is in {MAX_GROUPS} thing groups already"
        )));
    }
    let changed = match add {
        true => group.members.insert(thing.clone()),
        false => group.members.remove(&thing),
    };
    if changed {
        c.account
            .membership_changed(&thing, add.then_some(name.as_str()), c.now);
    }
    Ok(json!({}))
}

/// Returns the ARN of a taggable resource, which must exist.
fn resource(account: &Account, arn: Option<&str>) -> Outcome<String> {
    let arn = arn.ok_or_else(|| Refusal::invalid("resourceArn is missing"))?;
    let job = arn.strip_prefix(&arn::of("job", ""));
    let exists = match (job, arn::target(arn)) {
        (Some(id), _) => account.jobs.contains_key(id),
        (None, Some(Target::Group(name))) => account.groups.contains_key(&name),
        _ => {
            return Err(Refusal::invalid(format!(
                "{arn} is no ARN of a job or thing group"
            )));
        }
    };
    match exists {
        true => Ok(arn.into()),
        false => Err(Refusal::not_found(format!("{arn} not found"))),
    }
}

fn tag(c: &mut Context<'_>) -> Outcome<Value> {
    let fields = object(c.body, "TagResource", &["resourceArn", "tags"])?;
    let arn = resource(c.account, fields.get("resourceArn").and_then(Value::as_str))?;
    let mut all = c.account.tags.get(&arn).cloned().unwrap_or_default();
    all.extend(validation::tags(fields)?);
    if all.len() > 50 {
        return Err(Refusal::invalid("a resource has at most 50 tags"));
    }
    c.account.tags.insert(arn, all);
    Ok(json!({}))
}

fn untag(c: &mut Context<'_>) -> Outcome<Value> {
    let fields = object(c.body, "UntagResource", &["resourceArn", "tagKeys"])?;
    let arn = resource(c.account, fields.get("resourceArn").and_then(Value::as_str))?;
    let keys = super::fields::list(fields, "tagKeys", 1, 50)?;
    if let Some(tags) = c.account.tags.get_mut(&arn) {
        tags.retain(|key, _| !keys.iter().any(|removed| removed == key));
    }
    Ok(json!({}))
}

fn tags(c: &mut Context<'_>) -> Outcome<Value> {
    let arn = resource(c.account, c.parameter("resourceArn"))?;
    let tags = c.account.tags.get(&arn).into_iter().flatten();
    let tags: Vec<_> = tags
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(json!({ "tags": tags }))
}
