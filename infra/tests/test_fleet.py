"""The hook against moto: decisions, and that a refusal changes nothing."""

import json
import socket
import time

import botocore.client
import fleet
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

TEMPLATE = "arn:aws:iot:eu-central-1:123456789012:provisioningtemplate/edge-ai-fleet"
CLAIM = "c" * 64
SECRET = "-----BEGIN CERTIFICATE-----"


class Cloud:
    """Table, things and certificates in moto, with a record of the calls."""

    def __init__(self, monkeypatch):
        # Clients are expensive to create, so tests share those of the hook.
        self.iot = fleet.client("iot", fleet.QUICK)
        self.table = fleet.client("dynamodb", fleet.QUICK)
        self.table.create_table(
            TableName="devices", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "serial", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "serial", "AttributeType": "S"}])
        self.calls, self.broken = [], {}
        real = botocore.client.BaseClient._make_api_call

        def call(client, operation, parameters):
            self.calls.append(operation)
            if operation in self.broken:
                raise self.broken[operation]
            return real(client, operation, parameters)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    def allow(self, serial, **more):
        """Adds a serial number to the list."""
        item = {"serial": {"S": serial}, "state": {"S": "allowed"}}
        for name, value in more.items():
            item[name] = {"N": str(value)} if isinstance(value, int) else {"S": value}
        self.table.put_item(TableName="devices", Item=item)

    def open_window(self, serial):
        """Opens a window like the documented operator's command."""
        self.table.update_item(
            TableName="devices", Key={"serial": {"S": serial}},
            UpdateExpression="SET window_until = :t REMOVE window_certificate_id",
            ExpressionAttributeValues={":t": {"N": str(int(time.time()) + 900)}})

    def age(self, serial):
        """Moves the last registration more than a minute into the past."""
        self.table.update_item(
            TableName="devices", Key={"serial": {"S": serial}},
            UpdateExpression="SET certificate_at = :t",
            ExpressionAttributeValues={":t": {"N": str(int(time.time()) - 100)}})

    def item(self, serial):
        """Returns the list's item of a serial number."""
        found = self.table.get_item(TableName="devices", Key={"serial": {"S": serial}})
        return {k: next(iter(v.values())) for k, v in found.get("Item", {}).items()}

    def certificate(self):
        """Creates a certificate, as AWS IoT does before it calls the hook."""
        return self.iot.create_keys_and_certificate(setAsActive=False)["certificateId"]

    def register(self, serial, certificate):
        """Registers a device, as AWS IoT does after an allowed request."""
        arn = self.iot.describe_certificate(certificateId=certificate)
        arn = arn["certificateDescription"]["certificateArn"]
        self.iot.create_thing(thingName=f"edge-ai-{serial}")
        self.iot.update_certificate(certificateId=certificate, newStatus="ACTIVE")
        self.iot.attach_thing_principal(thingName=f"edge-ai-{serial}", principal=arn)

    def status(self, certificate):
        """Returns the status of a certificate."""
        response = self.iot.describe_certificate(certificateId=certificate)
        return response["certificateDescription"]["status"]

    def attached(self, serial):
        """Returns the certificates of the thing."""
        response = self.iot.list_thing_principals(thingName=f"edge-ai-{serial}")
        return {p.rpartition("/")[2] for p in response["principals"]}

    def state(self):
        """Returns all state that the hook could have changed, except the list."""
        things = sorted(t["thingName"] for t in self.iot.list_things()["things"])
        certificates = {c["certificateId"]: c["status"]
                        for c in self.iot.list_certificates()["certificates"]}
        return things, certificates, [self.iot.list_thing_principals(thingName=t)["principals"]
                                      for t in things]

    def provisioned(self, serial):
        """Registers a device, some time ago, and returns its certificate."""
        self.allow(serial)
        certificate = self.certificate()
        assert ask(serial, certificate)["allowProvisioning"]
        self.register(serial, certificate)
        self.age(serial)
        return certificate


@pytest.fixture
def cloud(monkeypatch):
    monkeypatch.setenv("TABLE", "devices")
    monkeypatch.setenv("TEMPLATE", TEMPLATE)
    monkeypatch.setenv("CLAIMS", f"{'d' * 64},{CLAIM}")
    with mock_aws():
        yield Cloud(monkeypatch)


def question(serial, certificate, **changes):
    event = {
        "claimCertificateId": CLAIM, "certificateId": certificate,
        "certificatePem": SECRET, "templateArn": TEMPLATE,
        "clientId": f"prov-{serial}-1",
        "parameters": {"SerialNumber": serial, "MacAddress": "00:11:22:33:44:55",
                       "ThingName": f"edge-ai-{serial}"},
    }
    return event | changes


