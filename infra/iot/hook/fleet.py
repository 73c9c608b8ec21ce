"""Decides which devices are provisioned, and retires identities that were replaced.

provision  is AWS IoT's pre-provisioning hook. It allows or refuses within 5 s, and
           refuses in every doubtful case. It writes to the allow-list only; it
           never changes a certificate.
retire     runs at each connection of a device. Once a certificate that replaces
           another has connected, the other is deactivated.

The allow-list has one item per serial number:
    serial                 key
    state                  "allowed"; any other value means refused
    expires                end of the time for the first registration (optional)
    window_until           end of the time in which an operator permits another
                           registration (optional)
    certificate_id, _at    certificate that was allowed last, and when
    window_certificate_id  certificate that may replace others: it used the window,
                           or came with a proof of possession
Times are seconds since 1970.
"""

import functools
import json
import os
import re
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
import proof

SERIAL = re.compile(r"[a-zA-Z0-9:_-]{1,120}")
CERTIFICATE = re.compile(r"[0-9a-f]{64}")
MAC = re.compile(r"([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5})?")
# AWS IoT attaches a certificate to its thing within seconds after it was allowed.
# Until then it cannot be seen whether a registration was completed.
SETTLE = 60
# Number of certificates of a device that a proof is verified against.
PRESENT = 2
# That number of calls plus three, each one attempt of at most 0.9 s, stays below AWS
# IoT's limit of 5 s. The device retries by itself.
QUICK = Config(connect_timeout=0.4, read_timeout=0.5, retries={"total_max_attempts": 1})
PATIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard"})


class Refused(Exception):
    """Reason of a refusal."""


@functools.cache
def client(service, config):
    """Returns a client that is kept as long as the function is warm."""
    return boto3.client(service, config=config)


def provision(event, _context):
    """Answers AWS IoT's request to allow a provisioning."""
    request = described(event)
    try:
        overrides, outcome = decide(event, int(time.time()))
        log(outcome=outcome, **request)
        return {"allowProvisioning": True, "parameterOverrides": overrides}
    except Refused as refusal:
        log(outcome="refused", reason=str(refusal), **request)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        log(outcome="refused", reason=f"{error.operation_name}: {code}", **request)
    except Exception as error:  # an unknown error must not allow anything
        log(outcome="refused", reason=type(error).__name__, **request)
    return {"allowProvisioning": False}


def decide(event, now):
    """Returns the overrides of the template's parameters, or raises Refused."""
    serial, thing, certificate = parsed(event)
    overrides = {"SerialNumber": serial, "ThingName": thing}
    table = client("dynamodb", QUICK)
    item = table.get_item(
        TableName=os.environ["TABLE"], Key={"serial": {"S": serial}}, ConsistentRead=True
    ).get("Item")
    if item is None:
        raise Refused("serial number is not on the list")
    if text(item, "state") != "allowed":
        raise Refused("serial number is blocked")
    if text(item, "certificate_id") == certificate:
        return overrides, "repeated"
    others = attached(client("iot", QUICK), thing) - {certificate}
    renews = permit(item, others, now) and renewed(event, thing, others)
    record(table, item, certificate, now, renews)
    return overrides, "renewed" if renews else "allowed"


def parsed(event):
    """Returns serial number, thing name and certificate ID of a well-formed request."""
    parameters = event.get("parameters") if isinstance(event, dict) else None
    if not isinstance(parameters, dict):
        raise Refused("malformed request")
    if event.get("templateArn") != os.environ["TEMPLATE"]:
        raise Refused("another template")
    if event.get("claimCertificateId") not in os.environ["CLAIMS"].split(","):
        raise Refused("claim certificate is not active")
    serial, certificate = parameters.get("SerialNumber"), event.get("certificateId")
    if not matches(SERIAL, serial) or not matches(MAC, parameters.get("MacAddress", "")):
        raise Refused("malformed parameters")
    if not matches(CERTIFICATE, certificate):
        raise Refused("malformed certificate ID")
    thing = f"edge-ai-{serial}"
    if parameters.get("ThingName", thing) != thing:
        raise Refused("name of another device")
    return serial, thing, certificate


def permit(item, others, now):
    """Raises Refused unless this is the first registration, an operator's window is open,
    or a proof of possession can still allow it; returns whether one is needed."""
    last = text(item, "certificate_id")
    if last and number(item, "certificate_at") > now - SETTLE:
        raise Refused("another registration is in progress")
    if number(item, "window_until") > now:
        if text(item, "window_certificate_id") in others:
            raise Refused("the window has been used")
        return False
    if not others and "expires" in item and number(item, "expires") <= now:
        raise Refused("the allowance has expired")
    return bool(others)


