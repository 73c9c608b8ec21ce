"""Trust anchors: public keys, each of which has one role."""

import base64
import binascii
import fnmatch
import json
import os
import re

# Pattern of the file names of each role.
ROLES = [
    ("container", "container-signing*.pub"),
    ("engineer", "engineer-signing*.pub"),
    ("set", "set-signing*.pub"),
    ("os", "os-signing*.pub"),
]
# Number of different keys that must sign a release set, unless policy.json has another.
THRESHOLD = 2
# SubjectPublicKeyInfo of an uncompressed point on P-256 up to the point: the only form
# that is accepted, so that equal keys have equal bytes.
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
BLOCK = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*")
# Size limit of a file that is examined.
MAX_BYTES = 65536


def problems(directory):
    """Returns one line for each file of a directory that is no key of its role.

    Private keys are found under any name. An absent role is no problem, but fewer keys of
    release sets than the policy demands are one.
    """
    found = []
    owners = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        role = next((r for r, pattern in ROLES if fnmatch.fnmatchcase(name, pattern)), None)
        if b"PRIVATE KEY" in text:
            found.append("%s holds a private key: keep it away from the image, and replace it if "
                         "an image had it" % name)
        elif role:
            key = _key(text) if len(text) <= MAX_BYTES else None
            if key is None:
                found.append("%s holds no public key on P-256: write it with `openssl pkey -pubout`" % name)
                continue
            other = owners.setdefault(key, (role, name))
            if other[0] != role:
                found.append("%s is the same key as %s: each role needs a key of its own" % (name, other[1]))
    sets = sum(1 for role, _ in owners.values() if role == "set")
    threshold = _threshold(directory)
    if 0 < sets < threshold:
        found.append("release sets need signatures of %d different keys, and set-signing*.pub are %d: "
                     "add a key, or lower EDGE_SET_THRESHOLD" % (threshold, sets))
    return found


def _threshold(directory):
    """Returns the number of keys in policy.json; 1 if there is none yet."""
    path = os.path.join(directory, "policy.json")
    if not os.path.exists(path):
        return 1
    with open(path) as file:
        policy = json.load(file)
    return policy.get("sets", {}).get("threshold", THRESHOLD)


def _key(text):
    """Returns the bytes of a public key in PEM, `None` if it is none."""
    match = BLOCK.fullmatch(text.decode("ascii", "replace"))
    if not match:
        return None
    try:
        key = base64.b64decode("".join(match.group(1).split()), validate=True)
    except binascii.Error:
        return None
    return key if key.startswith(P256) and len(key) == len(P256) + 64 else None
