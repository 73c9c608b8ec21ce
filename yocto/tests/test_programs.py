"""Programs that device tools, units and scripts run, compared with the packages on which
their recipes depend."""

import glob
import os
import re
import unittest

from test_layer import LAYER

REPOSITORY = os.path.dirname(os.path.dirname(LAYER))
RECIPES = os.path.join(LAYER, "recipes-*")
# Package of openembedded-core, meta-openembedded or meta-virtualization that installs
# each program. None: every image has it (packagegroup-core-boot, systemd, the shell).
PACKAGES = {
    "blkid": "util-linux-blkid",
    "chronyc": "chronyc",
    "date": None,
    "docker": "docker",
    "e2fsck": "e2fsprogs-e2fsck",
    "e2undo": "e2fsprogs",
    "echo": None,
    "ip": "iproute2-ip",
    "journalctl": None,
    "mkfs.ext4": "e2fsprogs-mke2fs",
    "mount": "util-linux-mount",
    "mv": None,
    "nft": "nftables",
    "nmcli": "networkmanager-nmcli",
    "nvbootctrl": "tegra-redundant-boot-base",
    "nvidia-ctk": "nvidia-container-toolkit",
    "nvme": "nvme-cli",
    "rauc": "rauc",
    "resize2fs": "e2fsprogs-resize2fs",
    "rm": None,
    "sh": None,
    "ssh-keygen": "openssh-keygen",
    "sshd": "openssh-sshd",
    "sync": None,
    "systemctl": None,
    "systemd-tmpfiles": None,
    "tune2fs": "e2fsprogs-tune2fs",
    "wg": "wireguard-tools",
}
PROGRAM = re.compile(r"/(?:usr/)?s?bin/([A-Za-z0-9._-]+)")
TOOLS = "edge-tools_0.1.0.bb"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def shipped(source):
    """Returns the code of a Rust file without comments and unit tests."""
    source = source.split("#[cfg(test)]")[0]
    return "\n".join(l for l in source.splitlines() if not l.lstrip().startswith("//"))


def depends(recipe, package):
    """Returns the words of RDEPENDS of a package in a recipe."""
    text = read(recipe).replace("\\\n", " ")
    found = re.findall(r'^RDEPENDS:%s\s*\+?=\s*"([^"]*)"' % re.escape(package), text, re.M)
    return set(" ".join(found).split())


def executed(text):
    """Returns the programs of the Exec lines of a unit or drop-in."""
    lines = re.findall(r"^Exec\w+=(.*)$", text.replace("\\\n", " "), re.M)
    # A signed command or a policy names programs of its own, behind the first word.
    words = [line.split()[0].lstrip("-+!@:") for line in lines if line.strip()]
    return {m.group(1) for m in map(PROGRAM.fullmatch, words) if m}


# Commands whose process opens mounts of apps or layers beneath a directory, openat2(2).
OPENING = re.compile(r"^ExecStart=/usr/bin/(edge-docker (?!authz)|edge-vpn client|edge-fleet)", re.M)


class Sandboxes(unittest.TestCase):
    def test_units_that_open_mounts_have_openat2(self):
        units = glob.glob(os.path.join(REPOSITORY, "crates/*/systemd/*.service"))
        opening = [unit for unit in units if OPENING.search(read(unit))]
        self.assertGreaterEqual(len(opening), 4)
        for unit in opening:
            # systemd refuses openat2(2) with it, because seccomp cannot see its mode.
            with self.subTest(unit=os.path.basename(unit)):
                self.assertNotIn("\nRestrictSUIDSGID=yes", read(unit))

    def test_early_units_need_no_temporary_directory(self):
        # systemd prepares both in /tmp, which is part of the read-only root before tmp.mount.
        units = glob.glob(os.path.join(REPOSITORY, "crates/*/systemd/*.service"))
        units += glob.glob(os.path.join(LAYER, "recipes-*/*/files/*.service"))
        early = [unit for unit in units if "\nDefaultDependencies=no" in read(unit)]
        self.assertGreaterEqual(len(early), 2)
        for unit in early:
            with self.subTest(unit=os.path.basename(unit)):
                self.assertNotRegex(read(unit), "\nPrivate(Devices|Tmp)=yes")


class Programs(unittest.TestCase):
    def compare(self, source, programs, recipe, package):
        declared = depends(recipe, package)
        for program in sorted(programs):
            if program.startswith("edge-"):
                continue
            with self.subTest(source=os.path.relpath(source, REPOSITORY), program=program):
                self.assertIn(program, PACKAGES, "no known package")
                needed = PACKAGES[program]
                self.assertTrue(
                    needed is None or needed in declared,
                    "RDEPENDS:%s in %s does not name %s" % (package, os.path.basename(recipe), needed),
                )

    def test_device_tools_and_their_units(self):
        recipe = os.path.join(LAYER, "recipes-edge/edge-tools", TOOLS)
        tools = re.search(r'EDGE_TOOLS = "([^"]*)"', read(recipe)).group(1).replace("\\", " ").split()
        self.assertIn("edge-partition", tools)
        for tool in tools:
            crate = os.path.join(REPOSITORY, "crates", tool)
            sources = glob.glob(os.path.join(crate, "src/**/*.rs"), recursive=True)
            self.assertTrue(sources, tool)
            for source in sources:
                if os.path.basename(source).startswith("test"):
                    continue
                quoted = re.findall(r'"([^"\s]*)"', shipped(read(source)))
                programs = {m.group(1) for m in map(PROGRAM.fullmatch, quoted) if m}
                self.compare(source, programs, recipe, tool)
            for unit in glob.glob(os.path.join(crate, "systemd/*")):
                self.compare(unit, executed(read(unit)), recipe, tool)

    def test_units_of_recipes(self):
        units = 0
        for recipe in glob.glob(os.path.join(RECIPES, "*", "*.bb")):
            for path in glob.glob(os.path.join(os.path.dirname(recipe), "files/*")):
                if os.path.isdir(path):
                    continue
                programs = executed(read(path))
                units += bool(programs)
                self.compare(path, programs, recipe, "${PN}")
        self.assertGreater(units, 3)

    def test_searched_programs(self):
        """edge-vpn searches its programs in several directories."""
        recipe = os.path.join(LAYER, "recipes-edge/edge-tools", TOOLS)
        programs = set()
        for source in glob.glob(os.path.join(REPOSITORY, "crates/edge-vpn/src/**/*.rs"), recursive=True):
            quoted = re.findall(r'"([a-z0-9-]+)"', shipped(read(source)))
            programs.update(set(quoted) & {"ip", "wg", "systemctl"})
        self.assertEqual(programs, {"ip", "wg", "systemctl"})
        self.compare("crates/edge-vpn", programs, recipe, "edge-vpn")


if __name__ == "__main__":
    unittest.main()
