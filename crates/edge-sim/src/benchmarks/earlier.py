"""The structure of the earlier flow, as a yardstick: two TLS connections, one
subscription after the other, fixed waits, answers looked for ten times a second.

Argument: root file system of the device.
"""

import json
import pathlib
import socket
import ssl
import struct
import sys
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SETTLE = 0.5
POLL = 0.1


class Client:
    def __init__(self, root, config, client_id):
        claim = root / "etc/edge-ai/claim"
        context = ssl.create_default_context(cafile=str(root / "etc/edge-ai/ca/root.pem"))
        context.load_cert_chain(claim / "claim.crt", claim / "claim.key")
        raw = socket.create_connection((config["endpoint"], config["port"]), 10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = context.wrap_socket(raw, server_hostname=config["endpoint"])
        self.packets, self.sent = [], 0
        threading.Thread(target=self.listen, daemon=True).start()
        self.send(0x10, b"\0\4MQTT\4\2\0\x3c" + text(client_id))
        self.wait(lambda head, body: head == 0x20)

    def send(self, head, body):
        length, digits = len(body), b""
        while True:
            length, digit = divmod(length, 128)
            digits += bytes([digit | (0x80 if length else 0)])
            if not length:
                break
        self.stream.sendall(bytes([head]) + digits + body)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.stream.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def listen(self):
        try:
            while True:
                head, length, shift = self.exactly(1)[0], 0, 0
                while True:
                    byte = self.exactly(1)[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
                self.packets.append((head, self.exactly(length)))
        except (EOFError, OSError):
            pass

    def wait(self, wanted):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for head, body in self.packets:
                if wanted(head, body):
                    return body
            time.sleep(POLL)
        raise TimeoutError

    def ask(self, topic, request):
        for number, kind in enumerate(("accepted", "rejected"), 1):
            self.send(0x82, struct.pack(">H", number) + text(f"{topic}/{kind}") + b"\1")
            self.wait(lambda head, body: head == 0x90 and body[:2] == struct.pack(">H", number))
        time.sleep(SETTLE)
        self.send(0x32, text(topic) + b"\0\7" + json.dumps(request).encode())
        body = self.wait(lambda head, body: head >> 4 == 3)
        length = struct.unpack(">H", body[:2])[0]
        assert body[2:2 + length].decode() == f"{topic}/accepted"
        return json.loads(body[4 + length:])


def text(value):
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def main():
    root = pathlib.Path(sys.argv[1])
    config = json.loads((root / "etc/edge-ai/claim/config.json").read_text())
    serial = (root / "etc/machine-id").read_text().strip()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edge-ai-{serial}")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    first = Client(root, config, f"prov-{serial}-1")
    created = first.ask("$aws/certificates/create-from-csr/json", {"certificateSigningRequest": pem})
    second = Client(root, config, f"prov-{serial}-2")
    second.ask(f"$aws/provisioning-templates/{config['template_name']}/provision/json", {
        "certificateOwnershipToken": created["certificateOwnershipToken"],
        "parameters": {"SerialNumber": serial, "MacAddress": "", "ThingName": f"edge-ai-{serial}"}})
    print("registered", file=sys.stderr, flush=True)


main()
