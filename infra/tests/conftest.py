"""What the tests of infra/ share."""

import os
import pathlib
import re
import sys

import pytest

INFRA = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = INFRA.parent
sys.path.insert(0, str(INFRA / "iot/hook"))


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    """No test reaches an account: invented credentials, no configuration of the user's."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1", "AWS_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def render(template, values):
    """A *.json.tftpl as Terraform's templatefile() gives it; an unknown name is an error."""
    text = pathlib.Path(template).read_text()
    parts = re.split(r"(\$?\$\{[^}]*\})", text)
    return "".join(
        part[1:] if part.startswith("$${") else values[part[2:-1]] if part.startswith("${") else part
        for part in parts)
