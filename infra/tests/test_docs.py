"""Operators' commands of docs/cloud.md, run as they stand there, and the hook."""

import os
import re
import subprocess
import time

import boto3
import fleet
import pytest
from conftest import REPOSITORY
from test_fleet import CLAIM, TEMPLATE, question
from test_terraform import found_in_checks

TABLE = "edge-ai-devices"
TEXT = (REPOSITORY / "docs/cloud.md").read_text()
BLOCKS = [re.sub(r"(?m)^ {2}(?=\S)", "", b) for b in re.findall(r"```sh\n(.*?)```", TEXT, re.S)]


def block(text):
    """The one block of commands that contains this text."""
    found, = (b for b in BLOCKS if text in b)
    return found


@pytest.fixture
def operator(tmp_path, moto, monkeypatch):
    """Runs a block of commands with the AWS CLI, against moto."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    for name, value in {"TABLE": TABLE, "TEMPLATE": TEMPLATE, "CLAIMS": CLAIM}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "aws").symlink_to(found_in_checks("aws"))
    table = boto3.client("dynamodb", endpoint_url=moto)
    table.create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "serial", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "serial", "AttributeType": "S"}])
    fleet.client.cache_clear()
    # moto is slower than AWS, and time limits are not tested here.
    monkeypatch.setattr(fleet, "QUICK", fleet.PATIENT)

    def run(text, **env):
        done = subprocess.run(
            ["sh", "-eu", "-c", block(text)], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", **env})
        return done.returncode, done.stdout + done.stderr

    yield run
    fleet.client.cache_clear()
    table.delete_table(TableName=TABLE)


def ask(serial, letter):
    return fleet.provision(question(serial, letter * 64), None)["allowProvisioning"]


def test_an_operator_allows_reopens_and_blocks(operator, moto, tmp_path):
    assert not ask("s1", "a")
    code, output = operator("# Allow one device", SERIAL="s1")
    assert code == 0, output
    assert operator("# Allow one device", SERIAL="s1")[0] != 0, "a second time would forget its certificate"
    assert ask("s1", "a")

    # As AWS IoT does after an allowed registration; minutes later the device is flashed again.
    iot = boto3.client("iot", endpoint_url=moto)
    iot.create_thing(thingName="edge-ai-s1")
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_thing_principal(thingName="edge-ai-s1", principal=made["certificateArn"])
    boto3.client("dynamodb", endpoint_url=moto).update_item(
        TableName=TABLE, Key={"serial": {"S": "s1"}}, UpdateExpression="SET certificate_at = :t",
        ExpressionAttributeValues={":t": {"N": str(int(time.time()) - 100)}})
    assert not ask("s1", "b")
    code, output = operator("# After flashing again", SERIAL="s1")
    assert code == 0, output
    assert ask("s1", "b")

    code, output = operator("# Show the allow-list")
    assert code == 0 and "s1" in output and "allowed" in output
    code, output = operator("# Block a device", SERIAL="s1")
    assert code == 0, output
    assert not ask("s1", "b")

    for text in ("# After flashing again", "# Block a device"):
        assert operator(text, SERIAL="never-seen")[0] != 0, "a typing mistake adds a device"

    (tmp_path / "serials.txt").write_text("f1\nf2\n")
    code, output = operator("serials.txt")
    assert code == 0, output
    assert ask("f1", "c") and ask("f2", "d") and not ask("f3", "e")
