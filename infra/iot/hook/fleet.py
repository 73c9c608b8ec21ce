"""Who becomes a device, and what happens to the identity that it had before.

provision  answers AWS IoT's pre-provisioning hook: yes or no, within 5 s. Without
           a clear yes it is no. It writes to the allow-list only; it never
           touches a certificate.
retire     is told of each connection of a device. Once a certificate that
           replaces another has connected, the other is switched off.

The allow-list has one item a serial number:
    serial                 key
    state                  "allowed"; anything else means no
    expires                until when the first registration may happen (optional)
    window_until           until when an operator lets it register again (optional)
    certificate_id, _at    the certificate that was last let in, and when
    window_certificate_id  the one that may replace others: it used the window, or
                           the device proved that it renews its own
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
# AWS IoT binds a certificate to its thing within seconds of our yes. Until then
# we cannot see whether a registration came to its end.
SETTLE = 60
# Certificates of a device that a proof is held against.
PRESENT = 2
# So many calls and three more, each one try of at most 0.9 s: the answer comes
# within 5 s. Who asked tries again by itself.
QUICK = Config(connect_timeout=0.4, read_timeout=0.5, retries={"total_max_attempts": 1})
PATIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard"})


class Refused(Exception):
    """Why not."""


@functools.cache
def client(service, config):
    """A client that lives as long as the function is warm."""
    return boto3.client(service, config=config)


def provision(event, _context):
    """AWS IoT's question whether to provision."""
    asked = described(event)
    try:
        overrides, outcome = decide(event, int(time.time()))
        log(outcome=outcome, **asked)
        return {"allowProvisioning": True, "parameterOverrides": overrides}
    except Refused as why:
        log(outcome="refused", reason=str(why), **asked)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        log(outcome="refused", reason=f"{error.operation_name}: {code}", **asked)
    except Exception as error:  # whatever it is: without a clear yes it is no
        log(outcome="refused", reason=type(error).__name__, **asked)
    return {"allowProvisioning": False}


def decide(event, now):
    """The overrides of the template's parameters, or Refused."""
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
    """Serial number, name and certificate of a question that is whole."""
    parameters = event.get("parameters") if isinstance(event, dict) else None
    if not isinstance(parameters, dict):
        raise Refused("malformed question")
    if event.get("templateArn") != os.environ["TEMPLATE"]:
        raise Refused("another template")
    if event.get("claimCertificateId") not in os.environ["CLAIMS"].split(","):
        raise Refused("claim certificate is not active")
    serial, certificate = parameters.get("SerialNumber"), event.get("certificateId")
    if not matches(SERIAL, serial) or not matches(MAC, parameters.get("MacAddress", "")):
        raise Refused("malformed parameters")
    if not matches(CERTIFICATE, certificate):
        raise Refused("malformed certificate id")
    thing = f"edge-ai-{serial}"
    if parameters.get("ThingName", thing) != thing:
        raise Refused("name of another device")
    return serial, thing, certificate


def permit(item, others, now):
    """Refused unless it is the first registration, or an operator's window is open; True
    if only the device itself can say that it has a reason."""
    last = text(item, "certificate_id")
    if last and number(item, "certificate_at") > now - SETTLE:
        raise Refused("another registration is under way")
    if number(item, "window_until") > now:
        if text(item, "window_certificate_id") in others:
            raise Refused("the window has been used")
        return False
    if not others and "expires" in item and number(item, "expires") <= now:
        raise Refused("the allowance has expired")
    return bool(others)


def renewed(event, thing, others):
    """True if one of the device's present keys has signed for the new one, else Refused."""
    said, new = event["parameters"].get("Proof"), event.get("certificatePem")
    if not said:
        raise Refused("device has an identity and no window is open")
    if not isinstance(said, str) or not isinstance(new, str):
        raise Refused("malformed parameters")
    iot = client("iot", QUICK)
    for certificate in sorted(others)[:PRESENT]:
        told = iot.describe_certificate(certificateId=certificate)["certificateDescription"]
        if told["status"] == "ACTIVE" and proof.holds(said, thing, told["certificatePem"], new):
            return True
    raise Refused("the proof of a renewal does not hold and no window is open")


def record(table, item, certificate, now, renews):
    """Notes the certificate, if the item is still what the decision was made on."""
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
            raise Refused("another question came in between") from None
        raise


def retire(event, _context):
    """A device has connected. What fails is raised: Lambda tries again."""
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
        # An operator has opened another window meanwhile: that one stays.
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise


def attached(iot, thing, arns=False):
    """The certificates of a thing, which may not exist yet."""
    found, page = set(), {}
    while True:
        try:
            answer = iot.list_thing_principals(thingName=thing, **page)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return found
            raise
        found.update(p if arns else p.rpartition("/")[2] for p in answer["principals"])
        if not arns or not answer.get("nextToken"):
            return found
        page = {"nextToken": answer["nextToken"]}


def matches(pattern, value):
    """Is it a string, and wholly of this form?"""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def text(item, name):
    """A string of an item, or None."""
    return item.get(name, {}).get("S")


def number(item, name):
    """A number of an item; 0 if there is none."""
    return int(item.get(name, {}).get("N", 0))


def described(event):
    """What the log says of a question: nothing in it can be used by its reader."""
    event = event if isinstance(event, dict) else {}
    parameters = event.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    told = {
        "serial": parameters.get("SerialNumber"),
        "certificate": event.get("certificateId"),
        "claim": event.get("claimCertificateId"),
    }
    return {name: str(value)[:128] for name, value in told.items()}


def log(**facts):
    """One line of JSON, which the alarms count."""
    print(json.dumps(facts))
