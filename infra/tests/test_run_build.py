"""scripts/run-build against moto, with a kas that records its arguments and files."""

import contextlib
import datetime
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time

import boto3
import pytest
from conftest import REPOSITORY
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from test_terraform import found_in_checks

# Programs that scripts/run-build looks for.
HOST = ("chrpath", "cpio", "diffstat", "file", "g++", "gawk", "gcc", "git", "lz4c", "make", "patch",
        "perl", "rpcgen", "wget", "xz", "zstd")
# Creates the output of kas: an archive to flash and a bill of materials.
KAS = """#!/bin/sh
set -eu
if [ "$1" = dump ]; then
	echo '{"machine": "jetson"}'
	exit
fi
echo "$@" >kas.args
for directory in "$EDGE_CLAIM_DIR" "$EDGE_POLICY_DIR"; do
	stat -c '%a %n' "$directory" "$directory"/*
done >kas.saw
cat "$EDGE_CLAIM_DIR/claim.key" "$EDGE_POLICY_DIR/ecr-url.txt" >>kas.saw
if [ -e wait ]; then
	echo $$ >started.new
	mv started.new started
	exec sleep 600
fi
images=build/tmp/deploy/images/jetson
mkdir -p "$images" build/sstate-cache/aa build/tmp/deploy/sources/zlib
echo state | zstd -q >build/sstate-cache/aa/sstate:zlib:1.tar.zst
echo secret >build/sstate-cache/aa/sstate:edge-claim:1.tar.zst
echo source >build/tmp/deploy/sources/zlib/zlib.tar.xz
licences=build/tmp/deploy/licenses/jetson/edge-ai-image-dev-jetson.rootfs-1
mkdir -p "$licences" build/tmp/deploy/images/other
echo licence >"$licences/license.manifest"
echo other >build/tmp/deploy/images/other/edge-ai-image-dev-other.manifest-1
ln -sf edge-ai-image-dev-other.manifest-1 build/tmp/deploy/images/other/edge-ai-image-dev-other.manifest
for name in tegraflash.tar.zst spdx.tar.zst manifest; do
	[ -e "no-$name" ] && continue
	echo "$name" >"$images/edge-ai-image-dev-1.$name"
	ln -sf "edge-ai-image-dev-1.$name" "$images/edge-ai-image-dev.$name"
done
"""


def pair():
    """Returns a key, its public half and a certificate for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "claim")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1)
    ).sign(key, hashes.SHA256())
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption()).decode(),
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
        certificate.public_bytes(serialization.Encoding.PEM).decode())


CLAIM_KEY, CLAIM_PUBLIC, CLAIM_CERTIFICATE = pair()
SIGNING_KEY, SIGNING_PUBLIC, _ = pair()
_, EARLIER_PUBLIC, _ = pair()
TICKET_KEY, TICKET_PUBLIC, _ = pair()
_, EARLIER_TICKET_PUBLIC, _ = pair()
SET_KEY, SET_PUBLIC, _ = pair()
FLEET = ('{"credentials_endpoint": "c.example", "ecr_endpoint": "api.ecr.eu-central-1.amazonaws.com",'
         ' "region": "eu-central-1", "role_alias": "edge-ai-pull"}')
OS_KEY, OS_PUBLIC, _ = pair()
_, EARLIER_OS_PUBLIC, _ = pair()
TOKEN = "a-token-that-nobody-may-see"
PARAMETERS = {
    "/edge-ai/fleet-provisioning/claim-cert": CLAIM_CERTIFICATE,
    "/edge-ai/fleet-provisioning/claim-key": CLAIM_KEY,
    "/edge-ai/fleet-provisioning/config": '{"endpoint": "a.example", "template_name": "edge-ai-fleet"}',
    "/edge-ai/fleet/config": FLEET,
    "/edge-ai/pki/container-signing-public-key": SIGNING_PUBLIC,
    "/edge-ai/ecr/repository-url": "1.dkr.ecr.eu-central-1.amazonaws.com/edge-ai",
    "/edge-ai/nordvpn-token": TOKEN,
}


def secret(path):
    """Returns whether a file contains a secret; a file that vanished does not."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return False
    return TOKEN in text or "BEGIN" in text and "PRIVATE" in text


