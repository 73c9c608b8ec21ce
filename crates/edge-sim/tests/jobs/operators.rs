//! Requests of operators: lists, updates, thing groups, tags.

use serde_json::{Value, json};

use super::cloud::{Cloud, PREFIX, group, job};

#[test]
fn jobs_in_force_are_counted() {
    let mut cloud = Cloud::new();
    for n in 0..100 {
        cloud.now += 1;
        cloud.create(&format!("j{n}"), json!({}));
    }
    let body = job(json!({}));
    assert_eq!(
        cloud.verdict("PUT", "/jobs/more", &body),
        "LimitExceededException"
    );
    cloud.create("c", json!({ "targetSelection": "CONTINUOUS" }));
    cloud.ok("PUT", "/jobs/j7/cancel", &json!({}));
    cloud.now += 1;
    assert_eq!(cloud.verdict("PUT", "/jobs/more", &body), "ok");
}

#[test]
fn lists_of_operators_have_pages() {
    let mut cloud = Cloud::new();
    for (id, selection) in [("s1", "SNAPSHOT"), ("c1", "CONTINUOUS"), ("s2", "SNAPSHOT")] {
        cloud.now += 1;
        cloud.create(id, json!({ "targetSelection": selection }));
    }
    cloud.ok("PUT", "/jobs/s1/cancel", &json!({}));
    let mut ids = |query: &str| {
        cloud.now += 1;
        let list = cloud.ok("GET", &format!("/jobs?{query}"), &Value::Null);
        let jobs = list["jobs"].as_array().unwrap().clone();
        let ids: Vec<_> = jobs
            .iter()
            .map(|job| job["jobId"].as_str().unwrap().to_string())
            .collect();
        (ids.join(" "), list["nextToken"].as_str().map(String::from))
    };
    assert_eq!(ids("a=b"), ("s2 c1 s1".into(), None));
    assert_eq!(ids("status=CANCELED").0, "s1");
    assert_eq!(ids("targetSelection=CONTINUOUS").0, "c1");
    assert_eq!(ids("thingGroupName=none").0, "");
    assert_eq!(ids("maxResults=2"), ("s2 c1".into(), Some("2".into())));
    assert_eq!(ids("maxResults=2&nextToken=2"), ("s1".into(), None));
    for wrong in [
        "maxResults=0",
        "maxResults=251",
        "nextToken=x",
        "nextToken=9",
    ] {
        let verdict = cloud.verdict("GET", &format!("/jobs?{wrong}"), &Value::Null);
        assert_eq!(verdict, "InvalidRequestException", "{wrong}");
    }
    let list = cloud.ok("GET", "/things/a/jobs?status=QUEUED", &Value::Null);
    assert_eq!(list["executionSummaries"][0]["jobId"], "s2");
    let verdict = cloud.verdict("GET", "/things/none/jobs", &Value::Null);
    assert_eq!(verdict, "ResourceNotFoundException");
}

#[test]
fn jobs_are_updated_and_get_targets() {
    let mut cloud = Cloud::with(&["a"]);
    cloud.engine.register("z");
    cloud.create("j", json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 10 }, "targetSelection": "CONTINUOUS" }));
    cloud.say("a", "j", "IN_PROGRESS");
    let due = cloud.engine.due();
    let later =
        json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 60 }, "description": "new" });
    cloud.ok("PATCH", "/jobs/j", &later);
    assert_eq!(
        cloud.engine.due(),
        due,
        "a running execution keeps its timer"
    );
    assert_eq!(cloud.job("j")["description"], "new");
    let retries = |times: u64| {
        json!({ "jobExecutionsRetryConfig": { "criteriaList": [
        { "failureType": "ALL", "numberOfRetries": times } ] } })
    };
    for (body, wanted) in [
        (json!({}), "InvalidRequestException"),
        (json!({ "document": "{}" }), "InvalidRequestException"),
        (retries(1), "InvalidRequestException"),
        (retries(0), "ok"),
    ] {
        assert_eq!(cloud.verdict("PATCH", "/jobs/j", &body), wanted, "{body}");
    }
    let more = json!({ "targets": [format!("{PREFIX}:thing/z"), group("all")] });
    cloud.heard();
    cloud.ok("POST", "/jobs/j/targets", &more);
    assert_eq!(cloud.heard(), ["z notify", "z notify-next"]);
    assert_eq!(cloud.executions("j"), ["a/1:IN_PROGRESS", "z/1:QUEUED"]);
    assert_eq!(cloud.job("j")["targets"].as_array().unwrap().len(), 2);
}

