"""Fixtures of the tests of infra/."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest

INFRA = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = INFRA.parent
sys.path.insert(0, str(INFRA / "iot/hook"))


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    """Keeps tests away from accounts: invented credentials, no configuration of the user."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1", "AWS_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def moto():
    """Starts moto's server and waits until its port accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [pathlib.Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None and time.monotonic() < end, "moto_server does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def render(template, values):
    """Renders a *.json.tftpl like Terraform's templatefile(); an unknown name is an error."""
    text = pathlib.Path(template).read_text()
    parts = re.split(r"(\$?\$\{[^}]*\})", text)
    return "".join(
        part[1:] if part.startswith("$${") else values[part[2:-1]] if part.startswith("${") else part
        for part in parts)
