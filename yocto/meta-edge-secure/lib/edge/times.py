"""Time of an image: one that has certainly passed when a device runs it."""

import datetime
import os
import subprocess
import time

# The repository that contains this file.
REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 4)
# Form of /etc/timestamp, in UTC.
FORM = "%Y%m%d%H%M%S"
# Age of an image compared with the commit: others may be made while it is built.
WEEK = 7 * 24 * 3600


def committed(repository=REPOSITORY):
    """Returns when the commit that is built was made, in seconds of Unix time, as text.

    Equal commits give equal images. Empty, which stands for the time of the build,
    without git and for a commit that lies in the future.
    """
    git = ["git", "-C", repository, "log", "-1", "--format=%ct", "HEAD"]
    try:
        found = subprocess.run(git, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    text = found.decode("ascii", "replace").strip()
    return text if text.isdecimal() and int(text) <= time.time() else ""


def problem(path, repository=REPOSITORY):
    """Returns what is wrong with /etc/timestamp of an image, `None` if nothing is."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
        stated = datetime.datetime.strptime(text, FORM).replace(tzinfo=datetime.timezone.utc).timestamp()
    except (OSError, ValueError) as error:
        return "%s states no time: %s" % (path, error)
    oldest = int(committed(repository) or 0) - WEEK
    if oldest <= stated <= time.time() + 1:
        return None
    return "%s states %s, which is not the time of the commit or of the build: leave REPRODUCIBLE_TIMESTAMP_ROOTFS to the image" % (path, text)
