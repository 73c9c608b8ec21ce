"""Provisions with AWS's own SDK and updates the new thing's shadow.

Arguments: directory of the local cloud, serial number.
"""

import json
import pathlib
import sys
import tempfile

from awscrt import mqtt
from awsiot import iotidentity, iotshadow, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIMIT = 20


def connect(cloud, port, certificate, key, client_id):
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost", port=port, ca_filepath=str(cloud / "ca.pem"),
        cert_filepath=str(certificate), pri_key_filepath=str(key),
        client_id=client_id, clean_session=True)
    connection.connect().result(LIMIT)
    return connection


def answer(subscribe, request, accepted_request, accepted, rejected, publish):
    """Subscribes to both answers, publishes, and waits for one of them."""
    import concurrent.futures
    result = concurrent.futures.Future()
    for name, done in ((accepted, result.set_result),
                       (rejected, lambda e: result.set_exception(
                           RuntimeError(f"{e.error_code}: {e.error_message}")))):
        future, _ = getattr(subscribe, name)(
            request=accepted_request, qos=mqtt.QoS.AT_LEAST_ONCE, callback=done)
        future.result(LIMIT)
    publish(request, mqtt.QoS.AT_LEAST_ONCE).result(LIMIT)
    return result.result(LIMIT)


def main():
    cloud, serial = pathlib.Path(sys.argv[1]), sys.argv[2]
    endpoints = json.loads((cloud / "endpoints.json").read_text())
    port, template = endpoints["iot_port"], endpoints["template_name"]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edge-ai-{serial}")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())

    connection = connect(cloud, port, cloud / "claim.crt", cloud / "claim.key", f"prov-{serial}")
    identity = iotidentity.IotIdentityClient(connection)
    created = answer(
        identity,
        iotidentity.CreateCertificateFromCsrRequest(
            certificate_signing_request=csr.public_bytes(serialization.Encoding.PEM).decode()),
        iotidentity.CreateCertificateFromCsrSubscriptionRequest(),
        "subscribe_to_create_certificate_from_csr_accepted",
        "subscribe_to_create_certificate_from_csr_rejected",
        identity.publish_create_certificate_from_csr)
    registered = answer(
        identity,
        iotidentity.RegisterThingRequest(
            template_name=template,
            certificate_ownership_token=created.certificate_ownership_token,
            parameters={"SerialNumber": serial, "ThingName": f"edge-ai-{serial}",
                        "MacAddress": "02:00:00:00:00:01"}),
        iotidentity.RegisterThingSubscriptionRequest(template_name=template),
        "subscribe_to_register_thing_accepted",
        "subscribe_to_register_thing_rejected",
        identity.publish_register_thing)
    connection.disconnect().result(LIMIT)
    thing = registered.thing_name

    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "crt").write_text(created.certificate_pem)
        (directory / "key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        connection = connect(cloud, port, directory / "crt", directory / "key", thing)
        shadow = iotshadow.IotShadowClient(connection)
        updated = answer(
            shadow,
            iotshadow.UpdateShadowRequest(
                thing_name=thing, client_token="t1",
                state=iotshadow.ShadowState(reported={"from": "awsiotsdk"})),
            iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing),
            "subscribe_to_update_shadow_accepted",
            "subscribe_to_update_shadow_rejected",
            shadow.publish_update_shadow)
        got = answer(
            shadow, iotshadow.GetShadowRequest(thing_name=thing, client_token="t2"),
            iotshadow.GetShadowSubscriptionRequest(thing_name=thing),
            "subscribe_to_get_shadow_accepted", "subscribe_to_get_shadow_rejected",
            shadow.publish_get_shadow)
        named = {"thing_name": thing, "shadow_name": "apps"}
        for number in range(2):
            apps = answer(
                shadow,
                iotshadow.UpdateNamedShadowRequest(
                    client_token="t3", **named,
                    state=iotshadow.ShadowState(reported={"apps": {str(number): {}}})),
                iotshadow.UpdateNamedShadowSubscriptionRequest(**named),
                "subscribe_to_update_named_shadow_accepted",
                "subscribe_to_update_named_shadow_rejected",
                shadow.publish_update_named_shadow)
        got_apps = answer(
            shadow, iotshadow.GetNamedShadowRequest(client_token="t4", **named),
            iotshadow.GetNamedShadowSubscriptionRequest(**named),
            "subscribe_to_get_named_shadow_accepted", "subscribe_to_get_named_shadow_rejected",
            shadow.publish_get_named_shadow)
        connection.disconnect().result(LIMIT)
    print(json.dumps({"thing": thing, "version": updated.version, "token": updated.client_token,
                      "reported": got.state.reported,
                      "named": [apps.version, got_apps.state.reported]}))


main()
