"""Name server whose silence a test chooses.

name_server.py ADDRESS [TYPE=ADDRESS,... ...]: answers questions of these types (A, AAAA) and
no other; `none` answers every question with an empty list.
"""

import ipaddress
import socket
import sys

TYPES = {1: "A", 28: "AAAA"}


def answer(question: bytes, known: dict[str, list[str]]) -> bytes | None:
    """Returns the answer to a question, or None for silence."""
    end = question.index(b"\0", 12) + 5
    kind = TYPES.get(int.from_bytes(question[end - 4 : end - 2], "big"), "")
    addresses = known.get(kind)
    if addresses is None and "none" not in known:
        return None
    records = b""
    for address in addresses or []:
        data = ipaddress.ip_address(address).packed
        records += b"\xc0\x0c" + question[end - 4 : end] + b"\0\0\0\x3c"
        records += len(data).to_bytes(2, "big") + data
    count = len(addresses or [])
    head = question[:2] + b"\x81\x80\0\x01" + bytes([0, count]) + b"\0\0\0\0"
    return head + question[12:end] + records


def main() -> None:
    """Answers until it is killed."""
    known = {}
    for argument in " ".join(sys.argv[2:]).split():
        kind, _, addresses = argument.partition("=")
        known[kind] = addresses.split(",") if addresses else []
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    while True:
        question, client = server.recvfrom(512)
        reply = answer(question, known)
        if reply:
            server.sendto(reply, client)


main()