/// Requests `METHOD PATH BODY`, each with the expected error or `ok`.
fn verdicts(cloud: &mut Cloud, table: &str) {
    for row in table.trim().lines() {
        let row = row.trim().replace("ARN", PREFIX);
        let (wanted, request) = row.split_once(' ').unwrap();
        let (method, request) = request.split_once(' ').unwrap();
        let (path, body) = request.split_once(' ').unwrap_or((request, "null"));
        cloud.now += 1;
        let body = serde_json::from_str(body).unwrap();
        assert_eq!(cloud.verdict(method, path, &body), wanted, "{row}");
    }
}

#[test]
fn groups_are_checked() {
    let mut cloud = Cloud::new();
    verdicts(
        &mut cloud,
        r#"
        ok POST /thing-groups/all {}
        ResourceAlreadyExistsException POST /thing-groups/all {"thingGroupProperties":{"thingGroupDescription":"x"}}
        InvalidRequestException POST /thing-groups/a.b {}
        InvalidRequestException POST /thing-groups/p {"parentGroupName":"all"}
        ResourceNotFoundException GET /thing-groups/none
        ok GET /thing-groups/all
        ok DELETE /thing-groups/none
        ResourceNotFoundException PUT /thing-groups/addThingToThingGroup {"thingGroupName":"all","thingName":"x"}
        ResourceNotFoundException PUT /thing-groups/addThingToThingGroup {"thingGroupName":"no","thingName":"a"}
        InvalidRequestException PUT /thing-groups/addThingToThingGroup {"thingName":"a"}
        ok PUT /thing-groups/addThingToThingGroup {"thingGroupArn":"ARN:thinggroup/all","thingArn":"ARN:thing/a"}
        InvalidRequestException PUT /thing-groups/addThingToThingGroup {"thingGroupArn":"ARN:thinggroup/all","thingArn":"ARN:thinggroup/all"}
        ResourceNotFoundException POST /jobs/j/cancel
        ResourceNotFoundException GET /nothing
        "#,
    );
    let members = cloud.ok("GET", "/thing-groups/all/things", &Value::Null);
    assert_eq!(members["things"], json!(["a", "b", "c"]));
    let mine = cloud.ok("GET", "/things/a/thing-groups", &Value::Null);
    let wanted = json!([{ "groupName": "all", "groupArn": group("all") }]);
    assert_eq!(mine["thingGroups"], wanted);
}

#[test]
fn a_thing_is_in_ten_groups_at_most() {
    let mut cloud = Cloud::new();
    for n in 0..10 {
        cloud.now += 1;
        cloud.ok("POST", &format!("/thing-groups/g{n}"), &json!({}));
        let body = json!({ "thingGroupName": format!("g{n}"), "thingName": "a" });
        let verdict = cloud.verdict("PUT", "/thing-groups/addThingToThingGroup", &body);
        assert_eq!(
            verdict,
            if n < 9 {
                "ok"
            } else {
                "InvalidRequestException"
            }
        );
    }
}

#[test]
fn tags_are_added_and_removed() {
    let mut cloud = Cloud::new();
    verdicts(
        &mut cloud,
        r#"
        ResourceNotFoundException POST /tags {"resourceArn":"ARN:job/none","tags":[]}
        InvalidRequestException GET /tags?resourceArn=ARN:thing/a
        InvalidRequestException GET /tags
        ok POST /tags {"resourceArn":"ARN:thinggroup/all","tags":[{"Key":"k","Value":"v"}]}
        "#,
    );
    let path = format!("/tags?resourceArn={PREFIX}:thinggroup/all");
    let tags = |cloud: &mut Cloud| cloud.ok("GET", &path, &Value::Null)["tags"].clone();
    assert_eq!(tags(&mut cloud), json!([{ "Key": "k", "Value": "v" }]));
    let body = json!({ "resourceArn": group("all"), "tagKeys": ["k"] });
    cloud.ok("POST", "/untag", &body);
    assert_eq!(tags(&mut cloud), json!([]));
}