def ask(serial, certificate, **changes):
    return fleet.provision(question(serial, certificate, **changes), None)


def refused(cloud, event, capsys, reason):
    """Sends a request and asserts its refusal, the reason, and that nothing changed."""
    before, writes = cloud.state(), list(cloud.calls)
    answer = fleet.provision(event, None)
    made = cloud.calls[len(writes):]
    assert answer == {"allowProvisioning": False}
    assert cloud.state() == before
    assert not [c for c in made if not c.startswith(("Get", "List", "Describe", "UpdateItem"))]
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["outcome"] == "refused"
    assert reason in json.loads(lines[-1])["reason"]
    assert SECRET not in "".join(lines)


def test_a_new_device_is_allowed_and_its_name_is_derived(cloud, capsys):
    cloud.allow("s1")
    certificate = cloud.certificate()
    before = cloud.state()
    assert ask("s1", certificate) == {
        "allowProvisioning": True,
        "parameterOverrides": {"SerialNumber": "s1", "ThingName": "edge-ai-s1"}}
    assert cloud.item("s1")["certificate_id"] == certificate
    assert cloud.state() == before
    out = capsys.readouterr().out
    assert json.loads(out)["outcome"] == "allowed" and SECRET not in out


def test_a_request_without_a_name_gets_the_derived_one(cloud):
    cloud.allow("s1")
    answer = ask("s1", cloud.certificate(), parameters={"SerialNumber": "s1"})
    assert answer["parameterOverrides"]["ThingName"] == "edge-ai-s1"


def test_an_unknown_serial_number_is_refused(cloud, capsys):
    cloud.allow("s1")
    refused(cloud, question("s2", cloud.certificate()), capsys, "not on the list")
    assert cloud.item("s2") == {}


def test_a_blocked_serial_number_is_refused(cloud, capsys):
    cloud.allow("s1", state="blocked")
    refused(cloud, question("s1", cloud.certificate()), capsys, "blocked")


def test_another_devices_name_is_refused(cloud, capsys):
    mine = cloud.provisioned("s1")
    cloud.allow("s2")
    event = question("s2", cloud.certificate())
    event["parameters"]["ThingName"] = "edge-ai-s1"
    refused(cloud, event, capsys, "another device")
    assert cloud.status(mine) == "ACTIVE"


def test_another_devices_serial_number_is_refused(cloud, capsys):
    mine = cloud.provisioned("s1")
    refused(cloud, question("s1", cloud.certificate()), capsys, "no window")
    assert cloud.status(mine) == "ACTIVE" and cloud.attached("s1") == {mine}
    assert cloud.item("s1")["certificate_id"] == mine


def test_a_reflash_without_a_window_is_refused_and_so_is_one_after_it(cloud, capsys):
    mine = cloud.provisioned("s1")
    cloud.allow("s1", certificate_id=mine, certificate_at=1, window_until=int(time.time()) - 1)
    refused(cloud, question("s1", cloud.certificate()), capsys, "no window")


def test_an_identity_that_the_list_does_not_know_counts(cloud, capsys):
    """Covers a device older than the list, and a list that was created again."""
    cloud.allow("s1")
    old = cloud.certificate()
    cloud.register("s1", old)
    refused(cloud, question("s1", cloud.certificate()), capsys, "no window")


def test_a_repeated_registration_changes_nothing(cloud):
    mine = cloud.provisioned("s1")
    before, item = cloud.state(), cloud.item("s1")
    for _ in range(3):
        assert ask("s1", mine)["allowProvisioning"]
    assert cloud.state() == before and cloud.item("s1") == item
    cloud.calls.clear()
    ask("s1", mine)
    assert cloud.calls == ["GetItem"]


def test_a_repeat_is_allowed_before_it_is_registered_and_after_the_allowance_expired(cloud):
    cloud.allow("s1", expires=int(time.time()) + 100)
    mine = cloud.certificate()
    assert ask("s1", mine)["allowProvisioning"]
    cloud.table.update_item(
        TableName="devices", Key={"serial": {"S": "s1"}}, UpdateExpression="SET expires = :t",
        ExpressionAttributeValues={":t": {"N": "5"}})
    assert ask("s1", mine)["allowProvisioning"]