class Build:
    """Copy of the script, with a directory of its own for secrets."""

    def __init__(self, directory, endpoint):
        self.root, self.runtime = directory / "repository", directory / "run"
        tools = directory / "bin"
        for made in (self.root / "scripts", self.runtime, tools):
            made.mkdir(parents=True)
        shutil.copy2(REPOSITORY / "scripts/run-build", self.root / "scripts")
        (tools / "kas").write_text(KAS)
        (tools / "kas").chmod(0o755)
        (tools / "aws").symlink_to(found_in_checks("aws"))
        # Programs of a build machine, which a machine that only runs tests may lack.
        for name in HOST:
            if not shutil.which(name, path="/usr/bin:/bin"):
                (tools / name).write_text("#!/bin/sh\n")
                (tools / name).chmod(0o755)
        self.program("locale", "echo en_US.utf8")
        for name in ("edge-ai.yml", "production.yml"):
            (self.root / "kas").mkdir(exist_ok=True)
            shutil.copy2(REPOSITORY / "kas" / name, self.root / "kas")
        (directory / "authorized_keys").write_text("ssh-ed25519 AAAA an engineer\n")
        self.env = {**os.environ, "AWS_ENDPOINT_URL": endpoint, "XDG_RUNTIME_DIR": str(self.runtime),
                    "TMPDIR": str(directory), "PATH": f"{tools}:/usr/bin:/bin",
                    "EDGE_AUTHORIZED_KEYS": str(directory / "authorized_keys")}
        self.env.pop("KAS_MACHINE", None)
        self.ssm = boto3.client("ssm", endpoint_url=endpoint)
        for name in self.ssm.describe_parameters()["Parameters"]:
            self.ssm.delete_parameter(Name=name["Name"])
        for name, value in PARAMETERS.items():
            self.put(name, value)

    def program(self, name, line):
        """Replaces a program by a shell script of one line."""
        file = self.runtime.parent / "bin" / name
        file.unlink(missing_ok=True)
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

    def put(self, name, value):
        secret = name.endswith(("claim-key", "nordvpn-token"))
        self.ssm.put_parameter(Name=name, Value=value, Overwrite=True,
                               Type="SecureString" if secret else "String")

    def command(self, *args):
        return [sys.executable, self.root / "scripts/run-build", *args]

    def run(self, *args):
        """Returns exit code and output; asserts that no secret is in it and none is left."""
        done = subprocess.run(self.command(*args), env=self.env, capture_output=True, text=True,
                              check=False)
        output = done.stdout + done.stderr
        assert TOKEN not in output and "PRIVATE KEY" not in output
        assert self.left() == []
        return done.returncode, output

    def left(self):
        """Returns files that contain a secret, wherever the script could have put one."""
        # os.walk skips a directory that is removed during the walk; rglob raises.
        files = (pathlib.Path(directory, name) for directory, _, names in os.walk(self.runtime.parent)
                 for name in names if name not in ("kas.saw", "run-build"))
        return [p for p in files if p.is_file() and secret(p)]

    def saw(self):
        return (self.root / "kas.saw").read_text()


@pytest.fixture
def build(tmp_path, moto):
    build = Build(tmp_path, moto)
    yield build
    # kas runs in a session of its own: a build that is killed cannot stop it.
    started = build.root / "started"
    if started.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(started.read_text()), signal.SIGKILL)


def test_a_dry_run_fetches_everything_and_leaves_nothing(build):
    code, output = build.run("--dry-run")
    assert code == 0, output
    for name in PARAMETERS:
        assert f"fetched {name}" in output
    assert "would run: kas build kas/edge-ai.yml" in output
    assert not (build.root / "kas.args").exists()


def test_the_recipes_find_everything_and_only_their_user_does(build):
    build.put("/edge-ai/pki/container-signing-public-key-first", EARLIER_PUBLIC)
    code, output = build.run("--config", "kas/production.yml", "--", "--update")
    assert code == 0, output
    lines = build.saw().splitlines()
    modes = {pathlib.Path(line.split(" ", 1)[1]).name: line.split()[0]
             for line in lines if line.startswith(("600 ", "700 ", "6", "7")) and " /" in line}
    assert modes == {
        "EDGE_CLAIM_DIR": "700", "claim.crt": "600", "claim.key": "600", "config.json": "600",
        "nordvpn-token": "600", "EDGE_POLICY_DIR": "700", "container-signing.pub": "600",
        "container-signing-first.pub": "600", "ecr-url.txt": "600", "fleet.json": "600"}
    assert CLAIM_KEY in build.saw() and str(build.root) not in lines[0]
    assert (build.root / "kas.args").read_text() == "build kas/production.yml --update\n"