def renewed(event, thing, others):
    """Returns True if a current key of the device has signed the new one, else raises
    Refused."""
    signature, new = event["parameters"].get("Proof"), event.get("certificatePem")
    if not signature:
        raise Refused("device has an identity and no window is open")
    if not isinstance(signature, str) or not isinstance(new, str):
        raise Refused("malformed parameters")
    iot = client("iot", QUICK)
    for certificate in sorted(others)[:PRESENT]:
        current = iot.describe_certificate(certificateId=certificate)["certificateDescription"]
        if current["status"] == "ACTIVE" and proof.holds(
                signature, thing, current["certificatePem"], new):
            return True
    raise Refused("the proof of possession is invalid and no window is open")


def record(table, item, certificate, now, renews):
    """Records the certificate, if the item has not changed since it was read."""
    changes = ["certificate_id = :certificate", "certificate_at = :now"]
    values = {":certificate": {"S": certificate}, ":now": {"N": str(now)}}
    if renews or number(item, "window_until") > now:
        changes.append("window_certificate_id = :certificate")
    conditions = []
    for place, name in enumerate(("state", "certificate_id", "certificate_at", "window_until")):
        if name in item:
            conditions.append(f"#{name} = :seen{place}")
            values[f":seen{place}"] = item[name]
        else:
            conditions.append(f"attribute_not_exists(#{name})")
    try:
        table.update_item(
            TableName=os.environ["TABLE"], Key={"serial": item["serial"]},
            UpdateExpression="SET " + ", ".join(changes),
            ConditionExpression=" AND ".join(conditions),
            ExpressionAttributeNames={
                f"#{name}": name
                for name in ("state", "certificate_id", "certificate_at", "window_until")
            },
            ExpressionAttributeValues=values,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            raise Refused("another request changed the item") from None
        raise


def retire(event, _context):
    """Handles a connection of a device. Errors are raised, so that Lambda retries."""
    thing, current = event.get("clientId"), event.get("principalIdentifier")
    serial = thing.removeprefix("edge-ai-") if isinstance(thing, str) else None
    if not matches(SERIAL, serial) or thing == serial or not matches(CERTIFICATE, current):
        return
    table = client("dynamodb", PATIENT)
    key = {"TableName": os.environ["TABLE"], "Key": {"serial": {"S": serial}}}
    item = table.get_item(ConsistentRead=True, **key).get("Item", {})
    if {text(item, "certificate_id"), text(item, "window_certificate_id")} != {current}:
        return
    iot = client("iot", PATIENT)
    for certificate in attached(iot, thing, arns=True):
        name = certificate.rpartition("/")[2]
        if name == current:
            continue
        iot.update_certificate(certificateId=name, newStatus="INACTIVE")
        iot.detach_thing_principal(thingName=thing, principal=certificate)
        log(outcome="retired", serial=serial, certificate=name)
    try:
        table.update_item(
            UpdateExpression="REMOVE window_until, window_certificate_id",
            ConditionExpression="window_certificate_id = :current",
            ExpressionAttributeValues={":current": {"S": current}}, **key,
        )
    except ClientError as error:
        # An operator has opened another window in the meantime: it stays open.
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise


def attached(iot, thing, arns=False):
    """Returns the certificates of a thing, which may not exist yet."""
    found, page = set(), {}
    while True:
        try:
            response = iot.list_thing_principals(thingName=thing, **page)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return found
            raise
        found.update(p if arns else p.rpartition("/")[2] for p in response["principals"])
        if not arns or not response.get("nextToken"):
            return found
        page = {"nextToken": response["nextToken"]}


def matches(pattern, value):
    """Returns whether the value is a string that matches as a whole."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def text(item, name):
    """Returns a string of an item, or None."""
    return item.get(name, {}).get("S")


def number(item, name):
    """Returns a number of an item; 0 if it is absent."""
    return int(item.get(name, {}).get("N", 0))


def described(event):
    """Returns the fields of a request for the log. None of them is a secret."""
    event = event if isinstance(event, dict) else {}
    parameters = event.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    fields = {
        "serial": parameters.get("SerialNumber"),
        "certificate": event.get("certificateId"),
        "claim": event.get("claimCertificateId"),
    }
    return {name: str(value)[:128] for name, value in fields.items()}


def log(**facts):
    """Prints one line of JSON; the alarms count them."""
    print(json.dumps(facts))