def test_a_reflash_in_its_window_keeps_the_old_one_until_the_new_one_connects(cloud):
    old = cloud.provisioned("s1")
    cloud.open_window("s1")
    new = cloud.certificate()
    assert ask("s1", new)["allowProvisioning"]
    cloud.register("s1", new)
    assert cloud.status(old) == "ACTIVE" and cloud.attached("s1") == {old, new}

    # A connection with the old certificate changes nothing.
    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": old}, None)
    assert cloud.attached("s1") == {old, new}

    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": new}, None)
    assert cloud.status(old) == "INACTIVE" and cloud.attached("s1") == {new}
    assert cloud.status(new) == "ACTIVE"
    assert "window_until" not in cloud.item("s1")
    assert "DeleteCertificate" not in cloud.calls

    # The event is delivered twice, and the device reconnects for years.
    cloud.calls.clear()
    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": new}, None)
    assert cloud.calls == ["GetItem"]


def test_a_window_is_for_one(cloud, capsys):
    cloud.provisioned("s1")
    cloud.open_window("s1")
    new = cloud.certificate()
    assert ask("s1", new)["allowProvisioning"]
    refused(cloud, question("s1", cloud.certificate()), capsys, "in progress")
    cloud.register("s1", new)
    cloud.age("s1")
    refused(cloud, question("s1", cloud.certificate()), capsys, "has been used")


def test_a_failed_registration_can_be_repeated(cloud):
    cloud.allow("s1")
    assert ask("s1", cloud.certificate())["allowProvisioning"]
    cloud.age("s1")
    second = cloud.certificate()
    assert ask("s1", second)["allowProvisioning"]
    assert cloud.item("s1")["certificate_id"] == second


def test_a_window_survives_a_failed_registration(cloud):
    old = cloud.provisioned("s1")
    cloud.open_window("s1")
    assert ask("s1", cloud.certificate())["allowProvisioning"]
    cloud.age("s1")
    assert ask("s1", cloud.certificate())["allowProvisioning"]
    assert cloud.status(old) == "ACTIVE"


def test_one_of_two_concurrent_requests_is_allowed(cloud, monkeypatch):
    """The second request decides on state that the first then changes."""
    cloud.allow("s1")
    first, second = cloud.certificate(), cloud.certificate()
    permit, nested = fleet.permit, []

    def slow(item, others, now):
        renews = permit(item, others, now)
        if not nested:
            nested.append(True)
            nested.append(ask("s1", second)["allowProvisioning"])
        return renews

    monkeypatch.setattr(fleet, "permit", slow)
    assert not ask("s1", first)["allowProvisioning"]
    assert nested == [True, True]
    assert cloud.item("s1")["certificate_id"] == second


def test_an_expired_allowance_is_refused(cloud, capsys):
    cloud.allow("s1", expires=int(time.time()) - 1)
    refused(cloud, question("s1", cloud.certificate()), capsys, "expired")


@pytest.mark.parametrize("changes", [
    {"claimCertificateId": "e" * 64}, {"claimCertificateId": None}, {"claimCertificateId": ""},
    {"templateArn": TEMPLATE + "2"}, {"certificateId": "x"}, {"certificateId": None},
    {"certificateId": "A" * 64}, {"parameters": None}, {"parameters": []}, {"parameters": {}},
    {"parameters": {"SerialNumber": ""}}, {"parameters": {"SerialNumber": "s 1"}},
    {"parameters": {"SerialNumber": "s1\n"}}, {"parameters": {"SerialNumber": ["s1"]}},
    {"parameters": {"SerialNumber": "s" * 121}}, {"parameters": {"SerialNumber": "s1", "ThingName": None}},
    {"parameters": {"SerialNumber": "s1", "MacAddress": "a b"}},
    {"parameters": {"SerialNumber": "s1", "MacAddress": 7}},
])
def test_a_malformed_request_is_refused(cloud, capsys, changes):
    cloud.allow("s1")
    event = question("s1", cloud.certificate()) | changes
    cloud.calls.clear()
    assert fleet.provision(event, None) == {"allowProvisioning": False}
    assert cloud.calls == []
    assert json.loads(capsys.readouterr().out)["outcome"] == "refused"


@pytest.mark.parametrize("event", [None, [], "text", 7, {}])
def test_an_event_of_another_form_is_refused(cloud, event):
    assert fleet.provision(event, None) == {"allowProvisioning": False}


def broken(operation, code):
    return ClientError({"Error": {"Code": code, "Message": "…"}}, operation)


@pytest.mark.parametrize("operation", ["GetItem", "ListThingPrincipals", "UpdateItem"])
@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "AccessDeniedException"])
def test_an_error_of_aws_refuses(cloud, capsys, operation, code):
    old = cloud.provisioned("s1")
    cloud.open_window("s1")
    new = cloud.certificate()
    cloud.broken = {operation: broken(operation, code)}
    answer = ask("s1", new)
    cloud.broken = {}
    assert answer == {"allowProvisioning": False}
    assert code in json.loads(capsys.readouterr().out.splitlines()[-1])["reason"]
    assert cloud.status(old) == "ACTIVE" and cloud.attached("s1") == {old}
    # Once AWS works again, the device is allowed.
    assert ask("s1", new)["allowProvisioning"]


