"""Keys of secure boot: the build needs all of them."""

import os

# The repository that contains this file.
REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 4)

# Variable, description, and bytes that its file must contain (`b""`: any).
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
    """Returns one line for each key that is missing or unusable.

    `value` returns the value of a variable; no key may be in the directory
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
        return "%s is inside the repository: keep keys outside of it" % path
    if not os.path.isfile(path):
        return "%s is missing or not a file" % path
    with open(path, "rb") as key:
        text = key.read(65536)
    if not text:
        return "%s is empty" % path
    return None if mark in text else "%s does not contain one" % path