def test_keys_of_engineers_reach_the_recipe_if_there_are_some(build):
    code, output = build.run("--dry-run")
    assert code == 0 and "takes no break-glass tickets" in output
    build.put("/edge-ai/pki/engineer-signing-public-key", TICKET_PUBLIC)
    build.put("/edge-ai/pki/engineer-signing-public-key-first", EARLIER_TICKET_PUBLIC)
    build.put("/edge-ai/pki/engineer-signing-notes", "of another tool")
    code, output = build.run()
    assert code == 0 and "takes no break-glass" not in output, output
    found = {line.split("/")[-1] for line in build.saw().splitlines() if line.endswith(".pub")}
    assert found == {"container-signing.pub", "engineer-signing.pub", "engineer-signing-first.pub"}


def test_keys_of_release_sets_reach_the_recipe_if_there_are_some(build):
    code, output = build.run("--dry-run")
    assert code == 0 and "takes no release sets" in output
    build.put("/edge-ai/pki/set-signing-public-key", SET_PUBLIC)
    build.put("/edge-ai/pki/set-signing-public-key-offline", EARLIER_PUBLIC)
    code, output = build.run()
    assert code == 0 and "takes no release sets" not in output, output
    found = {line.split("/")[-1] for line in build.saw().splitlines() if line.endswith(".pub")}
    assert found == {"container-signing.pub", "set-signing.pub", "set-signing-offline.pub"}


@pytest.mark.parametrize("value,objection", [
    ("{", "is not JSON"),
    ("[" * 100000, "is not JSON"),
    ("[]", "is not a JSON object with exactly"),
    (FLEET.replace("}", ', "proxy": ""}'), "is not a JSON object with exactly"),
    (FLEET.replace('"c.example"', '"https://c.example"'), "has another credentials_endpoint"),
    (FLEET.replace('"c.example"', "7"), "has another credentials_endpoint"),
    (FLEET.replace("edge-ai-pull", "a/b"), "has another role_alias"),
    (FLEET.replace('"eu-central-1"', '"EU"'), "has another region"),
])
def test_endpoints_that_a_device_would_reject_are_rejected(build, value, objection):
    build.put("/edge-ai/fleet/config", value[:4000])
    code, output = build.run("--dry-run")
    assert code == 3 and f"/edge-ai/fleet/config {objection}" in output, output


def test_keys_of_the_system_reach_the_recipe_if_there_are_some(build):
    code, output = build.run("--dry-run")
    assert code == 0 and "takes no updates of its system" in output
    build.put("/edge-ai/pki/os-signing-public-key", OS_PUBLIC)
    build.put("/edge-ai/pki/os-signing-public-key-first", EARLIER_OS_PUBLIC)
    build.put("/edge-ai/pki/os-signing-notes", "of another tool")
    code, output = build.run()
    assert code == 0 and "takes no updates" not in output, output
    found = {line.split("/")[-1] for line in build.saw().splitlines() if line.endswith(".pub")}
    assert found == {"container-signing.pub", "os-signing.pub", "os-signing-first.pub"}


def compressed(public):
    """Returns another encoding of a public key."""
    done = subprocess.run(["openssl", "ec", "-pubin", "-pubout", "-conv_form", "compressed"],
                          input=public, capture_output=True, text=True, check=True)
    assert done.stdout != public
    return done.stdout


@pytest.mark.parametrize("name,value,objection", [
    ("engineer-signing-public-key", TICKET_KEY, "is not a public key"),
    ("engineer-signing-public-key", "nonsense", "is not a public key"),
    ("engineer-signing-public-key", SIGNING_PUBLIC, "the same key as"),
    ("engineer-signing-public-key-old", compressed(SIGNING_PUBLIC), "the same key as"),
    ("engineer-signing-public-key", CLAIM_PUBLIC, "the same key as"),
    ("set-signing-public-key", SIGNING_PUBLIC, "the same key as"),
    ("set-signing-public-key-old", CLAIM_PUBLIC, "the same key as"),
    ("set-signing-public-key", SET_KEY, "is not a public key"),
    ("os-signing-public-key", OS_KEY, "is not a public key"),
    ("os-signing-public-key", SIGNING_PUBLIC, "the same key as"),
    ("os-signing-public-key-old", compressed(SIGNING_PUBLIC), "the same key as"),
    ("os-signing-public-key", CLAIM_PUBLIC, "the same key as"),
    ("container-signing-public-key-old", CLAIM_PUBLIC, "the same key as"),
], ids=["private", "nonsense", "container", "compressed", "claim", "set", "claim-of-sets", "private-set",
        "os-private", "os-container", "os-compressed", "os-claim", "claim-of-containers"])
def test_a_key_has_one_role(build, name, value, objection):
    build.put(f"/edge-ai/pki/{name}", value)
    code, output = build.run("--dry-run")
    assert code == 3 and objection in output and name in output, output


