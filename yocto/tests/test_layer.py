"""Tests of the layer's Python and shell, without a build."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
LAYER = os.path.join(os.path.dirname(HERE), "meta-edge-secure")


def load(path):
    spec = importlib.util.spec_from_file_location("module", os.path.join(LAYER, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAYOUT = "recipes-bsp/tegra-binaries/files/edge-layout.py"
layout = load(LAYOUT)
keys = load("lib/edge/keys.py")
anchors = load("lib/edge/anchors.py")
sources = load("lib/edge/sources.py")
times = load("lib/edge/times.py")
release = load("lib/edge/release.py")


def disk(*partitions):
    """Returns the layout of an external disk with partitions (name, id, attribute)."""
    text = '<?xml version="1.0"?><partition_layout><device type="external">'
    text += '<partition name="gpt" type="primary_gpt"><size> 1 </size></partition>'
    for name, number, attribute in partitions:
        text += '<partition name="%s" id="%s" type="data">' % (name, number)
        text += "<size> APPSIZE </size><allocation_attribute> %s </allocation_attribute>" % attribute
        text += "</partition>"
    text += '<partition name="gpt2" type="secondary_gpt"><size> 1 </size></partition>'
    return text + "</device></partition_layout>"


GOOD = disk(("kernel", 2, "0x8"), ("esp", 10, "0x8"), ("UDA", 14, "0x8"), ("reserved", 15, "0x8"), ("APP", 1, "0x808"))


class Layout(unittest.TestCase):
    def partitions(self, text):
        return list(ET.fromstring(text).iter("partition"))

    def test_data_is_last_and_fills_the_disk(self):
        partitions = self.partitions(layout.with_data(GOOD))
        names = [p.get("name") for p in partitions]
        self.assertEqual(names[-3:], ["APP", "DATA", "gpt2"])
        app, data = partitions[-3], partitions[-2]
        self.assertEqual(app.findtext("allocation_attribute").strip(), "0x8")
        self.assertEqual(app.findtext("size").strip(), "APPSIZE")
        self.assertEqual(data.findtext("allocation_attribute").strip(), "0x808")
        self.assertEqual(data.get("id"), "16")
        self.assertIsNone(data.find("filename"))

    def test_two_roots_give_data_the_next_number(self):
        text = layout.with_data(disk(("APP", 1, "0x8"), ("reserved", 17, "0x8"), ("APP_b", 2, "0x808")))
        self.assertEqual([p.get("id") for p in self.partitions(text) if p.get("name") == "DATA"], ["18"])

    def test_unknown_layouts_are_refused(self):
        invalid = {
            "not XML": "x",
            "0 external devices": GOOD.replace("external", "spi"),
            "2 external devices": GOOD.replace("</device>", '</device><device type="external"/>'),
            "already has a partition DATA": disk(("DATA", 3, "0x8"), ("APP", 1, "0x808")),
            "the last partition is UDA": disk(("APP", 1, "0x8"), ("UDA", 14, "0x808")),
            "the last partition is none": disk(),
            "APP does not fill": disk(("APP", 1, "0x8")),
            "fills the disk too": disk(("UDA", 14, "0x808"), ("APP", 1, "0x808")),
            "allocation attribute of APP": disk(("APP", 1, "much")),
        }
        for message, text in invalid.items():
            with self.subTest(message), self.assertRaisesRegex(ValueError, message):
                layout.with_data(text)

    def test_the_program_changes_the_file_or_leaves_it_alone(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "flash.xml")
            for text, status in [(GOOD, 0), (disk(), 1)]:
                with open(path, "w") as file:
                    file.write(text)
                run = subprocess.run([sys.executable, os.path.join(LAYER, LAYOUT), path], stderr=subprocess.PIPE)
                self.assertEqual(run.returncode, status)
                with open(path) as file:
                    self.assertEqual(file.read() == text, status != 0)


class Keys(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.values = {}
        for variable, _, mark in keys.KEYS:
            path = self.values[variable] = os.path.join(directory.name, variable)
            with open(path, "wb") as file:
                file.write(mark or b"blob")

    def problems(self, **changes):
        return keys.problems({**self.values, **changes}.get)

    def test_a_complete_set_has_no_problem(self):
        self.assertEqual(self.problems(), [])

    def test_missing_variables_are_named(self):
        found = keys.problems({}.get)
        self.assertEqual(len(found), len(keys.KEYS))
        for line, (variable, _, _) in zip(found, keys.KEYS):
            self.assertTrue(line.startswith(variable) and line.endswith("not set"), line)

    def test_unusable_files_are_named(self):
        inside = os.path.join(LAYER, "README.md")
        for path, message in [("/nonexistent/x", "is missing"), ("x", "not an absolute path"), (inside, "inside the repository"), ("/dev/null", "not a file")]:
            with self.subTest(path):
                (line,) = self.problems(EDGE_UEFI_DB_KEY=path)
                self.assertRegex(line, "^EDGE_UEFI_DB_KEY.*" + message)

    def test_a_certificate_is_no_key(self):
        (line,) = self.problems(EDGE_SIGNING_PKC=self.values["EDGE_UEFI_DB_CERT"])
        self.assertIn("does not contain one", line)


def openssl(*args, **kwargs):
    return subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs).stdout


class Anchors(unittest.TestCase):
    """Public keys of the image, each of one role."""

    @classmethod
    def setUpClass(cls):
        cls.private = [openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256") for _ in range(2)]
        cls.public = [openssl("pkey", "-pubout", input=key) for key in cls.private]

    def problems(self, **files):
        with tempfile.TemporaryDirectory() as directory:
            os.mkdir(directory + "/container-signing-directory.pub")
            for name, content in files.items():
                with open(os.path.join(directory, name.replace("_", "-") + ".pub"), "wb") as file:
                    file.write(content)
            return anchors.problems(directory)

    def test_keys_of_one_role_each_have_no_problem(self):
        first, second = self.public
        self.assertEqual(self.problems(), [])
        self.assertEqual(self.problems(container_signing=first), [])
        self.assertEqual(self.problems(container_signing=first, container_signing_kms=first), [])
        self.assertEqual(self.problems(container_signing=first, engineer_signing=second, engineer_signing_b=b"\n" + second), [])
        self.assertEqual(self.problems(other=b"of another tool", container_signing=first), [])

    def test_release_sets_need_as_many_keys_as_the_policy_demands(self):
        first, second = self.public
        for policy, keys, is_enough in [
            (None, [first], True),
            ({}, [], True),
            ({}, [first], False),
            ({}, [first, first], False),
            ({}, [first, second], True),
            ({"sets": {"threshold": 1}}, [first], True),
            ({"sets": {"threshold": 3}}, [first, second], False),
        ]:
            with self.subTest(policy=policy, keys=len(keys)), tempfile.TemporaryDirectory() as directory:
                for number, key in enumerate(keys):
                    with open("%s/set-signing-%d.pub" % (directory, number), "wb") as file:
                        file.write(key)
                if policy is not None:
                    with open(directory + "/policy.json", "w") as file:
                        json.dump(policy, file)
                found = anchors.problems(directory)
                self.assertEqual(not found, is_enough, found)
                self.assertTrue(is_enough or "EDGE_SET_THRESHOLD" in found[0])

    def test_a_key_with_two_roles_is_named(self):
        first, _ = self.public
        (line,) = self.problems(container_signing_old=first, engineer_signing_new=first.replace(b"\n", b"\r\n"))
        self.assertIn("engineer-signing-new.pub is the same key as container-signing-old.pub", line)
        (line,) = self.problems(engineer_signing=first, set_signing=first)
        self.assertIn("set-signing.pub is the same key as engineer-signing.pub", line)
        (line,) = self.problems(engineer_signing=first, os_signing_b=first)
        self.assertIn("os-signing-b.pub is the same key as engineer-signing.pub", line)

    def test_private_keys_are_named_under_any_name(self):
        encrypted = openssl("pkey", "-aes128", "-passout", "pass:x", input=self.private[0])
        for name in ["engineer_signing", "container_signing", "notes"]:
            for key in [self.private[0], encrypted, self.public[0] + self.private[0]]:
                with self.subTest(name):
                    (line,) = self.problems(**{name: key})
                    self.assertRegex(line, "^%s.pub holds a private key" % name.replace("_", "-"))

    def test_anything_else_is_no_key(self):
        first, second = self.public
        compressed = openssl("ec", "-pubin", "-pubout", "-conv_form", "compressed", input=first)
        other_curve = openssl("pkey", "-pubout", input=openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"))
        der = openssl("pkey", "-pubin", "-outform", "DER", input=first)
        invalid = [b"", b"x", first[:100], first + second, compressed, other_curve, der, first.replace(b"M", b"*"), first + b" " * 70000]
        for content in invalid:
            for role in ["engineer_signing", "container_signing", "set_signing", "os_signing"]:
                with self.subTest(content=content[:60]):
                    (line,) = self.problems(**{role: content})
                    self.assertIn("holds no public key", line)

    def test_recipe_and_image_are_checked(self):
        with open(os.path.join(LAYER, "recipes-edge/edge-policy/edge-policy_1.0.bb")) as file:
            self.assertIn('do_install[prefuncs] += "edge_check_anchors"', file.read())
        with open(os.path.join(LAYER, "classes/edge_hardened.bbclass")) as file:
            self.assertRegex(file.read(), 'POSTPROCESS_COMMAND:append = ".* edge_refuse_anchors[ "]')


class Times(unittest.TestCase):
    """Time of the image, which bitbake's fixed date of 2018 must not be."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def commit(self, unix):
        author = dict(GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a", GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a")
        author.update(GIT_COMMITTER_DATE="@%d +0200" % unix, GIT_AUTHOR_DATE="@0 +0000", GIT_CONFIG_GLOBAL="/dev/null")
        for args in [["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]]:
            subprocess.run(["git", "-C", self.directory, *args], check=True, env={**os.environ, **author})

    def test_it_is_that_of_the_commit(self):
        self.assertEqual(times.committed(self.directory), "")
        self.assertEqual(times.committed(self.directory + "/absent"), "")
        self.commit(1790000000)
        self.assertEqual(times.committed(self.directory), "1790000000")
        self.commit(int(time.time()) + 7200)
        self.assertEqual(times.committed(self.directory), "")
        self.assertGreater(int(times.committed() or time.time()), 1790000000)

    def test_an_image_with_another_time_is_refused(self):
        self.commit(1790000000)
        path = os.path.join(self.directory, "timestamp")
        self.assertIn("states no time", times.problem(path, self.directory))
        later = time.strftime(times.FORM, time.gmtime(time.time() + 7200))
        now = time.strftime(times.FORM, time.gmtime())
        good = ["20260921141320", "20260921141320\n", "20260914141320", now]
        for text in good + ["20260914141319", "20180309123456", later, "", "2026", "99999999999999", "20260921141320 x", "\x00"]:
            with self.subTest(text), open(path, "w") as file:
                file.write(text)
                file.flush()
                self.assertEqual(times.problem(path, self.directory) is None, text in good)

    def test_images_state_it_and_are_checked(self):
        with open(os.path.join(LAYER, "recipes-core/images/edge-ai-image.inc")) as file:
            self.assertIn('\nREPRODUCIBLE_TIMESTAMP_ROOTFS = "${@edge.times.committed()}"', file.read())
        with open(os.path.join(LAYER, "classes/edge_hardened.bbclass")) as file:
            self.assertRegex(file.read(), 'POSTPROCESS_COMMAND:append = ".* edge_refuse_time"')
        with open(os.path.join(LAYER, "lib/edge/__init__.py")) as file:
            self.assertIn('"times"', file.read())


class Names(unittest.TestCase):
    """Machine ID and host name, with a `mount` that only records its arguments."""

    def run_hook(self, serial):
        with tempfile.TemporaryDirectory() as directory:
            for part in ["root/run", "proc/device-tree", "proc/sys/kernel"]:
                os.makedirs(os.path.join(directory, part))
            if serial is not None:
                with open(os.path.join(directory, "proc/device-tree/serial-number"), "wb") as file:
                    file.write(serial)
            hook = os.path.join(LAYER, "recipes-edge/edge-initramfs/files/platform-pre-switchroot")
            script = 'mount() { echo "$*" >>"$0/mounts"; }; edge_root=$0/root edge_proc=$0/proc; . "$1"'
            run = subprocess.run(["sh", "-euc", script, directory, hook], check=True, stdout=subprocess.PIPE, text=True)
            return {name: self.read(directory, path) for name, path in self.FILES.items()}, run.stdout

    FILES = {"id": "root/run/machine-id", "host": "proc/sys/kernel/hostname", "mounts": "mounts"}

    def read(self, directory, path):
        try:
            with open(os.path.join(directory, path)) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def test_a_board_has_the_same_names_at_each_boot(self):
        first, _ = self.run_hook(b"1421623005678\0")
        self.assertEqual(first["host"].strip(), "edge-ai-1421623005678")
        self.assertRegex(first["id"], re.compile("^[0-9a-f]{32}\n$"))
        self.assertIn("--bind", first["mounts"])
        again, _ = self.run_hook(b"1421623005678\0")
        other, _ = self.run_hook(b"1421623005679\0")
        self.assertEqual(first["id"], again["id"])
        self.assertNotEqual(first["id"], other["id"])

    def test_the_host_name_is_valid(self):
        files, _ = self.run_hook(b"Ab:c_" + b"9" * 80)
        self.assertRegex(files["host"].strip(), "^edge-ai-ab-c-9{50}$")

    def test_without_a_serial_number_nothing_is_mounted(self):
        for serial in [None, b"", b"\0", b"a/../c"]:
            with self.subTest(serial=serial):
                files, output = self.run_hook(serial)
                self.assertIsNone(files["mounts"])
                self.assertIn("no usable serial number", output)


class Attempts(unittest.TestCase):
    """Attempts of an update on trial, with programs that only record their arguments."""

    def run_hook(self, code, programs=("edge-os",), firmware=True, mount=0):
        with tempfile.TemporaryDirectory() as directory:
            for part in ["root/run", "root/usr/bin", "proc", "sys" + ("/firmware/efi/efivars" if firmware else "")]:
                os.makedirs(os.path.join(directory, part))
            for program in programs:
                open(os.path.join(directory, "root/usr/bin", program), "w").close()
                os.chmod(os.path.join(directory, "root/usr/bin", program), 0o755)
            hook = os.path.join(LAYER, "recipes-edge/edge-initramfs/files/platform-pre-switchroot")
            script = """log() { echo "$*" >>"$0/log"; }
                mount() { log mount "$@"; return %d; }; umount() { log umount "$@"; }; reboot() { log reboot "$@"; }
                chroot() { log "$3 $4"; return %d; }
                edge_root=$0/root edge_proc=$0/proc edge_sys=$0/sys; . "$1"; log switch""" % (mount, code)
            subprocess.run(["sh", "-euc", script, directory, hook], check=True, stdout=subprocess.PIPE)
            with open(os.path.join(directory, "log")) as file:
                return [line.replace(directory, "") for line in file.read().splitlines()]

    def test_an_attempt_is_taken_before_the_system_starts(self):
        log = self.run_hook(0)
        self.assertEqual(log, [
            "mount --bind /sys /root/sys", "mount -t efivarfs efivarfs /root/sys/firmware/efi/efivars",
            "mark initrd", "mark root", "umount /root/sys/firmware/efi/efivars", "umount /root/sys", "switch"])

    def test_without_attempts_the_device_restarts(self):
        self.assertIn("reboot -f", self.run_hook(4))

    def test_nothing_else_keeps_the_system_from_starting(self):
        for faults in [dict(code=1), dict(code=127), dict(code=0, mount=1), dict(code=0, programs=()), dict(code=0, firmware=False)]:
            with self.subTest(faults):
                log = self.run_hook(**faults)
                self.assertEqual(log[-1], "switch")
                self.assertNotIn("reboot -f", log)


class Release(unittest.TestCase):
    """Description of an image, and the verifier that would confirm every start."""

    def test_it_names_the_one_kernel(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertIn("0 kernels", release.describe(root, "1", "7", "board"))
            os.makedirs(root + "/lib/modules/5.15.185-tegra")
            self.assertIsNone(release.describe(root, "2026.11", "1795638227", "board"))
            with open(root + "/etc/edge-ai/os.json") as file:
                self.assertEqual(json.load(file), {"version": "2026.11", "number": 1795638227, "compatible": "board", "kernel": "5.15.185-tegra", "data_format": 1})
            os.makedirs(root + "/lib/modules/6.1")
            self.assertIn("2 kernels", release.describe(root, "1", "7", "board"))

    def test_values_that_edge_os_refuses_stop_the_build(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(root + "/lib/modules/5")
            for values in [("", "7", "b"), ("a b", "7", "b"), ("x" * 65, "7", "b"), ("1", "", "b"), ("1", "-7", "b"), ("1", str(2 ** 63), "b"), ("1", "7", None)]:
                with self.subTest(values):
                    self.assertIsNotNone(release.describe(root, *values))
                    self.assertFalse(os.path.exists(root + "/etc"))

    def test_the_verifier_is_not_started(self):
        with tempfile.TemporaryDirectory() as root:
            wants = root + "/etc/systemd/system/multi-user.target.wants"
            os.makedirs(wants)
            for name in [release.VERIFIER, "other.service"]:
                os.symlink("../" + name, os.path.join(wants, name))
            release.disable_verifier(root)
            self.assertEqual(os.listdir(wants), ["other.service"])

    def test_images_have_it(self):
        with open(os.path.join(LAYER, "recipes-core/images/edge-ai-image.inc")) as file:
            self.assertRegex(file.read(), 'ROOTFS_POSTPROCESS_COMMAND \\+= "edge_os_description"')
        with open(os.path.join(LAYER, "lib/edge/__init__.py")) as file:
            self.assertIn('"release"', file.read())


class Hardened(unittest.TestCase):
    """Contents that stop the build of an image for the field."""

    def run_check(self, directory):
        with open(os.path.join(LAYER, "classes/edge_hardened.bbclass")) as file:
            text = file.read()
        body = re.search(r"edge_refuse_programs \(\) \{\n(.*?)\n\}\n", text, re.S).group(1)
        programs = re.search(r'EDGE_REFUSED_PROGRAMS = "([^"]*)"', text).group(1)
        names = dict(IMAGE_ROOTFS=directory, EDGE_REFUSED_PROGRAMS=programs, bindir="/usr/bin", sbindir="/usr/sbin", sysconfdir="/etc")
        script = 'bbfatal() { echo "$*"; exit 1; }\n' + body
        return subprocess.run(["sh", "-euc", script], env={**os.environ, **names}, stdout=subprocess.PIPE, text=True)

    def test_tools_and_passwords_stop_the_build(self):
        cases = [(None, "root:*:1::", 0, ""), ("curl", "root:*:1::", 1, "/usr/bin/curl"), (None, "root:*:1::\nedge::1::", 1, "passwords"), (None, "root:$6$x:1::", 1, "passwords"), (None, "root:!:1::\nedge:*:1::", 0, "")]
        for program, shadow, status, message in cases:
            with self.subTest(program=program, shadow=shadow), tempfile.TemporaryDirectory() as directory:
                os.makedirs(directory + "/usr/bin")
                os.makedirs(directory + "/etc")
                with open(directory + "/etc/shadow", "w") as file:
                    file.write(shadow + "\n")
                if program:
                    open(directory + "/usr/bin/" + program, "w").close()
                run = self.run_check(directory)
                self.assertEqual(run.returncode, status)
                self.assertIn(message, run.stdout)


if __name__ == "__main__":
    unittest.main()
