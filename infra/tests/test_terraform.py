"""The configurations: form, types, assertions of their own, and checkov."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import INFRA
from provider import running

ROOTS = ["iot", "builder"]


def found(program):
    """A program that scripts/setup cannot install."""
    path = shutil.which(program)
    if not path:
        pytest.fail(f"{program} is missing: install Terraform 1.11 or later, "
                    "https://developer.hashicorp.com/terraform/install")
    return path


def terraform(directory, *args, **env):
    """Runs it and gives what it said; fails with that."""
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
    """A copy of a root: Terraform leaves its own files in it."""
    def make(root):
        place = tmp_path / root
        shutil.copytree(INFRA / root, place, ignore=shutil.ignore_patterns(
            ".terraform*", "*.tfvars", "*.tfstate*", "backend.tf", "claims"))
        return place
    return make


def checked(directory, attach, *chores):
    """Runs these one after the other until one fails; gives what the last one said."""
    more = {"init": ["-backend=false", "-input=false"]}
    for chore in chores:
        args = [chore, "-no-color", *more.get(chore, [])]
        code, said = terraform(directory, *args, TF_REATTACH_PROVIDERS=attach)
        if code:
            return f"terraform {args[0]}: {said}"
    return said


def test_the_form_is_terraforms_own():
    code, said = terraform(INFRA, "fmt", "-check", "-diff", "-recursive")
    assert code == 0, said


@pytest.mark.parametrize("root", ROOTS)
def test_the_configuration_holds(root, copy, providers):
    said = checked(copy(root), providers, "init", "validate", "test")
    assert ", 0 failed" in said and "0 passed" not in said, said


# What a hasty change could do, and which assertion or check must then object.
HASTY = [
    ("iot", "policies/claim.json.tftpl", "client/prov-*", "client/*", "claim"),
    ("iot", "policies/device.json.tftpl", "client/$${iot:Connection.Thing.ThingName}", "client/*", "not its own"),
    ("iot", "policies/device.json.tftpl", ',\n      "Condition": { "Bool": { "iot:Connection.Thing.IsAttached": "true" } }',
     "", "does not have an attribute named \"Condition\""),
    ("iot", "policies/hook-role.json.tftpl", '"dynamodb:GetItem"', '"dynamodb:GetItem", "iot:DeleteCertificate"', "touch a certificate"),
    ("iot", "provisioning-template.json", '{ "Fn::Join": ["", ["edge-ai-", { "Ref": "SerialNumber" }]] }',
     '{ "Ref": "ThingName" }', "not from the device"),
    ("iot", "hook.tf", "source_arn     = local.template_arn", "source_arn     = local.iot", "may ask the hook"),
    ("iot", "policies/signing-key.json.tftpl", '"kms:CancelKeyDeletion"', '"kms:*"', "could sign"),
    ("iot", "registry.tf", "image_tag_mutability ", "image_tag_mutabilty ", "image_tag_mutabilty"),
    ("builder", "policies/builder.json.tftpl", "parameter/edge-ai/nordvpn-token", "parameter/edge-ai/*", "other parameters"),
    ("builder", "main.tf", '"required"', '"optional"', "IMDSv1"),
]


@pytest.mark.parametrize("root", ROOTS)
def test_hasty_changes_are_found(root, copy, providers):
    directory = copy(root)
    checked(directory, providers, "init")
    for _, name, right, wrong, objection in (h for h in HASTY if h[0] == root):
        text = (directory / name).read_text()
        assert text.count(right) >= 1, f"{name} does not hold {right}"
        (directory / name).write_text(text.replace(right, wrong, 1))
        said = checked(directory, providers, "test")
        assert objection in said and ", 0 failed" not in said, f"{wrong} in {name}: {said}"
        (directory / name).write_text(text)


def test_checkov_finds_nothing():
    done = subprocess.run(
        [found_in_checks("checkov"), "--directory", INFRA, "--framework", "terraform",
         "--skip-download", "--compact", "--output", "json"],
        capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    failed = [f"{c['check_id']} {c['resource']}" for c in told["results"]["failed_checks"]]
    assert failed == [] and told["summary"]["passed"] > 100 and told["summary"]["parsing_errors"] == 0
    for skipped in told["results"]["skipped_checks"]:
        assert len(skipped["check_result"]["suppress_comment"]) > 5, skipped["check_id"]


def found_in_checks(program):
    """A program of the Python environment for checks, which scripts/setup makes."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = f"{cache}/edge-ai/venv-checks/bin/{program}"
    if not os.path.exists(path):
        pytest.fail(f"{path} is missing: run scripts/setup")
    return path
