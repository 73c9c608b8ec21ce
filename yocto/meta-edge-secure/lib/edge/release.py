"""Description of an image, which edge-os compares with the running kernel and with updates."""

import glob
import json
import os
import re

# Version of the formats on /data that the programs of this checkout write.
DATA_FORMAT = 1
# Names in the description: what edge-os accepts.
NAME = re.compile(r"[!-~]{1,64}")
# Unit of NVIDIA's that confirms every start before the gate of edge-os.
VERIFIER = "nv_update_verifier.service"


def describe(rootfs, version, number, machine):
    """Writes /etc/edge-ai/os.json of an image. Returns what is wrong, `None` if nothing is."""
    for name, value in (("EDGE_OS_VERSION", version), ("MACHINE", machine)):
        if not NAME.fullmatch(value or ""):
            return "%s is not 1 to 64 visible characters: %r" % (name, value)
    if not (number or "").isdecimal() or int(number) >= 2 ** 63:
        return "EDGE_OS_NUMBER is no release number: %r" % number
    kernels = sorted(os.listdir(os.path.join(rootfs, "lib/modules")) if os.path.isdir(os.path.join(rootfs, "lib/modules")) else [])
    if len(kernels) != 1:
        return "lib/modules of the image has %d kernels, not 1: %s" % (len(kernels), " ".join(kernels))
    description = dict(version=version, number=int(number), compatible=machine, kernel=kernels[0], data_format=DATA_FORMAT)
    directory = os.path.join(rootfs, "etc/edge-ai")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "os.json"), "w") as file:
        file.write(json.dumps(description) + "\n")
    return None


def disable_verifier(rootfs):
    """Removes the links that start NVIDIA's verifier. It is not masked: its package's
    script enables it and would fail."""
    for directory in ("etc/systemd/system", "usr/lib/systemd/system"):
        for link in glob.glob(os.path.join(rootfs, directory, "*.wants", VERIFIER)):
            os.unlink(link)