def test_an_unreachable_endpoint_and_a_malformed_item_refuse(cloud, capsys):
    cloud.allow("s1")
    cloud.broken = {"GetItem": EndpointConnectionError(endpoint_url="https://x")}
    refused_as = {"allowProvisioning": False}
    assert ask("s1", "a" * 64) == refused_as
    cloud.broken = {}
    cloud.allow("s1", window_until="soon")
    assert ask("s1", "a" * 64) in (refused_as, {
        "allowProvisioning": True,
        "parameterOverrides": {"SerialNumber": "s1", "ThingName": "edge-ai-s1"}})
    cloud.table.put_item(TableName="devices", Item={
        "serial": {"S": "s1"}, "state": {"S": "allowed"}, "expires": {"N": "1.5"}})
    assert ask("s1", "b" * 64) == refused_as
    assert "ValueError" in capsys.readouterr().out


def test_the_answer_comes_within_five_seconds(monkeypatch, capsys):
    """AWS accepts the connection and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name, value in {"TABLE": "devices", "TEMPLATE": TEMPLATE, "CLAIMS": CLAIM}.items():
            monkeypatch.setenv(name, value)
        fleet.client.cache_clear()
        fleet.client("dynamodb", fleet.QUICK)
        start = time.monotonic()
        assert ask("s1", "a" * 64) == {"allowProvisioning": False}
        once = time.monotonic() - start
    fleet.client.cache_clear()
    assert "Timeout" in capsys.readouterr().out
    # Worst case: each of its calls takes that long.
    calls = 3 + fleet.PRESENT
    assert calls * once < 5
    limits = fleet.QUICK.connect_timeout + fleet.QUICK.read_timeout
    assert calls * limits * fleet.QUICK.retries["total_max_attempts"] < 5


def test_a_failed_retirement_is_completed_by_the_next_attempt(cloud):
    old = cloud.provisioned("s1")
    cloud.open_window("s1")
    new = cloud.certificate()
    assert ask("s1", new)["allowProvisioning"]
    cloud.register("s1", new)
    event = {"clientId": "edge-ai-s1", "principalIdentifier": new}
    for operation in ("GetItem", "ListThingPrincipals", "UpdateCertificate", "DetachThingPrincipal",
                      "UpdateItem"):
        cloud.broken = {operation: broken(operation, "ThrottlingException")}
        with pytest.raises(ClientError):
            fleet.retire(event, None)
    cloud.broken = {}
    assert cloud.status(new) == "ACTIVE" and new in cloud.attached("s1")
    fleet.retire(event, None)
    assert cloud.status(old) == "INACTIVE" and cloud.attached("s1") == {new}
    assert "window_until" not in cloud.item("s1")


@pytest.mark.parametrize("event", [
    {}, {"clientId": None, "principalIdentifier": None},
    {"clientId": "edge-ai-s1", "principalIdentifier": "AROA:session"},
    {"clientId": "s1", "principalIdentifier": "a" * 64},
    {"clientId": "prov-s1-1", "principalIdentifier": "a" * 64},
    {"clientId": "edge-ai-nobody", "principalIdentifier": "a" * 64},
])
def test_other_connections_retire_nothing(cloud, event):
    mine = cloud.provisioned("s1")
    before = cloud.state()
    fleet.retire(event, None)
    assert cloud.state() == before and cloud.status(mine) == "ACTIVE"


def test_a_certificate_that_replaced_nothing_retires_nothing(cloud):
    mine = cloud.provisioned("s1")
    other = cloud.certificate()
    cloud.register("s1", other)
    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": mine}, None)
    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": other}, None)
    assert cloud.attached("s1") == {mine, other}


def test_a_window_opened_meanwhile_stays_open(cloud, monkeypatch):
    cloud.provisioned("s1")
    cloud.open_window("s1")
    new = cloud.certificate()
    assert ask("s1", new)["allowProvisioning"]
    cloud.register("s1", new)
    attached = fleet.attached

    def meanwhile(*args, **kwargs):
        cloud.open_window("s1")
        return attached(*args, **kwargs)

    monkeypatch.setattr(fleet, "attached", meanwhile)
    fleet.retire({"clientId": "edge-ai-s1", "principalIdentifier": new}, None)
    assert "window_until" in cloud.item("s1")