def test_artefacts_come_with_checksums_and_a_bill_of_materials(build):
    code, output = build.run()
    assert code == 0 and "5 artefacts" in output and "remove the card" in output, output
    place, = (build.root / "out/jetson").iterdir()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    names = {"edge-ai-image-dev." + end for end in ("tegraflash.tar.zst", "spdx.tar.zst", "manifest")}
    names |= {"license.manifest", "sources.tar"}
    assert {p.name for p in place.iterdir()} == names | {"SHA256SUMS"}
    with tarfile.open(place / "sources.tar") as sources:
        assert "sources/zlib/zlib.tar.xz" in sources.getnames()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=place, check=True,
                   capture_output=True)


def test_each_machine_has_its_own_directory(build):
    assert build.run()[0] == 0
    build.env["KAS_MACHINE"] = "other"
    code, output = build.run()
    assert code == 1 and "no SBOM" in output, output
    assert [p.name for p in (build.root / "out").iterdir()] == ["jetson"]


@pytest.mark.parametrize("program,package", [("chrpath", "chrpath"), ("lz4c", "lz4"), ("rpcgen", "rpcsvc-proto")])
def test_a_machine_that_cannot_build_is_told_what_it_lacks(build, program, package):
    build.env["PATH"] = str(build.runtime.parent / "bin")
    for name in {*HOST, "openssl", "stat", "cat", "mkdir", "locale"} - {program}:
        build.program(name, "exit 0")
    (build.runtime.parent / "bin" / program).unlink(missing_ok=True)
    build.env["EDGE_AUTHORIZED_KEYS"] = "/nonexistent"
    code, output = build.run("--dry-run", "--config", "kas/edge-ai.yml:kas/absent.yml")
    assert code == 3 and "fetched" not in output, output
    assert f"{program} is missing: apt install {package}" in output
    for word in ("en_US.UTF-8 is missing", "EDGE_AUTHORIZED_KEYS", "kas/absent.yml is missing"):
        assert word in output
    assert len([line for line in output.splitlines() if line.startswith("  ")]) == 4


