"""Terraform configurations: form, types, their own assertions, and checkov."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import INFRA
from provider import running

ROOTS = ["iot", "builder"]


def found(program):
    """Returns a program that scripts/setup cannot install."""
    path = shutil.which(program)
    if not path:
        pytest.fail(f"{program} is missing: install Terraform 1.11 or later, "
                    "https://developer.hashicorp.com/terraform/install")
    return path


def terraform(directory, *args, **env):
    """Runs Terraform and returns exit code and output."""
    env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **env}
    env.pop("TF_CLI_CONFIG_FILE", None)
    done = subprocess.run([found("terraform"), f"-chdir={directory}", *args], env=env, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def providers():
    with running("aws", "archive") as attach:
        yield attach


@pytest.fixture
def copy(tmp_path):
    """Copies a configuration, because Terraform leaves files beside it."""
    def make(root):
        place = tmp_path / root
        shutil.copytree(INFRA / root, place, ignore=shutil.ignore_patterns(
            ".terraform*", "*.tfvars", "*.tfstate*", "backend.tf", "claims"))
        return place
    return make


def checked(directory, attach, *chores):
    """Runs commands until one fails; returns the output of the last one."""
    more = {"init": ["-backend=false", "-input=false"]}
    for chore in chores:
        args = [chore, "-no-color", *more.get(chore, [])]
        code, output = terraform(directory, *args, TF_REATTACH_PROVIDERS=attach)
        if code:
            return f"terraform {args[0]}: {output}"
    return output


def test_the_form_is_terraforms_own():
    code, output = terraform(INFRA, "fmt", "-check", "-diff", "-recursive")
    assert code == 0, output


@pytest.mark.parametrize("root", ROOTS)
def test_the_configuration_holds(root, copy, providers):
    output = checked(copy(root), providers, "init", "validate", "test")
    assert ", 0 failed" in output and "0 passed" not in output, output


# Careless changes, and the text of the assertion or check that must object.
CARELESS = [
    ("iot", "policies/claim.json.tftpl", "client/prov-*", "client/*", "claim"),
    ("iot", "policies/device.json.tftpl", "client/$${iot:Connection.Thing.ThingName}", "client/*", "not its own"),
    ("iot", "policies/device.json.tftpl", ',\n      "Condition": { "Bool": { "iot:Connection.Thing.IsAttached": "true" } }',
     "", "does not have an attribute named \"Condition\""),
    ("iot", "policies/hook-role.json.tftpl", '"dynamodb:GetItem"', '"dynamodb:GetItem", "iot:DeleteCertificate"', "touch a certificate"),
    ("iot", "provisioning-template.json", '{ "Fn::Join": ["", ["edge-ai-", { "Ref": "SerialNumber" }]] }',
     '{ "Ref": "ThingName" }', "not from the device"),
    ("iot", "hook.tf", "source_arn     = local.template_arn", "source_arn     = local.iot", "may call the hook"),
    ("iot", "policies/signing-key.json.tftpl", '"kms:CancelKeyDeletion"', '"kms:*"', "could sign"),
    ("iot", "signing.tf", "jsonencode(var.ticket_signers)", "jsonencode(concat(var.signers, var.ticket_signers))", "may sign tickets"),
    ("iot", "signing.tf", "jsonencode(var.set_signers)", "jsonencode(concat(var.signers, var.set_signers))", "may sign release sets"),
    ("iot", "policies/device.json.tftpl", "/jobs/*/update", "/jobs/*", "with other messages"),
    ("iot", "policies/device.json.tftpl", "/shadow/name/*/update", "/shadow/name/*", "with other messages"),
    ("iot", "provisioning-template.json", '"ThingGroups": ["edge-ai-all"],', "", "does not have an attribute named \"ThingGroups\""),
    ("iot", "policies/operator.json.tftpl", 'job/edge-*", "${iot}:thing/edge-ai-*"]', 'job/*", "${iot}:thing/*"]', "other jobs"),
    ("iot", "fleet.tf", "batch_mode     = true", "batch_mode     = false", "whole array"),
    ("iot", "registry.tf", "image_tag_mutability ", "image_tag_mutabilty ", "image_tag_mutabilty"),
    ("builder", "policies/builder.json.tftpl", "parameter/edge-ai/nordvpn-token", "parameter/edge-ai/*", "other parameters"),
    ("builder", "main.tf", '"required"', '"optional"', "IMDSv1"),
]


@pytest.mark.parametrize("root", ROOTS)
def test_careless_changes_are_found(root, copy, providers):
    directory = copy(root)
    checked(directory, providers, "init")
    for _, name, right, wrong, objection in (h for h in CARELESS if h[0] == root):
        text = (directory / name).read_text()
        assert text.count(right) >= 1, f"{name} does not contain {right}"
        (directory / name).write_text(text.replace(right, wrong, 1))
        output = checked(directory, providers, "test")
        assert objection in output and ", 0 failed" not in output, f"{wrong} in {name}: {output}"
        (directory / name).write_text(text)


def test_checkov_finds_nothing():
    done = subprocess.run(
        [found_in_checks("checkov"), "--directory", INFRA, "--framework", "terraform",
         "--skip-download", "--compact", "--output", "json"],
        capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    failed = [f"{c['check_id']} {c['resource']}" for c in report["results"]["failed_checks"]]
    assert failed == [] and report["summary"]["passed"] > 100 and report["summary"]["parsing_errors"] == 0
    for skipped in report["results"]["skipped_checks"]:
        assert len(skipped["check_result"]["suppress_comment"]) > 5, skipped["check_id"]


def found_in_checks(program):
    """Returns a program of the Python environment that scripts/setup creates for checks."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = f"{cache}/edge-ai/venv-checks/bin/{program}"
    if not os.path.exists(path):
        pytest.fail(f"{path} is missing: run scripts/setup")
    return path
