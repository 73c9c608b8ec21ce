"""Units on a device whose /data is full or cannot be used."""

import glob
import os
import re
import subprocess
import tempfile
import unittest

from test_layer import LAYER
from test_programs import REPOSITORY, read

RESCUE = "edge-rescue-ssh.service"
DATA = os.path.join(LAYER, "recipes-edge/edge-data/files")


def units():
    """Returns path and text of all units and drop-ins."""
    patterns = ["crates/*/systemd/*", "yocto/meta-edge-secure/recipes-*/*/files/*"]
    paths = [p for pattern in patterns for p in glob.glob(os.path.join(REPOSITORY, pattern))]
    texts = {path: read(path) for path in paths if os.path.isfile(path)}
    return {path: text for path, text in texts.items() if re.search(r"^\[(Unit|Mount)\]", text, re.M)}


def values(text, key):
    return set(" ".join(re.findall(r"^%s=(.*)$" % key, text, re.M)).split())


class WithoutData(unittest.TestCase):
    def test_nothing_requires_the_preparation_of_data(self):
        wanting = 0
        for path, text in units().items():
            with self.subTest(os.path.relpath(path, REPOSITORY)):
                for key in ["Requires", "BindsTo", "Requisite"]:
                    self.assertNotIn("edge-data.service", values(text, key))
                if "edge-data.service" in values(text, "Wants"):
                    wanting += 1
                    self.assertIn("edge-data.service", values(text, "After"))
        self.assertGreater(wanting, 6)

    def test_options_of_temporary_file_systems_hold_no_specifiers(self):
        # systemd expands the path only: "25%%" is an invalid size, and the unit fails.
        found = 0
        for path, text in units().items():
            for _, options in re.findall(r"^TemporaryFileSystem=([^:\n]*):(.*)$", text, re.M):
                found += 1
                self.assertNotIn("%%", options, path)
        self.assertGreater(found, 0)

    def test_the_rescue_is_started_by_failures_and_needs_no_data(self):
        for name in ["data.mount", "edge-ssh-keys.service"]:
            self.assertIn(RESCUE, values(read(os.path.join(DATA, name)), "OnFailure"), name)
        text = read(os.path.join(DATA, RESCUE))
        needs = [values(text, key) for key in ["Requires", "BindsTo", "RequiresMountsFor"]]
        self.assertEqual(needs, [set()] * 3)
        # sysinit.target would start data.mount again, and so this unit, without end.
        self.assertEqual(values(text, "DefaultDependencies"), {"no"})
        self.assertNotIn("[Install]", text)
        self.assertFalse(re.search(r"^Exec.*[ =]/data/", text, re.M))
        # No host key is in the image.
        self.assertEqual(glob.glob(os.path.join(LAYER, "**/*host*key*"), recursive=True), [])

    def test_sshd_accepts_the_key_in_memory_without_those_of_data(self):
        text = read(os.path.join(DATA, RESCUE))
        with tempfile.TemporaryDirectory() as directory:
            commands = [
                command.replace("/run/edge-rescue", directory).replace('""', "''")
                for command in re.findall(r"^ExecStart(?:Pre)?=([^-].*)$", text, re.M)
            ]
            configuration = read(os.path.join(LAYER, "recipes-edge/edge-policy/files/sshd-edge.conf"))
            path = os.path.join(directory, "sshd_config")
            with open(path, "w") as file:
                file.write(configuration)
            os.makedirs("/run/sshd", exist_ok=True)
            *prepare, serve = commands
            missing = self.shell("/usr/sbin/sshd -t -f %s" % path)
            self.assertNotEqual(missing.returncode, 0, "sshd starts without a host key")
            output = "".join(self.succeed(command) for command in prepare)
            self.assertRegex(output, r"(?s)/data cannot be used.*256 SHA256:\S+ .*ED25519")
            self.assertEqual(os.stat(os.path.join(directory, "host_key")).st_mode & 0o777, 0o600)
            self.succeed("%s -t -f %s" % (serve, path))

    def shell(self, command):
        return subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def succeed(self, command):
        run = self.shell(command)
        self.assertEqual(run.returncode, 0, "%s: %s" % (command, run.stdout))
        return run.stdout


if __name__ == "__main__":
    unittest.main()
