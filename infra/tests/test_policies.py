"""Policy documents: findings of parliament, and uses of `*`."""

import fnmatch
import json
import re
import subprocess

import pytest
from conftest import INFRA, render
from test_terraform import found_in_checks

VALUES = {
    "account": "123456789012", "region": "eu-central-1", "partition": "aws",
    "iot": "arn:aws:iot:eu-central-1:123456789012",
    "ssm": "arn:aws:ssm:eu-central-1:123456789012",
    "root": "arn:aws:iam::123456789012:root",
    "template": "edge-ai-fleet", "group": "edge-ai-all", "role_alias": "edge-ai-pull", "thing_type": "edge-ai-device",
    "device_policy": "edge-ai-device", "service": "iot.amazonaws.com",
    "table": "arn:aws:dynamodb:eu-central-1:123456789012:table/edge-ai-devices",
    "key": "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000",
    "log_group": "arn:aws:logs:eu-central-1:123456789012:log-group:/edge-ai/lifecycle",
    "alarms": "arn:aws:sns:eu-central-1:123456789012:edge-ai-alarms",
    "topic": "arn:aws:sns:eu-central-1:123456789012:edge-ai-alarms",
    "repository": "arn:aws:ecr:eu-central-1:123456789012:repository/edge-ai",
    "cache": "arn:aws:s3:::edge-ai-build-cache",
    "signers": '["arn:aws:iam::123456789012:role/release"]',
    "services": '["ssm.eu-central-1.amazonaws.com"]',
}
FILES = sorted(INFRA.glob("*/policies/*.json.tftpl"))
# parliament knows neither policies of AWS IoT nor trust policies of roles.
IOT = {"claim", "device"}
# Findings of parliament that are intended, with the reason.
ACCEPTED = {
    # In a key's policy "*" means the key itself; there is no other way to name it.
    ("signing-key", "RESOURCE_STAR"), ("data-key", "RESOURCE_STAR"), ("operations-key", "RESOURCE_STAR"),
}
# AWS defines no resources for these actions.
STARS = {
    "ecr:GetAuthorizationToken", "iot:AttachThingPrincipal", "iot:DetachThingPrincipal",
    "iot:ListJobs", "iot:ListPrincipalThings", "iot:ListThingGroups", "iot:ListThingPrincipals",
    "iot:RegisterThing",
}

SCRIPT = """
import json, sys, parliament
for name, text in json.load(sys.stdin).items():
    for finding in parliament.analyze_policy_string(text).findings:
        print(json.dumps([name, finding.issue, str(finding.detail)]))
"""


def name(path):
    return path.name.removesuffix(".json.tftpl")


def document(path):
    return json.loads(render(path, VALUES))


def listed(value):
    return value if isinstance(value, list) else [value]


def test_there_are_documents():
    assert len(FILES) > 15


def test_parliament_knows_every_action_and_resource():
    texts = {name(p): render(p, VALUES) for p in FILES
             if name(p) not in IOT and not name(p).startswith("trust")}
    done = subprocess.run([found_in_checks("python"), "-c", SCRIPT], input=json.dumps(texts),
                          capture_output=True, text=True, check=True)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f for f in findings if (f[0], f[1]) not in ACCEPTED] == []


def test_parliament_can_object():
    wrong = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:UpdateCertificat", "Resource": "*"}]}
    done = subprocess.run([found_in_checks("python"), "-c", SCRIPT],
                          input=json.dumps({"wrong": json.dumps(wrong)}),
                          capture_output=True, text=True, check=True)
    assert "UNKNOWN_ACTION" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_star_is_only_where_no_resource_can_be_named(path):
    for statement in document(path)["Statement"]:
        if statement["Effect"] != "Allow" or "Principal" in statement:
            continue
        if "*" in listed(statement["Resource"]):
            assert set(listed(statement["Action"])) <= STARS
        assert not [a for a in listed(statement["Action"]) if "*" in a]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_a_service_may_do_is_for_this_account(path):
    for statement in document(path)["Statement"]:
        service = statement.get("Principal", {})
        if not isinstance(service, dict) or "Service" not in service:
            continue
        # Lambda and EC2 act for resources of the same account only.
        if service["Service"] in ("lambda.amazonaws.com", "ec2.amazonaws.com"):
            continue
        assert VALUES["account"] in json.dumps(statement["Condition"])


@pytest.mark.parametrize("path", [p for p in FILES if name(p) in IOT], ids=name)
def test_a_policy_of_iot_is_not_too_long(path):
    assert len("".join(render(path, VALUES).split())) <= 2048


def test_only_an_operator_changes_rollouts_and_nobody_by_force():
    def actions(of):
        statements = document(INFRA / f"iot/policies/{of}.json.tftpl")["Statement"]
        return {a for s in statements for a in listed(s["Action"]) if a.startswith("iot:")}

    reading = re.compile("iot:(Describe|Get|List|SearchIndex)")
    assert [a for a in actions("developer") if not reading.match(a)] == []
    assert {a for a in actions("operator") if not reading.match(a)} == {
        "iot:AddThingToThingGroup", "iot:CancelJob", "iot:CancelJobExecution", "iot:CreateJob",
        "iot:CreateThingGroup", "iot:RemoveThingFromThingGroup", "iot:TagResource", "iot:UpdateJob"}
    # A deletion would take the record of what was rolled out with it.
    for path in FILES:
        assert "iot:DeleteJob" not in render(path, VALUES)
    signing = {a for s in document(INFRA / "iot/policies/operator.json.tftpl")["Statement"]
               for a in listed(s["Action"]) if "Sign" in a}
    assert signing == set()


def test_sets_and_images_in_use_are_kept():
    text = (INFRA / "iot/registry.tf").read_text()
    rules = re.findall(r'rulePriority = (\d+).*?countNumber += (\S+)', text, re.S)
    patterns = re.findall(r'tagPatternList = (\[.*?\])', text)
    assert [p for p, _ in rules] == ["1", "2", "3", "4", "5"]
    # AWS reads several patterns of one rule as "all of them".
    assert patterns == ['["sha256-*"]', '["set.*"]', '["inuse.*"]', '["*"]']
    assert [n for _, n in rules[:3]] == ["100000"] * 3


def test_signatures_and_run_specifications_are_kept():
    """The first lifecycle rule that matches a tag decides; later ones do not see it."""
    text = (INFRA / "iot/registry.tf").read_text()
    kept = re.search(r'rulePriority = 1\b.*?tagPatternList = \["([^"]*)"\].*?countNumber += (\d+)',
                     text, re.S)
    hexadecimal = "0" * 64
    for tag in f"sha256-{hexadecimal}.sig", f"sha256-{hexadecimal}.run", f"sha256-{hexadecimal}":
        assert fnmatch.fnmatch(tag, kept[1]), tag
    assert not fnmatch.fnmatch("hello-v1", kept[1])
    assert int(kept[2]) == 100000, "ECR's limit of images in a repository"
    mutable = re.search(r'filter += "([^"]*)"', text)[1]
    assert fnmatch.fnmatch(f"sha256-{hexadecimal}.sig", mutable)
    assert not fnmatch.fnmatch(f"sha256-{hexadecimal}.run", mutable)