@pytest.mark.parametrize("name,content", [
    ("sstate:edge-other:1.tar.zst", CLAIM_KEY),
    ("sstate:edge-other:1.tar.zst.siginfo", "psk=password of the Wi-Fi"),
    ("sstate:optee-nvsamples:1.tar.zst", "x" * (1 << 20) + "-----BEGIN RSA PRIVATE KEY-----"),
    ("sstate:networkmanager:1.tar.zst", "[802-1x]\npassword=secret"),
])
def test_shared_state_with_a_secret_is_not_uploaded(build, name, content):
    bucket = "edge-build-cache"
    s3 = boto3.client("s3", endpoint_url=build.env["AWS_ENDPOINT_URL"], region_name="us-east-1")
    s3.create_bucket(Bucket=bucket)
    build.env["EDGE_BUILD_CACHE"] = f"s3://{bucket}"
    state = build.root / "build/sstate-cache/bb"
    state.mkdir(parents=True)
    subprocess.run(["zstd", "-q", "-o", state / name], input=content.encode(), check=True)
    done = subprocess.run(build.command(), env=build.env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and name in done.stderr and "a private key or a password" in done.stderr
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    (state / name).unlink()
    code, output = build.run()
    assert code == 0, output
    kept = {item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert "sstate-cache/aa/sstate:zlib:1.tar.zst" in kept
    assert not [key for key in kept if "edge-claim" in key]
    for key in kept:
        s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("absent,objection", [
    ("no-spdx.tar.zst", "SBOM"), ("no-tegraflash.tar.zst", "archive to flash")])
def test_a_build_without_an_artefact_fails(build, absent, objection):
    (build.root / absent).touch()
    code, output = build.run()
    assert code == 1 and objection in output


def test_missing_parameters_are_named(build):
    absent = ["/edge-ai/fleet-provisioning/claim-key", "/edge-ai/nordvpn-token"]
    for name in absent:
        build.ssm.delete_parameter(Name=name)
    code, output = build.run("--dry-run")
    assert code == 3
    assert [line.strip() for line in output.splitlines() if line.startswith("  ")] == absent
    assert "fetched" not in output
    code, output = build.run("--dry-run", "--without-vpn")
    assert code == 3 and absent[0] in output and absent[1] not in output


def test_a_device_without_vpn_needs_no_token(build):
    build.ssm.delete_parameter(Name="/edge-ai/nordvpn-token")
    code, output = build.run("--without-vpn")
    assert code == 0, output
    assert "nordvpn-token" not in build.saw()


@pytest.mark.parametrize("wrong", [
    {
        "fleet-provisioning/claim-key": (SIGNING_KEY, "claim-key does not belong to"),
        "fleet-provisioning/config": ('{"endpoint": "a.example"}', "config has no template_name"),
        "pki/container-signing-public-key": (SIGNING_KEY, "public-key is not a public key"),
        "pki/container-signing-public-key-old": ("nonsense", "key-old is not a public key"),
        "ecr/repository-url": ("https://a.example/edge-ai", "is not HOST/REPOSITORY"),
    },
    {
        "fleet-provisioning/claim-key": ("nonsense", "claim-key is not a private key"),
        "fleet-provisioning/claim-cert": (CLAIM_KEY, "claim-cert is not a certificate"),
        "fleet-provisioning/config": ("[1", "config is not JSON"),
    },
], ids=["does-not-fit", "is-nothing"])
def test_invalid_parameters_are_named(build, wrong):
    for name, (value, _) in wrong.items():
        build.put(f"/edge-ai/{name}", value)
    code, output = build.run("--dry-run")
    assert code == 3
    for _, objection in wrong.values():
        assert objection in output
    assert len([line for line in output.splitlines() if line.startswith("  ")]) == len(wrong)
    assert "nonsense" not in output


@pytest.mark.parametrize("keys", [
    '"port": 443',
    '"proxy": "http://proxy.example:3128", "spread_seconds": 0',
    '"port": 8883, "proxy": "http://10.0.0.1:80", "spread_seconds": 3600',
])
def test_every_documented_key_of_the_claim_is_accepted(build, keys):
    claim = f'{{"endpoint": "a.example", "template_name": "edge-ai-fleet", {keys}}}'
    build.put("/edge-ai/fleet-provisioning/config", claim)
    code, output = build.run("--dry-run")
    assert code == 0, output


@pytest.mark.parametrize("keys,objection", [
    ('"proxy": "http://user:secret@proxy:1"', "another proxy than http://HOST:PORT"),
    ('"proxy": "http://proxy:65536"', "another proxy than"),
    ('"proxy": 3128', "another proxy than"),
    ('"port": 0', "another port than 1 to 65535"),
    ('"port": true', "another port than"),
    ('"port": "443"', "another port than"),
    ('"spread_seconds": 3601', "another spread_seconds than 0 to 3600"),
    ('"spread_seconds": 1.5', "another spread_seconds than"),
    ('"template_name": "a/b"', "another template_name than"),
    ('"endpoint": "https://a.example"', "another endpoint than a host name"),
    ('"spread": 1', "the unknown key 'spread'"),
])
def test_what_a_device_would_reject_is_rejected_before_the_build(build, keys, objection):
    claim = f'{{"endpoint": "a.example", "template_name": "edge-ai-fleet", {keys}}}'
    build.put("/edge-ai/fleet-provisioning/config", claim)
    code, output = build.run("--dry-run")
    assert code == 3 and objection in output, output
    assert "secret" not in output


def test_an_unreachable_cloud_is_reported(build):
    build.env["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    build.env["AWS_MAX_ATTEMPTS"] = "1"
    code, output = build.run("--dry-run")
    assert code == 1 and "aws ssm get-parameters" in output and "Could not connect" in output


def test_wrong_usage_is_2(build):
    assert build.run("--dry-rnu")[0] == 2


def test_a_missing_tool_is_named(build):
    for tool in ("kas", "aws"):
        (build.runtime.parent / "bin" / tool).unlink()
        code, output = build.run()
        assert code == 1 and f"{tool} is missing: install" in output


def started(build):
    """Starts a build and returns when kas runs, with the secrets in place."""
    (build.root / "wait").touch()
    process = subprocess.Popen(build.command(), env=build.env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: (build.root / "started").exists() or process.poll() is not None)
    assert process.poll() is None and build.left()
    return process


def until(holds, limit=60):
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing(build, number):
    process = started(build)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert build.left() == []


def test_a_kill_leaves_nothing(build):
    process = started(build)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    until(lambda: build.left() == [])


def test_one_build_at_a_time(build):
    process = started(build)
    try:
        done = subprocess.run(build.command("--dry-run"), env=build.env, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 1 and "another build" in done.stderr
        assert build.left(), "the secrets of the first were taken away"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_directory_of_somebody_else_is_not_used(build):
    (build.runtime / f"edge-ai-build-{os.getuid()}").mkdir(mode=0o755)
    code, output = build.run("--dry-run")
    assert code == 1 and "not a private directory of this user" in output
