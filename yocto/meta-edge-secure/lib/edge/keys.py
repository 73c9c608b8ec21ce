"""Keys of secure boot: all of them, or no build."""

import os

# The repository that this file is a part of.
REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 4)

# Variable, what it is, and what its file must hold; `b""` is anything.
KEYS = [
    ("EDGE_SIGNING_PKC", "RSA key that signs the boot loaders (PKC)", b"PRIVATE KEY-----"),
    ("EDGE_SIGNING_SBK", "key that encrypts the boot loaders (SBK)", b"0x"),
    ("EDGE_UEFI_DB_KEY", "UEFI db key", b"PRIVATE KEY-----"),
    ("EDGE_UEFI_DB_CERT", "UEFI db certificate", b"-----BEGIN CERTIFICATE"),
    ("EDGE_UEFI_KEYS_DTS", "UefiDefaultSecurityKeys.dts with PK, KEK and db", b"/dts-v1/"),
    ("EDGE_EKS_IMAGE", "encrypted key blob (EKB) of your fuses", b""),
    ("EDGE_TA_SIGN_KEY", "RSA key that signs OP-TEE's applications", b"PRIVATE KEY-----"),
]


def problems(value, inside=REPOSITORY):
    """One line for each key that is not there.

    `value` gives the value of a variable; no key may lie in the directory
    `inside`.
    """
    found = []
    for variable, what, mark in KEYS:
        path = value(variable)
        problem = _problem(path, mark, inside)
        if problem:
            found.append("%s, the %s: %s" % (variable, what, problem))
    return found


def _problem(path, mark, inside):
    if not path:
        return "not set"
    if not os.path.isabs(path):
        return "%s is not an absolute path" % path
    real = os.path.realpath(path)
    if os.path.commonpath([real, os.path.realpath(inside)]) == os.path.realpath(inside):
        return "%s lies in the repository: keys stay outside" % path
    if not os.path.isfile(path):
        return "%s is not there" % path
    with open(path, "rb") as key:
        text = key.read(65536)
    if not text:
        return "%s is empty" % path
    return None if mark in text else "%s does not hold one" % path
