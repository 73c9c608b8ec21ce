"""Name server whose silence a test chooses.

name_server.py ADDRESS [TYPE=ADDRESS ...]: answers questions of these types (A, AAAA) and no
other; `none` answers every question with an empty list.
"""

import ipaddress
import socket
import sys

TYPES = {1: "A", 28: "AAAA"}


def answer(question: bytes, known: dict[str, str]) -> bytes | None:
    """Returns the answer to a question, or None for silence."""
    end = question.index(b"\0", 12) + 5
    kind = TYPES.get(int.from_bytes(question[end - 4 : end - 2], "big"), "")
    address = known.get(kind)
    if address is None and "none" not in known:
        return None
    data = ipaddress.ip_address(address).packed if address else b""
    record = b"\xc0\x0c" + question[end - 4 : end] + b"\0\0\0\x3c"
    record += len(data).to_bytes(2, "big") + data
    head = question[:2] + b"\x81\x80\0\x01" + bytes([0, bool(data)]) + b"\0\0\0\0"
    return head + question[12:end] + (record if data else b"")


def main() -> None:
    """Answers until it is killed."""
    known = {}
    for argument in " ".join(sys.argv[2:]).split():
        kind, _, address = argument.partition("=")
        known[kind] = address
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    while True:
        question, client = server.recvfrom(512)
        reply = answer(question, known)
        if reply:
            server.sendto(reply, client)


main()
