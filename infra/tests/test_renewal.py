"""Renewal of a device's certificate: proof of possession, and the hook's decision."""

import base64
import datetime
import random
import ssl

import fleet
import proof
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from test_fleet import cloud, question, refused  # noqa: F401  (cloud is a fixture)

THING = "edge-ai-s1"


def made(key=None):
    """Returns a key and a certificate for it, as AWS IoT would issue it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "AWS IoT Certificate")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now,
        now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


def spki(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed(key, new, thing=THING):
    """Returns the value that a device sends as Proof."""
    message = f"{thing}\n".encode() + spki(new)
    return base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


class Pair:
    """Current identity and new one."""

    def __init__(self):
        (self.key, self.present), (self.new_key, self.new) = made(), made()
        self.proof = signed(self.key, self.new_key)

    def holds(self, proof_=None, thing=THING, present=None, new=None):
        return proof.holds(self.proof if proof_ is None else proof_, thing,
                           present or self.present, new or self.new)


def test_a_valid_proof_is_for_one_name_and_one_key():
    for _ in range(20):
        pair = Pair()
        assert pair.holds()
        assert not pair.holds(thing="edge-ai-s2")
        assert not pair.holds(present=pair.new)
        assert not pair.holds(new=pair.present)
        assert not pair.holds(signed(pair.new_key, pair.new_key))


def test_the_public_key_is_found_where_it_is():
    for _ in range(20):
        key, pem = made()
        assert proof.public_key(pem) == spki(key)
    other = rsa.generate_private_key(65537, 2048)
    _, pem = made(other)
    assert proof.public_key(pem) == spki(other)
    with pytest.raises(ValueError):
        proof.point_of(spki(other))


def test_no_byte_of_a_proof_can_change():
    pair = Pair()
    raw = base64.b64decode(pair.proof)
    for at in range(len(raw)):
        for bit in (1, 0x80):
            changed = bytearray(raw)
            changed[at] ^= bit
            assert not pair.holds(base64.b64encode(changed).decode())
    for cut in range(len(raw)):
        assert not pair.holds(base64.b64encode(raw[:cut]).decode())
    assert not pair.holds(base64.b64encode(raw + b"\0").decode())
    for junk in ("", "=", "MEUCIQ==", pair.proof + " ", "é" * 96, "A" * 100_000, None, 5, []):
        assert not pair.holds(junk) if junk is not None else not proof.holds(
            junk, THING, pair.present, pair.new)


@pytest.mark.parametrize("r, s", [
    (0, 0), (0, 1), (1, 0), (1, 1), (proof.N, 1), (1, proof.N), (proof.N + 1, 1),
    (proof.N - 1, proof.N - 1), (proof.P, proof.P), (2**256, 1), (-1, 1), (1, -1)])
def test_numbers_at_the_edge(r, s):
    """Signatures with such numbers are invalid, and must not raise an exception either."""
    raw = utils.encode_dss_signature(r, s) if r >= 0 and s >= 0 else bytes.fromhex(
        "30060201ff020101" if r < 0 else "30060201010201ff")
    assert not Pair().holds(base64.b64encode(raw).decode())


def test_long_forms_of_a_number_are_refused():
    pair = Pair()
    r, s = utils.decode_dss_signature(base64.b64decode(pair.proof))
    numbers = [n.to_bytes(34, "big") for n in (r, s)]
    body = b"".join(b"\x02\x22" + n for n in numbers)
    raw = b"\x30" + bytes([len(body)]) + body
    assert not pair.holds(base64.b64encode(raw).decode())


def test_agrees_with_another_implementation():
    """Compares random messages and keys, a third of them with damaged signatures."""
    dice = random.Random(1)
    for turn in range(150):
        key = ec.generate_private_key(ec.SECP256R1())
        message = dice.randbytes(dice.randrange(200))
        r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        if turn % 3 == 0:
            r, s = dice.choice([(s, r), (r, s ^ 1), (r, proof.N - s), (r + 1, s)])
        signature = utils.encode_dss_signature(r, s)
        try:
            key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
            wanted = True
        except Exception:  # pylint: disable=broad-except
            wanted = False
        assert proof.verify(proof.point_of(spki(key)), message, signature) == wanted


def test_a_point_off_the_curve_is_refused():
    key = bytearray(spki(ec.generate_private_key(ec.SECP256R1())))
    key[-1] ^= 1
    with pytest.raises(ValueError):
        proof.point_of(bytes(key))
    with pytest.raises(ValueError):
        proof.point_of(proof.HEAD + b"\xff" * 64)


def test_damaged_certificates_prove_nothing():
    pair = Pair()
    der = ssl.PEM_cert_to_DER_cert(pair.present)
    for cut in range(0, len(der), 7):
        assert not pair.holds(present=ssl.DER_cert_to_PEM_cert(der[:cut]))
    for junk in ("x", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "A" * 50_000):
        assert not pair.holds(present=junk)
        assert not pair.holds(new=junk)


# Tests of the hook.

class Device(Pair):
    """Provisioned device for which a new certificate was issued."""

    def __init__(self, cloud_):
        super().__init__()
        self.cloud = cloud_
        cloud_.allow("s1", expires=1)
        self.old_id, self.new_id = (self.issue(pem) for pem in (self.present, self.new))
        cloud_.register("s1", self.old_id)

    def issue(self, pem):
        issued = self.cloud.iot.register_certificate_without_ca(certificatePem=pem, status="INACTIVE")
        return issued["certificateId"]

    def question(self, **changes):
        event = question("s1", self.new_id, certificatePem=self.new)
        event["parameters"] |= {"Proof": self.proof} | changes
        return event


@pytest.fixture
def device(cloud):  # noqa: F811
    return Device(cloud)


def test_a_device_renews_and_the_old_certificate_is_retired_when_the_new_one_connects(
        cloud, device):  # noqa: F811
    answer = fleet.provision(device.question(), None)
    assert answer["allowProvisioning"] and answer["parameterOverrides"]["ThingName"] == THING
    cloud.register("s1", device.new_id)
    assert cloud.status(device.old_id) == "ACTIVE"
    fleet.retire({"clientId": THING, "principalIdentifier": device.old_id}, None)
    assert cloud.attached("s1") == {device.old_id, device.new_id}
    fleet.retire({"clientId": THING, "principalIdentifier": device.new_id}, None)
    assert cloud.attached("s1") == {device.new_id}
    assert cloud.status(device.old_id) == "INACTIVE"
    assert "window_certificate_id" not in cloud.item("s1")


@pytest.mark.parametrize("changes, reason", [
    ({"Proof": ""}, "no window"),
    ({"Proof": "MEUCIQ=="}, "is invalid"),
    ({"Proof": 7}, "malformed"),
    ({"Proof": "A" * 200_000}, "is invalid"),
])
def test_an_invalid_proof_is_refused(cloud, device, capsys, changes, reason):  # noqa: F811
    refused(cloud, device.question(**changes), capsys, reason)


def test_the_claim_alone_cannot_renew(cloud, device, capsys):  # noqa: F811
    """The holder of the claim's key signs with another key."""
    thief, pem = made()
    certificate = device.issue(pem)
    event = device.question(Proof=signed(thief, thief))
    refused(cloud, event | {"certificateId": certificate, "certificatePem": pem}, capsys, "is invalid")
    # The device's own proof is of no use with another new key.
    event = device.question()
    refused(cloud, event | {"certificateId": certificate, "certificatePem": pem}, capsys, "is invalid")


def test_a_deactivated_key_proves_nothing(cloud, device, capsys):  # noqa: F811
    cloud.iot.update_certificate(certificateId=device.old_id, newStatus="INACTIVE")
    refused(cloud, device.question(), capsys, "is invalid")


def test_a_failed_renewal_can_be_repeated(cloud, device):  # noqa: F811
    assert fleet.provision(device.question(), None)["allowProvisioning"]
    cloud.register("s1", device.new_id)
    cloud.age("s1")
    # The new certificate never connected; the device starts again with another key.
    device.new_key, device.new = made()
    device.proof, device.new_id = signed(device.key, device.new_key), device.issue(device.new)
    assert fleet.provision(device.question(), None)["allowProvisioning"]


def test_a_blocked_device_does_not_renew(cloud, device, capsys):  # noqa: F811
    cloud.allow("s1", state="blocked")
    refused(cloud, device.question(), capsys, "blocked")
