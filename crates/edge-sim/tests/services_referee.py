"""Asks the API of ECR for a token through AWS's own client.

Arguments: endpoint, CA file, action. Reads the answer of the credentials provider from standard
input. Prints what it saw, JSON: user, password and address of the registry, or error code and
status.
"""

import base64
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, ca, action = sys.argv[1:]
given = json.load(sys.stdin)["credentials"]
keys = dict(aws_access_key_id=given["accessKeyId"], aws_secret_access_key=given["secretAccessKey"],
            aws_session_token=given["sessionToken"], region_name="eu-central-1")
keys |= {
    "no-token": dict(aws_session_token=None),
    "other-token": dict(aws_session_token=given["sessionToken"][:-1] + "x"),
    "other-secret": dict(aws_secret_access_key="x" * 40),
    "other-key": dict(aws_access_key_id="ASIA0000000000000000"),
    "other-region": dict(region_name="eu-central-2"),
}.get(action, {})
config = Config(retries={"total_max_attempts": 1})
client = boto3.client("ecr", endpoint_url=endpoint, verify=ca, config=config, **keys)
if action == "other-service":
    client.meta.events.register("choose-signer.ecr.*", lambda **_: None)
    client._request_signer._signing_name = "sts"


def unknown_fields(params, **_):
    params["body"] = b'{"unknown": 1}'


if action == "unknown-fields":
    client.meta.events.register("before-call.ecr.GetAuthorizationToken", unknown_fields)
try:
    if action == "other-operation":
        client.list_images(repositoryName="edge-ai")
    data = client.get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":", 1)
    seen = dict(user=user, password=password, proxyEndpoint=data["proxyEndpoint"],
                hours=data["expiresAt"].timestamp() // 3600)
except ClientError as error:
    seen = dict(code=error.response["Error"]["Code"],
                status=error.response["ResponseMetadata"]["HTTPStatusCode"])
print(json.dumps(seen))
