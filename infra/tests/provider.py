"""Terraform providers that know the permitted arguments and create nothing.

They speak as much of Terraform's plugin protocol (version 5) as `validate` and
`test` with mock_provider need. Terraform finds a running one by the variable
TF_REATTACH_PROVIDERS, so none is downloaded. What they know comes from schema/.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from concurrent import futures

import grpc

SCHEMAS = pathlib.Path(__file__).resolve().parent / "schema"
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}
# Arguments of the provider's own block, as far as our configurations use them.
OWN = {"attributes": {"region": {"type": "string", "required": False}},
       "blocks": {"default_tags": {
           "nesting": "list", "min": 0, "max": 1, "blocks": {},
           "attributes": {"tags": {"type": ["map", "string"], "required": False}}}}}


def varint(number):
    """Encodes a number for Protocol Buffers."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, value):
    """Encodes a field of a message; an empty one is left out."""
    if not value:
        return b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(name, described):
    """Encodes Schema.Attribute. The provider may also set an optional one."""
    required, computed = described.get("required", False), described.get("computed", False)
    return (field(1, name) + field(2, json.dumps(described["type"])) + field(4, int(required))
            + field(5, int(not required and not computed)) + field(6, int(not required)))


def block(described):
    """Encodes Schema.Block."""
    out = b"".join(field(2, attribute(*pair)) for pair in described["attributes"].items())
    for name, inner in described["blocks"].items():
        out += field(3, field(1, name) + field(2, block(inner)) + field(3, NESTING[inner["nesting"]])
                     + field(4, inner["min"]) + field(5, inner["max"]))
    return out


def schema(described):
    """Encodes Schema; a block without fields must still be present."""
    inner = block(described)
    return varint(2 << 3 | 2) + varint(len(inner)) + inner


def schemas(name):
    """Encodes GetProviderSchema.Response."""
    described = json.loads((SCHEMAS / f"{name}.json").read_text())
    out = field(1, schema(OWN if name == "aws" else {"attributes": {}, "blocks": {}}))
    for number, part in ((2, "resources"), (3, "data")):
        for kind, inner in described[part].items():
            out += field(number, field(1, kind) + field(2, schema(inner)))
    return out


@contextlib.contextmanager
def running(*names):
    """Serves these providers; yields the value of TF_REATTACH_PROVIDERS."""
    with tempfile.TemporaryDirectory(prefix="edge-provider-") as directory:
        attach, servers = {}, []
        for name in names:
            socket = f"{directory}/{name}"
            servers.append(serve(schemas(name), socket))
            attach[f"registry.terraform.io/hashicorp/{name}"] = {
                "Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True,
                "Addr": {"Network": "unix", "String": socket}}
        try:
            yield json.dumps(attach)
        finally:
            for server in servers:
                server.stop(0)


def serve(answer, socket):
    """Serves one provider on a socket."""
    answers = {
        "GetSchema": lambda request, _: answer,
        # Both messages have the configuration as their first field.
        "PrepareProviderConfig": lambda request, _: request,
    }
    for name in ("ValidateResourceTypeConfig", "ValidateDataSourceConfig", "Configure", "Stop"):
        answers[name] = lambda request, _: b""
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    handlers = {name: grpc.unary_unary_rpc_method_handler(do) for name, do in answers.items()}
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers),
        grpc.method_handlers_generic_handler("plugin.GRPCController", {
            "Shutdown": grpc.unary_unary_rpc_method_handler(lambda request, _: b"")})))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server
